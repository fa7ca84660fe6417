"""How well task types are told apart, by Cuecard and by others, on labelled requests: `make recognise`.

For each seed: learn on one half of each type, score the other half and edited requests, which belong to no task.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from bench import tables
from bench.corpus.draft import Labelled
from bench.corpus.edits import Edit, edits
from bench.corpus.jsonl import CorpusError, read, write
from bench.corpus.tasktypes import generate
from bench.recognisers import ENTRIES, Entry, Recogniser
from bench.scoring import Assigned, AssignedEdit, Score, Times, matched_edits, over_seeds, score, wrong_types

SHOW = Console(stderr=True)
EDITED = 2_000  # scored requests, each edited in every kind
FIRST_SEED = 1
TOLD = 4  # types that were wrong most often


@dataclass(frozen=True)
class Options:
    corpus: Sequence[Labelled] | None  # None: made anew for each seed
    seeds: int
    entries: Sequence[Entry]
    edited: int = EDITED

    def samples(self, seed: int) -> Sequence[Labelled]:
        return self.corpus or generate(seed)


@dataclass(frozen=True)
class Halves:
    """One seed's requests: what is learned from, what is scored, what is scored edited."""

    learn: Sequence[Labelled]
    score: Sequence[Labelled]
    edited: Sequence[Edit]


@dataclass
class Measured:
    """One recogniser over its seeds."""

    name: str
    how: str = ""
    scores: list[Score] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)  # by type
    matched: Counter[str] = field(default_factory=Counter)  # edits, by kind and how

    def to_json(self) -> dict[str, Any]:
        return {
            "recogniser": self.name,
            "how": self.how,
            **over_seeds(self.scores).to_json(),
            "seeds": [one.to_json() for one in self.scores],
            "wrong_types": dict(self.wrong.most_common()),
            "matched_edits": dict(self.matched.most_common()),
        }


def halves(samples: Sequence[Labelled], seed: int, per_type: int | None = None, edited: int = EDITED) -> Halves:
    """Shuffled, each type cut in two; what a corpus says of the split itself is kept to."""
    learn: list[Labelled] = []
    scored: list[Labelled] = []
    for name, group in groupby(sorted(samples, key=attrgetter("type")), attrgetter("type")):
        of_type = list(group)
        Random(f"{seed} {name}").shuffle(of_type)
        of_type = of_type[:per_type]
        free = [sample for sample in of_type if sample.split is None]
        middle = (len(free) + 1) // 2
        learn += free[:middle] + [sample for sample in of_type if sample.split == "learn"]
        scored += free[middle:] + [sample for sample in of_type if sample.split == "score"]
    random = Random(seed)
    random.shuffle(learn)
    random.shuffle(scored)
    return Halves(learn, scored, list(edits(scored[:edited], seed)))


def measure(recogniser: Recogniser, given: Halves, into: Measured) -> None:
    began = time.perf_counter()
    recogniser.learn([sample.request for sample in given.learn])
    learning = time.perf_counter() - began
    learned = [Assigned(one.type, one.part, recogniser.assign(one.request)) for one in given.learn]
    scored, took = [], []
    for one in given.score:
        began = time.perf_counter()
        found = recogniser.assign(one.request)
        took.append(time.perf_counter() - began)
        scored.append(Assigned(one.type, one.part, found))
    edited = [AssignedEdit(e.kind, e.how, e.original.type, recogniser.assign(e.request)) for e in given.edited]
    into.scores.append(score(learned, scored, edited, Times(learning, took)))
    into.wrong += wrong_types(learned, scored)
    into.matched += matched_edits(learned, edited)


def run(options: Options) -> tuple[list[Measured], dict[str, str]]:
    """What was measured, and why what was not wasn't."""
    measured: list[Measured] = []
    failed: dict[str, str] = {}
    with Progress(console=SHOW, transient=True) as progress:
        bar = progress.add_task("", total=options.seeds * len(options.entries))
        for entry in options.entries:
            try:
                made = entry.load()
                made()  # its data may be missing, too
            except ImportError as error:
                failed[entry.name] = f"{error} (make recognise)"
                continue
            into = Measured(made().name)
            measured.append(into)
            for seed in range(FIRST_SEED, FIRST_SEED + min(options.seeds, entry.seeds or options.seeds)):
                progress.update(bar, description=f"{entry.name}, seed {seed}")
                given = halves(options.samples(seed), seed, entry.per_type, options.edited)
                measure(made(), given, into)
                into.how = _told(given, len(into.scores))
                progress.advance(bar)
    return measured, failed


def _told(given: Halves, seeds: int) -> str:
    learned, scored, edited = len(given.learn), len(given.score), len(given.edited)
    return f"learned from {learned:,} requests, scored {scored:,} and {edited:,} edits; seeds: {seeds}"


def _print(measured: Sequence[Measured], failed: dict[str, str]) -> None:
    console = Console(width=max(132, Console().width))
    if measured:
        console.print(tables.recognition((one.name, over_seeds(one.scores)) for one in measured))
    for one in measured:
        console.print(f"{one.name}: {one.how}", highlight=False)
        if one.wrong:
            often = ", ".join(f"{name} {count}" for name, count in one.wrong.most_common(TOLD))
            console.print(f"  wrong most often: {often} of {len(one.wrong)} types", highlight=False)
    for name, why in failed.items():
        console.print(f"[red]not measured:[/] {name}: {escape(why)}", highlight=False)


def _arguments() -> argparse.Namespace:
    names = [entry.name for entry in ENTRIES]
    parser = argparse.ArgumentParser(prog="python -m bench.recognise", description=__doc__)
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="FILE.jsonl",
        help='{"type", "request", "part", "split"} a line, the last two optional',
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=names, choices=names)
    parser.add_argument("--edits", type=int, default=EDITED, help="scored requests that are edited, a seed")
    parser.add_argument("--export", type=Path, metavar="FILE.jsonl", help="write the first seed's requests, and stop")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error("--seeds: at least 1")
    return given


def main() -> None:
    given = _arguments()
    try:
        corpus = read(given.corpus) if given.corpus else None
    except CorpusError as error:
        sys.exit(str(error))
    options = Options(corpus, given.seeds, [entry for entry in ENTRIES if entry.name in given.only], given.edits)
    if given.export:
        write(given.export, options.samples(FIRST_SEED))
        return
    if not halves(options.samples(FIRST_SEED), FIRST_SEED, edited=0).score:
        sys.exit("nothing to score: every type has one request, or all are to be learned from")
    measured, failed = run(options)
    if given.json:
        print(json.dumps({"measured": [one.to_json() for one in measured], "not_measured": failed}, indent=1))
    else:
        _print(measured, failed)


if __name__ == "__main__":
    main()
