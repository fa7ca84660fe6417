"""`cuecard serve` whose learner notes when it mines: `python -m bench.noted FILE REST serve …`."""

FILE, REST = "CUECARD_BENCH_NOTES", "CUECARD_BENCH_REST"  # in the learner's environment
NONE, AS_IT_COMES = "none", "as-it-comes"
