"""From measurements to rows, ratios and bars. Pure."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from bench.load import Load
from bench.servers import Kind

YARDSTICK, NOTHING = "bare", "direct"


class Case(NamedTuple):
    """What is asked for, by how many clients at a time, of how many workers."""

    kind: Kind
    concurrency: int
    workers: int

    def __str__(self) -> str:
        return f"{self.kind}, c={self.concurrency}" + (f", {self.workers} workers" if self.workers > 1 else "")


@dataclass(frozen=True)
class Sample:
    """One contender in one round. Seconds."""

    load: Load
    cpu: float

    @property
    def rate(self) -> float:
        return self.load.events_per_second if self.load.events else self.load.per_second

    @property
    def wait(self) -> float:
        """What a client waits: for the whole answer, or for the first event of a stream."""
        return self.load.first_byte if self.load.events else self.load.p50


@dataclass(frozen=True)
class Row:
    """One contender in one case: medians over the rounds. A ratio is the median of the rounds' own ratios."""

    case: Case
    server: str
    requests: int
    rate: float  # requests a second; of streams events a second
    rate_to_bare: float | None
    wait_ms: float  # median; of streams until the first event
    p99_ms: float  # of the whole answer
    added_ms: float | None
    added_to_bare: float | None
    cpu_per_1000: float | None  # seconds of all its processes for 1,000 requests; of streams for 1,000 events

    def to_json(self) -> dict[str, Any]:
        own = {name: value for name, value in asdict(self).items() if name != "case"}
        return {**self.case._asdict(), **own}


Rounds = dict[str, list[Sample]]
"""By contender, the samples of one case, round by round."""


def rows(case: Case, rounds: Rounds) -> list[Row]:
    return [_row(case, name, rounds) for name in rounds]


def _row(case: Case, name: str, rounds: Rounds) -> Row:
    samples = rounds[name]
    return Row(
        case=case,
        server=name,
        requests=sum(s.load.requests for s in samples),
        rate=statistics.median(s.rate for s in samples),
        rate_to_bare=None if name == NOTHING else ratio(rounds, name, YARDSTICK, _rate),
        wait_ms=statistics.median(s.wait for s in samples) * 1_000,
        p99_ms=statistics.median(s.load.p99 for s in samples) * 1_000,
        added_ms=None if name == NOTHING else added(rounds, name),
        added_to_bare=None if name == NOTHING else ratio(rounds, name, YARDSTICK, _added),
        cpu_per_1000=None if name == NOTHING else cpu_per_1000(samples),
    )


def _added(sample: Sample, direct: Sample) -> float:
    return sample.wait - direct.wait


def _wait(sample: Sample, direct: Sample) -> float:
    return sample.wait


def _rate(sample: Sample, direct: Sample) -> float:
    return sample.rate


def added(rounds: Rounds, name: str) -> float:
    pairs = zip(rounds[name], rounds[NOTHING], strict=True)
    return statistics.median(_added(sample, direct) for sample, direct in pairs) * 1_000


def ratio(rounds: Rounds, name: str, other: str, value: Callable[[Sample, Sample], float]) -> float | None:
    """Of `value(sample, the direct one of its round)`, in rounds where the other's is above 0; None without any."""
    if name not in rounds or other not in rounds:
        return None
    found = []
    for mine, its, direct in zip(rounds[name], rounds[other], rounds[NOTHING], strict=True):
        below = value(its, direct)
        if below > 0:
            found.append(value(mine, direct) / below)
    return statistics.median(found) if found else None


def cpu_per_1000(samples: Iterable[Sample]) -> float:
    """A sum, not a median: the kernel counts in hundredths of a second."""
    taken = list(samples)
    units = sum(s.load.events or s.load.requests for s in taken)
    return sum(s.cpu for s in taken) / units * 1_000


@dataclass(frozen=True)
class Bar:
    """One thing that the table must show. `seen` None: it was not measured. `told`: for information, it is no bar."""

    name: str
    limit: float
    at_most: bool
    seen: float | None
    told: bool = False

    @property
    def wanted(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g}"

    @property
    def passed(self) -> bool:
        if self.seen is None:
            return False
        return self.seen <= self.limit if self.at_most else self.seen >= self.limit

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "wanted": self.wanted, "seen": self.seen, "passed": self.passed, "told": self.told}


def bars(cases: Mapping[Case, Rounds]) -> list[Bar]:
    """One worker, instant upstream; each a median of the rounds' own ratios.

    Those in CPU are told beside them, with the same limits turned over: other programs disturb them less. Of streams
    only paced ones are told: as fast as they go, events come several at a time, a slow proxy's the more so.
    """
    one = cases.get(Case("whole", 1, 1), {})
    found = [
        *_beside_bare(cases, "original"),
        Bar("p50, c=1: compiled / original", 1.2, True, ratio(one, "compiled", "original", _wait)),
    ]
    for name, rounds in _at_work(cases):
        found.append(Bar(f"{name}: compiled / original", 0.8, False, ratio(rounds, "compiled", "original", _rate)))
    return found + _in_cpu(cases)


def bars_beside_bare(cases: Mapping[Case, Rounds], names: Sequence[str]) -> list[Bar]:
    """What is asked of whatever stands beside the bare proxy, for each of `names`."""
    return [bar for name in names for bar in _beside_bare(cases, name)]


def _beside_bare(cases: Mapping[Case, Rounds], name: str) -> list[Bar]:
    one = cases.get(Case("whole", 1, 1), {})
    found = [Bar(f"added p50, c=1: {name} / bare", 1.5, True, ratio(one, name, YARDSTICK, _added))]
    for what, rounds in _at_work(cases):
        found.append(Bar(f"{what}: {name} / bare", 0.7, False, ratio(rounds, name, YARDSTICK, _rate)))
    return found


def _at_work(cases: Mapping[Case, Rounds]) -> Iterator[tuple[str, Rounds]]:
    for c in (8, 64):
        yield f"requests/s, c={c}", cases.get(Case("whole", c, 1), {})
        yield f"events/s, c={c}", cases.get(Case("stream", c, 1), {})


def _in_cpu(cases: Mapping[Case, Rounds]) -> list[Bar]:
    found = []
    for case in (Case("whole", 8, 1), Case("whole", 64, 1), Case("paced", 64, 1)):
        unit = "request" if case.kind == "whole" else "paced event"
        rounds, name = cases.get(case, {}), f"CPU a {unit}, c={case.concurrency}:"
        found += [
            Bar(f"{name} original / bare", 1.43, True, cpu_ratio(rounds, "original", YARDSTICK), told=True),
            Bar(f"{name} compiled / original", 1.25, True, cpu_ratio(rounds, "compiled", "original"), told=True),
        ]
    return found


def cpu_ratio(rounds: Rounds, name: str, other: str) -> float | None:
    if not rounds.get(name) or not rounds.get(other):
        return None
    below = cpu_per_1000(rounds[other])
    return cpu_per_1000(rounds[name]) / below if below else None
