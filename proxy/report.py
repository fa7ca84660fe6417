"""Where the money goes, what could be saved, what was: read off the ledger."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from compiler.feedback import Feedback, Tally
from compiler.ledger import Ledger, Row, Sums
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.store import Store
from compiler.worth import Terms
from proxy.funnel import Funnel, build_funnel
from proxy.opinion import opinion_json
from proxy.savings import Possible, possible_savings


@dataclass
class TaskReport:
    """`baseline` and `saving` are estimates, of the calls that have a baseline at all (`baselined`)."""

    rows: dict[Row, Sums] = field(default_factory=dict)

    def sums(self, *roles: str) -> Sums:
        total = Sums()
        for row, sums in self.rows.items():
            if not roles or row.role in roles:
                total.add(sums)
        return total

    @property
    def net_saving(self) -> float:
        """Baseline minus everything spent: serving, failed attempts, compiling. Calls without a baseline count 0."""
        background = self.sums("compile", "judge", "shadow").cost
        return self.sums("serve").baseline - self._compared_cost() - background

    def _compared_cost(self) -> float:
        return sum(
            sums.cost for row, sums in self.rows.items() if row.role == "serve" and (sums.baselined or sums.failed)
        )


@dataclass
class Report:
    funnel: Funnel
    possible: Sequence[Possible]
    tasks: dict[str, TaskReport]
    feedback: dict[str, Tally]

    def to_json(self) -> dict[str, Any]:
        return {
            "funnel": self.funnel.to_json(),
            "possible_savings": {one.task: one.to_json() for one in self.possible},
            "tasks": {
                name: {
                    "requests": task.sums("serve").requests,
                    "cost_usd": task.sums("serve").cost,
                    "baseline_usd_estimated": task.sums("serve").baseline,
                    "compile_usd": task.sums("compile").cost,
                    "net_saving_usd_estimated": task.net_saving,
                    "rows": [{**row._asdict(), **asdict(sums)} for row, sums in sorted(task.rows.items())],
                }
                for name, task in sorted(self.tasks.items())
            },
            "feedback": {name: opinion_json(tally) for name, tally in self.feedback.items()},
        }


def build_report(store: Store, since: timedelta | None = None, terms: Terms | None = None) -> Report:
    """`since` bounds what is summed up. What could be saved is reckoned from the last days, by `terms`."""
    ledger = Ledger(store)
    rows = list(ledger.rows(since))
    tasks: dict[str, TaskReport] = {}
    for task, row, sums in rows:
        tasks.setdefault(task, TaskReport()).rows.setdefault(row, Sums()).add(sums)
    said = Feedback(store)
    feedback = {name: tally for name in said.tasks() if (tally := said.of(name))}
    return Report(build_funnel(rows), _possible(store, terms) if terms else (), tasks, feedback)


def _possible(store: Store, terms: Terms) -> Sequence[Possible]:
    ignored = {name for name, task in Catalogue(store).tasks().items() if task.ignored}
    return possible_savings(Ledger(store), Registry(store).snapshot().tasks, terms, ignored)
