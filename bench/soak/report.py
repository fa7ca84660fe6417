"""The verdict: a line for each thing that a soak has to show, what was wanted, what was seen, and whether it is so."""

import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from bench.soak.books import MEASURES, Bill, Joined, Sums
from bench.soak.server import Kill, Sample

MIB = 2**20
WORKER_MIB, LEARNER_MIB = 120, 250
FLAT = 0.05
START_SECONDS = 10.0  # of a process' life: its memory after start
WARM_SECONDS, WARM_SHARE = 60.0, 0.2  # from then on it has to be flat
POOL = min(32, (os.cpu_count() or 1) + 4)  # threads that asyncio.to_thread starts at most
POOL_FILES = 3 * POOL
DOLLAR = 1e-6  # sums of a million floats
EXPECTED_LOG = re.compile(
    r"ended with code -9 and is replaced|what a killed worker had noted is booked|the learner closed"
)


@dataclass(frozen=True)
class Line:
    what: str
    wanted: str
    seen: str
    ok: bool


@dataclass
class Seen:
    """All that a run brought in."""

    requests: int
    asked: int
    seconds: float
    clients: int
    joined: Joined
    largest: Bill  # of all calls
    ledger: Sums
    metrics: Sums
    kills: list[Kill]
    samples: list[Sample]
    idle: dict[str, Sample]  # before the load, by role; of several workers the one with most files
    after: list[Sample]
    exit_code: int
    stop_seconds: float
    log: list[str]
    grown: int  # bytes, of the store's folder
    journals_left: int
    refused: int = 0


def verdict(seen: Seen) -> list[Line]:
    return [*_answers(seen), *_books(seen), *_memory(seen), *_leaks(seen), *_end(seen)]


def _answers(seen: Seen) -> list[Line]:
    joined = seen.joined
    most = seen.clients * sum(kill.role == "worker" for kill in seen.kills)
    lines = [
        Line("requests asked", f"{seen.requests:,}", f"{seen.asked:,}", seen.asked == seen.requests),
        Line("of them with a fault", "-", f"{joined.faults:,}", True),
        Line("kills: worker, learner", "-", _kills(seen.kills), True),
        Line("in flight at kills, lost with their worker", f"<= {most:,}", str(joined.died), joined.died <= most),
    ]
    for what, numbers in (
        ("answered upstream, worker lived, not answered", joined.unanswered),
        ("not what its kind and fault lead to", [number for number, _ in joined.unexpected]),
        ("changed on the way to the upstream", joined.changed),
        ("asked of the upstream twice", joined.repeated),
    ):
        shown = f"{len(numbers)}" + (f": {', '.join(map(str, numbers[:5]))}" if numbers else "")
        lines.append(Line(what, "0", shown, not numbers))
    return lines


def _kills(kills: Sequence[Kill]) -> str:
    roles = [kill.role for kill in kills]
    return f"{roles.count('worker')}, {roles.count('learner')}"


def _books(seen: Seen) -> list[Line]:
    """The metrics may differ from the ledger by what was in flight at kills: their files know no transaction."""
    joined, largest = seen.joined, seen.largest
    bounds, died = joined.ledger, joined.died
    lines = [_between(f"ledger: {name}", seen.ledger[name], bounds.low[name], bounds.high[name]) for name in MEASURES]
    for name in ("input", "output", "cost"):
        low = bounds.low[name] - died * getattr(largest, name)
        lines.append(_between(f"metrics: {name}", seen.metrics[name], low, bounds.high[name]))
    lines += [
        _between("metrics: requests", seen.metrics["requests"], joined.served[0] - died, joined.served[1]),
        _between("metrics: upstream calls", seen.metrics["calls"], joined.calls[0] - died, joined.calls[1]),
    ]
    for name in ("input", "output", "cost"):
        off, bound = seen.metrics[name] - seen.ledger[name], died * getattr(largest, name)
        shown = (f"+/- {_number(bound)}", _number(off))
        lines.append(Line(f"metrics - ledger: {name}", *shown, abs(off) <= bound + DOLLAR))
    dropped = seen.metrics["dropped"]
    lines.append(Line("records dropped", "0", _number(dropped), not dropped))
    return lines


def _between(what: str, value: float, low: float, high: float) -> Line:
    ok = low - DOLLAR <= value <= high + DOLLAR
    beyond = "" if ok else f" ({_number(value - (low if value < low else high))})"
    wanted = _number(low) if low == high else f"{_number(low)} .. {_number(high)}"
    return Line(what, wanted, _number(value) + beyond, ok)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6f}"


def _memory(seen: Seen) -> list[Line]:
    lines = []
    for role, most in (("worker", WORKER_MIB), ("learner", LEARNER_MIB)):
        of_role = [sample for sample in seen.samples if sample.role == role]
        young = [sample.rss for sample in of_role if 1 < sample.age < START_SECONDS]
        peak = max((sample.rss for sample in of_role), default=0)
        if role == "worker":
            after_start = max(young, default=0)
            lines.append(_at_most("worker: MiB after start", after_start / MIB, most))
            lines.append(_at_most("worker: most MiB", peak / MIB, most * (1 + FLAT)))
            lines.append(_flat(of_role))
        else:
            lines.append(_at_most("learner: most MiB", peak / MIB, most))
    return lines


def _at_most(what: str, value: float, most: float) -> Line:
    return Line(what, f"<= {most:g}", f"{value:.1f}", 0 < value <= most)


def _flat(samples: list[Sample]) -> Line:
    """Of the worker that was seen longest, once it is warm."""
    wanted = f"+/- {FLAT:.0%}"
    oldest = max(samples, key=lambda sample: sample.age, default=None)
    if oldest is None:
        return Line("worker: memory once warm", wanted, "no sample", False)
    mine = [sample for sample in samples if sample.pid == oldest.pid]
    warm_at = mine[0].at + max(
        min(WARM_SECONDS, (mine[-1].at - mine[0].at) / 2), WARM_SHARE * (mine[-1].at - mine[0].at)
    )
    warm = [sample.rss for sample in mine if sample.at >= warm_at]
    if len(warm) < 3:
        return Line("worker: memory once warm", wanted, "too few samples", False)
    middle = statistics.median(warm)
    spread = max(max(warm) - middle, middle - min(warm)) / middle
    shown = f"{min(warm) / MIB:.1f} .. {max(warm) / MIB:.1f} MiB, {spread:.1%}, over {mine[-1].at - warm_at:.0f} s"
    return Line("worker: memory once warm", wanted, shown, spread <= FLAT)


def _leaks(seen: Seen) -> list[Line]:
    lines = [
        Line("requests in flight at the end", "0", _number(seen.metrics["in_flight"]), not seen.metrics["in_flight"])
    ]
    for role in ("worker", "learner"):
        idle, now = seen.idle[role], [sample for sample in seen.after if sample.role == role]
        files, threads = max(s.files for s in now), max(s.threads for s in now)
        pool = POOL_FILES if role == "learner" else 0  # each of its pool's threads has the store open
        most = idle.files + pool
        lines.append(Line(f"{role}: open files at the end", f"<= {idle.files} + {pool}", str(files), files <= most))
        most = idle.threads + POOL
        lines.append(Line(f"{role}: threads at the end", f"<= {idle.threads} + {POOL}", str(threads), threads <= most))
    return lines


def _end(seen: Seen) -> list[Line]:
    odd = [line for line in seen.log if not EXPECTED_LOG.search(line)]
    return [
        Line("exit code after SIGTERM", "0", f"{seen.exit_code}, after {seen.stop_seconds:.1f} s", seen.exit_code == 0),
        Line("journals left", "0", str(seen.journals_left), not seen.journals_left),
        Line("store grown by, MiB", "<= 16", f"{seen.grown / MIB:.2f}", seen.grown <= 16 * MIB),
        Line("log lines that tell of trouble", "0", f"{len(odd)}" + (f": {odd[0][:120]}" if odd else ""), not odd),
    ]


def table(lines: Sequence[Line]) -> Table:
    shown = Table("what", "wanted", "seen", "")
    for line in lines:
        shown.add_row(line.what, line.wanted, line.seen, "ok" if line.ok else "NOT OK", style="" if line.ok else "red")
    return shown


def as_json(seen: Seen, lines: Sequence[Line]) -> dict[str, Any]:
    joined = seen.joined
    return {
        "requests": seen.asked,
        "seconds": seen.seconds,
        "requests_per_second": seen.asked / seen.seconds,
        "lines": [line.__dict__ for line in lines],
        "outcomes": [{"kind": k, "fault": f, "outcome": o, "n": n} for (k, f, o), n in sorted(joined.outcomes.items())],
        "bounds": {"low": joined.ledger.low, "high": joined.ledger.high},
        "bounds of the metrics": {"requests": joined.served, "upstream calls": joined.calls},
        "upstream_calls": joined.upstream_calls,
        "ledger": seen.ledger,
        "metrics": seen.metrics,
        "kills": [{"role": k.role, "pid": k.pid, "at": k.at, "in_flight": k.in_flight} for k in seen.kills],
        "unexpected": joined.unexpected[:200],
        "unanswered": joined.unanswered[:1_000],
        "changed": joined.changed[:1_000],
        "repeated": joined.repeated[:1_000],
        "refused_connections": seen.refused,
        "samples": [sample.__dict__ for sample in seen.samples],
        "log": seen.log[:200],
    }
