"""The arithmetic of a day: the upstream's log and what the app got, to what was saved, spent and lost. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.day.load import Got
from bench.day.upstream import Line

PROOF = ("shadow", "judge")
BACKGROUND = ("compile", *PROOF)
ROLES = ("serve", *BACKGROUND)


@dataclass
class Bill:
    """Of one task, or of all. `own`: what the app's own model would have cost for everything."""

    calls: int = 0
    own: float = 0.0
    usd: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ROLES, 0.0))  # by role, by the upstream's log
    lost: float = 0.0  # Σ loss of what was served − loss of what the app's own model would have said
    routes: Counter[str] = field(default_factory=Counter)
    first: float = 0.0  # share that the card served of the first tenth of its calls
    last: float = 0.0

    @property
    def saved(self) -> float:
        """Before what the background cost."""
        return self.own - self.usd["serve"]

    @property
    def proof(self) -> float:
        return sum(self.usd[role] for role in PROOF)

    @property
    def background(self) -> float:
        return sum(self.usd[role] for role in BACKGROUND)

    @property
    def net(self) -> float:
        return self.saved - self.background

    @property
    def true_loss(self) -> float:
        """traffic × loss: a mean over all calls, those that the app's own model answered with 0."""
        return self.lost / self.calls if self.calls else 0.0

    @property
    def proof_share(self) -> float | None:
        """Of the saving; None where nothing was saved."""
        return self.proof / self.saved if self.saved > 0.005 else None


def bills(got: Sequence[Got], lines: Iterable[Line]) -> dict[str, Bill]:
    """By task; "-" holds what the upstream can't tell a task of."""
    found: dict[str, Bill] = defaultdict(Bill)
    by_kind: dict[str, list[Got]] = defaultdict(list)
    for one in got:
        by_kind[one.kind].append(one)
    for kind, ones in by_kind.items():
        tenth = max(1, len(ones) // 10)
        found[kind] = Bill(
            calls=len(ones),
            own=sum(one.own_usd for one in ones),
            lost=sum(one.loss - one.own_loss for one in ones),
            routes=Counter(one.route for one in ones),
            first=_served(ones[:tenth]),
            last=_served(ones[-tenth:]),
        )
    for line in lines:
        found[line.kind].usd[line.role] += line.usd
    return dict(found)


def _served(ones: Sequence[Got]) -> float:
    return sum(one.route == "compiled" for one in ones) / len(ones)


def total(bills: Iterable[Bill]) -> Bill:
    found = Bill()
    for bill in bills:
        found.calls += bill.calls
        found.own += bill.own
        found.lost += bill.lost
        for role, cost in bill.usd.items():
            found.usd[role] += cost
        found.routes += bill.routes
    return found


def peaks(lines: Iterable[Line]) -> dict[str, float]:
    """What the background had cost at most, by UTC day: its sum only grows, so that is the last one."""
    found: dict[str, float] = defaultdict(float)
    for line in lines:
        if line.role in BACKGROUND:
            found[f"{datetime.fromtimestamp(line.at, UTC):%Y-%m-%d}"] += line.usd
    return dict(found)


def compiles(lines: Iterable[Line]) -> dict[str, float]:
    """What compiling each task cost."""
    found: dict[str, float] = defaultdict(float)
    for line in lines:
        if line.role == "compile":
            found[line.kind] += line.usd
    return dict(found)


def over_time(got: Sequence[Got], lines: Iterable[Line], points: int = 10) -> list[tuple[float, float, float]]:
    """(saved, proof, compile) in USD by the upstream's log, up to each tenth of the app's calls."""
    at_last = [got[min(len(got), (n + 1) * len(got) // points) - 1].at for n in range(points)] if got else []
    found: list[tuple[float, float, float]] = []
    ordered = sorted(lines, key=lambda line: line.at)
    own = position = 0.0
    sums, line = dict.fromkeys(("serve", "proof", "compile"), 0.0), 0
    for until in at_last:
        while line < len(ordered) and ordered[line].at <= until:
            sums["proof" if ordered[line].role in PROOF else ordered[line].role] += ordered[line].usd
            line += 1
        own, position = own + sum(one.own_usd for one in got if position < one.at <= until), until
        found.append((own - sums["serve"], sums["proof"], sums["compile"]))
    return found


def by_role(lines: Iterable[Line]) -> dict[tuple[str, str], tuple[int, float]]:
    """(calls, USD) by (role, model)."""
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for line in lines:
        calls, cost = found.get((line.role, line.model), (0, 0.0))
        found[line.role, line.model] = calls + 1, cost + line.usd
    return found


def booked(report: Mapping[str, Any]) -> dict[tuple[str, str], tuple[int, float]]:
    """The same of what `cuecard report --json` printed."""
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for task in report["tasks"].values():
        for row in task["rows"]:
            calls, cost = found.get((row["role"], row["model"]), (0, 0.0))
            found[row["role"], row["model"]] = calls + row["calls"], cost + row["cost"]
    return found


def estimated(report: Mapping[str, Any]) -> tuple[float, float]:
    """(baseline, net saving) in USD as Cuecard estimates them, of the calls that have a baseline."""
    names = ("baseline_usd_estimated", "net_saving_usd_estimated")
    baseline, net = (sum(task[name] for task in report["tasks"].values()) for name in names)
    return baseline, net
