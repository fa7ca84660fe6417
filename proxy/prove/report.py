"""All that a proof of a log found, in one place: for the terminal, for the page and for scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxy.funnel import Group
from proxy.prove.case import Untried
from proxy.prove.costs import Cost
from proxy.prove.result import Result, Verdict
from proxy.replay.outcome import Outcome
from proxy.replay.page import dollars

PASSED, FAILED, WRONG, NOTHING, STOPPED, INTERRUPTED = 0, 1, 2, 3, 4, 130


@dataclass(frozen=True)
class Report:
    """`usd`: of all runs on this log together, with what is still reserved for calls that were cut off."""

    outcome: Outcome
    results: Sequence[Result]
    untried: Sequence[Untried]
    costs: Sequence[Cost]
    usd: float
    max_usd: float

    def of(self, verdict: Verdict) -> list[Result]:
        return [result for result in self.results if result.verdict == verdict]

    @property
    def exit_code(self) -> int:
        if not self.results:
            return NOTHING
        if self.of("fail"):
            return FAILED
        return STOPPED if self.of("stopped") else PASSED

    @property
    def month(self) -> float | None:
        """USD that the tasks which passed save in 30 days; None where it is not known of one."""
        savings = [result.saving.month if result.saving else None for result in self.of("pass")]
        known = [usd for usd in savings if usd is not None]
        return sum(known) if known and len(known) == len(savings) else None

    @property
    def groups(self) -> list[Group]:
        """Calls of the log that are of no task, by the reason."""
        steps = self.outcome.funnel.steps
        return [group for step in steps if step.name != "live" for group in step.excluded if group.amount.calls]

    @property
    def sentence(self) -> str:
        """The verdict, for who reads nothing else."""
        passed, tried, stopped = self.of("pass"), len(self.results), len(self.of("stopped"))
        if not tried:
            return "No task of this log could be tried: nothing is proven, and nothing was paid."
        unknown = f" {stopped} {'is' if stopped == 1 else 'are'} not decided yet." if stopped else ""
        if not passed:
            return f"None of {_tasks(tried)} was proven to be as good on a cheaper model.{unknown}"
        worst = max(result.proof.bound for result in passed if result.proof)
        saved = f", which saves an estimated {dollars(self.month)} a month" if self.month is not None else ""
        return (
            f"{len(passed)} of {_tasks(tried)} can move to a cheaper model: at most {100 * worst:.1f} % worse"
            f" (95 % sure){saved}.{unknown}"
        )

    def to_json(self) -> dict[str, Any]:
        found = self.outcome.found
        return {
            "exit_code": self.exit_code,
            "verdict": self.sentence,
            "calls": found.reading.calls,
            "unreadable": found.reading.unreadable,
            "problems": found.reading.problems,
            "days": self.outcome.days,
            "tasks": [result.to_json() for result in self.results],
            "untried": [
                {
                    "task": one.task,
                    "template": one.requests.match.template_text,
                    "requests": one.requests.calls,
                    "cost_usd": one.requests.usd,
                    "reason": one.reason,
                }
                for one in self.untried
            ],
            "no_task": [group.to_json() for group in self.groups],
            "saving_usd_month": self.month,
            "costs": [{k: v for k, v in cost._asdict().items() if k != "task"} for cost in self.costs],
            "usd": self.usd,
            "max_usd": self.max_usd,
        }


def _tasks(number: int) -> str:
    return f"{number} task{'' if number == 1 else 's'}"
