"""`cuecard serve` that lives in the day's time: `python -m bench.day.hurried TIMES serve …`."""

import os
import sys

from proxy import serve
from proxy.cli import main

TIMES = "CUECARD_BENCH_TIMES"  # in the learner's environment: seconds of the day that pass in one

if __name__ == "__main__":
    _, os.environ[TIMES], *arguments = sys.argv
    serve.MODULES.update(worker="bench.day.working", learner="bench.day.learning")
    main(arguments)
