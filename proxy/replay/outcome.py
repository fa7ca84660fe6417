"""What a replay found: the funnel, each task's part of it, and what compiling the task could save."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from compiler.ledger import UNDECLARED, Row, Sums
from compiler.worth import Range, Terms
from proxy.funnel import Funnel, build_funnel
from proxy.replay.kinds import Kinds
from proxy.replay.recogniser import Match
from proxy.replay.replay import Replayed
from proxy.savings import Possible, possible_of, seen_of

MONTH_DAYS = 30
LEAST_DAYS = 1.0  # of a log that is to say how many calls a day there are
NO_DAYS = "the log spans less than a day, or has no times: say with --spans how many days it covers"
FREE_CHAT = "free chat under a general system prompt is never compiled"


@dataclass(frozen=True)
class TaskOutcome:
    match: Match
    model: str  # the one that most of its answers came from
    sums: Sums
    share: float  # of all that was spent
    possible: Possible

    @property
    def saving(self) -> Range | None:
        """Of 30 days, USD; 0 where compiling is not worth it, and at worst where that is not sure."""
        worth = self.possible.worth
        if worth is None:
            return None
        low, high = (MONTH_DAYS * usd for usd in worth.saving_per_day)
        sure = {"worth it": Range(low, high), "perhaps": Range(0.0, high)}
        return sure.get(worth.verdict, Range(0.0, 0.0))


@dataclass(frozen=True)
class Outcome:
    """`days` is None where the log says no times, or spans too little to tell how many calls a day there are."""

    found: Replayed
    funnel: Funnel
    tasks: tuple[TaskOutcome, ...]  # dearest first
    days: float | None

    @property
    def counted(self) -> int:
        """Calls whose tokens we had to count."""
        return sum(sums.counted for _, _, sums in _rows(self.found))

    @property
    def saving(self) -> Range | None:
        """Of 30 days, USD, all tasks together; None where it is known of none."""
        known = [task.saving for task in self.tasks if task.saving is not None]
        return Range(sum(one.low for one in known), sum(one.high for one in known)) if known else None

    def calls_a_day(self, task: TaskOutcome) -> float | None:
        return task.sums.requests / self.days if self.days else None

    def to_json(self) -> dict[str, Any]:
        found, reading = self.found, self.found.reading
        return {
            "partial": not found.whole,
            "forms": reading.forms,
            "calls": reading.calls,
            "passed_over": reading.passed_over,
            "unreadable": reading.unreadable,
            "problems": reading.problems,
            "first": found.first,
            "last": found.last,
            "days": self.days,
            "counted": self.counted,
            "priced_by_log": found.by_log,
            "compared": {"list_usd": found.priced_usd, "log_usd": found.log_usd},
            "funnel": self.funnel.to_json(),
            "saving_usd_30_days": self.saving.to_json() if self.saving else None,
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
            "saving_usd_30_days": task.saving.to_json() if task.saving else None,
            "possible_savings": task.possible.to_json(),
        }


def outcome_of(found: Replayed, terms: Terms, spans: float | None = None) -> Outcome:
    """`spans`: the days that the log covers, if they are not those from its first call to its last."""
    funnel = build_funnel(_rows(found))
    days = spans or (found.days if found.days is not None and found.days >= LEAST_DAYS else None)
    by_task: dict[str, list[tuple[Row, Sums]]] = {}
    for task, row, sums in _rows(found):
        if task != UNDECLARED:
            by_task.setdefault(task, []).append((row, sums))
    tasks = [
        _outcome(found.matches[task], rows, _Frame(funnel, found.kinds, terms, days)) for task, rows in by_task.items()
    ]
    return Outcome(found, funnel, tuple(sorted(tasks, key=lambda task: (-task.sums.cost, task.match.name))), days)


@dataclass(frozen=True)
class _Frame:
    """What a task is seen in."""

    funnel: Funnel
    kinds: Kinds
    terms: Terms
    days: float | None

    def possible(self, match: Match, model: str, sums: Sums, requests: int) -> Possible:
        """`sums` are those of the model that `requests` of the task's answers did not all come from."""
        if match.catch_all:
            return Possible(match.name, None, FREE_CHAT)
        if self.days is None:
            return Possible(match.name, None, NO_DAYS)
        if sums.calls <= sums.failed:
            return Possible(match.name, None, "no call of it was answered")
        seen = seen_of(sums, requests / self.days, self.kinds.of(match.id))
        return possible_of(match.name, model, seen, self.terms)


def _outcome(match: Match, rows: list[tuple[Row, Sums]], frame: _Frame) -> TaskOutcome:
    whole, by_model = Sums(), dict[str, Sums]()
    for row, sums in rows:
        whole.add(sums)
        by_model.setdefault(row.model, Sums()).add(sums)
    model = max(by_model, key=lambda name: (by_model[name].calls - by_model[name].failed, name))
    bill = frame.funnel.bill.usd
    possible = frame.possible(match, model, by_model[model], whole.requests)
    return TaskOutcome(match, model, whole, whole.cost / bill if bill else 0.0, possible)


def _rows(found: Replayed) -> Iterator[tuple[str, Row, Sums]]:
    for (_, task), rows in found.tally.rows.items():
        for row, sums in rows.items():
            yield task, row, sums
