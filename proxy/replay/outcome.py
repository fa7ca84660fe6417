"""What a replay found: the funnel, and each task's part of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from compiler.ledger import UNDECLARED, Row, Sums
from proxy.funnel import Funnel, build_funnel
from proxy.replay.recogniser import Match
from proxy.replay.replay import Replayed

MONTH_DAYS = 30.0
LEAST_DAYS = 1.0  # of a log that is to say how many calls a day there are


@dataclass(frozen=True)
class TaskOutcome:
    match: Match
    model: str  # the one that most of its money goes to
    sums: Sums
    share: float  # of all that was spent


@dataclass(frozen=True)
class Outcome:
    """`days` is None where the log says no times, or spans too little to tell how many calls a day there are."""

    found: Replayed
    funnel: Funnel
    tasks: tuple[TaskOutcome, ...]  # dearest first
    days: float | None

    def to_json(self) -> dict[str, Any]:
        reading = self.found.reading
        return {
            "partial": not self.found.whole,
            "forms": reading.forms,
            "calls": reading.calls,
            "passed_over": reading.passed_over,
            "unreadable": reading.unreadable,
            "problems": reading.problems,
            "first": self.found.first,
            "last": self.found.last,
            "days": self.days,
            "counted": self.counted,
            "priced_by_log": self.found.by_log,
            "compared": {"list_usd": self.found.priced_usd, "log_usd": self.found.log_usd},
            "funnel": self.funnel.to_json(),
            "tasks": [self._task(task) for task in self.tasks],
        }

    def _task(self, task: TaskOutcome) -> dict[str, Any]:
        return {
            "id": task.match.id,
            "name": task.match.name,
            "template": task.match.template_text,
            "catch_all": task.match.catch_all,
            "model": task.model,
            "calls": task.sums.calls,
            "calls_a_day": self.calls_a_day(task),
            "cost_usd": task.sums.cost,
            "share": task.share,
        }

    @property
    def counted(self) -> int:
        """Calls whose tokens we had to count."""
        return sum(sums.counted for _, _, sums in _rows(self.found))

    def calls_a_day(self, task: TaskOutcome) -> float | None:
        return task.sums.calls / self.days if self.days else None


def outcome_of(found: Replayed) -> Outcome:
    funnel = build_funnel(_rows(found))
    by_task: dict[str, list[tuple[Row, Sums]]] = {}
    for task, row, sums in _rows(found):
        if task != UNDECLARED:
            by_task.setdefault(task, []).append((row, sums))
    tasks = [_outcome(found.matches[task], rows, funnel.bill.usd) for task, rows in by_task.items()]
    return Outcome(
        found=found,
        funnel=funnel,
        tasks=tuple(sorted(tasks, key=lambda task: (-task.sums.cost, task.match.name))),
        days=found.days if found.days is not None and found.days >= LEAST_DAYS else None,
    )


def _outcome(match: Match, rows: list[tuple[Row, Sums]], bill_usd: float) -> TaskOutcome:
    whole = Sums()
    for _, sums in rows:
        whole.add(sums)
    dearest = max(rows, key=lambda row: (row[1].cost, row[1].calls))[0]
    return TaskOutcome(match, dearest.model, whole, whole.cost / bill_usd if bill_usd else 0.0)


def _rows(found: Replayed) -> Iterator[tuple[str, Row, Sums]]:
    for (_, task), rows in found.tally.rows.items():
        for row, sums in rows.items():
            yield task, row, sums
