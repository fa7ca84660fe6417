"""Where the money goes, what could be saved, what was: read off the ledger."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from compiler.feedback import Feedback, Tally
from compiler.ledger import Incumbent, Ledger, Row, Sums
from compiler.pricing import PriceBook
from compiler.proof import Proofs
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry, Snapshot
from compiler.store import Store
from compiler.task import of_variant
from compiler.worth import Range, Terms
from proxy.dossier import Stand
from proxy.funnel import Funnel, build_funnel
from proxy.opinion import opinion_json
from proxy.savings import Possible, own_model, possible_savings

SURE = 1.96  # standard deviations: 95 %


@dataclass
class TaskReport:
    """`baseline` and `saving` are estimates, of the calls that have a baseline at all (`baselined`). `incumbent`: what
    the app's own model was seen to do, over all time. `stands`: where its cards stand, of each variant."""

    rows: dict[Row, Sums] = field(default_factory=dict)
    incumbent: Incumbent = field(default_factory=Incumbent)
    stands: list[Stand] = field(default_factory=list)

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

    @property
    def replaced(self) -> int:
        """Calls that a card answered, where it is known what they would have cost otherwise."""
        return sum(sums.baselined for row, sums in self.rows.items() if row.route == "compiled")

    def saving_range(self, prices: PriceBook) -> Range:
        """The net saving, 95 % sure: what the app's own model would have cost for m calls that a card answered is known
        from n of its answers, so that the m together are uncertain by 1.96 · price · spread · √(m + m²/n).

        As everywhere it is taken for granted that those n were drawn from the same calls.
        """
        calls, seen = self.replaced, self.incumbent
        if not calls:
            return Range(self.net_saving, self.net_saving)
        rates = prices.rates(own_model(self._originals()))
        if rates is None or seen.calls < 2:
            return Range(-math.inf, math.inf)
        of_one = rates.cost_of(0, 0, 0, seen.output_spread)
        half = SURE * of_one * math.sqrt(calls + calls * calls / seen.calls)
        return Range(self.net_saving - half, self.net_saving + half)

    def _originals(self) -> dict[str, Sums]:
        """By model."""
        found: dict[str, Sums] = {}
        for row, sums in self.rows.items():
            if row.role == "serve" and row.route == "original":
                found.setdefault(row.model, Sums()).add(sums)
        return found

    def _compared_cost(self) -> float:
        return sum(
            sums.cost for row, sums in self.rows.items() if row.role == "serve" and (sums.baselined or sums.failed)
        )


@dataclass
class Report:
    funnel: Funnel
    possible: Sequence[Possible]
    tasks: dict[str, TaskReport]
    prices: PriceBook
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
                    "net_saving_usd_range": task.saving_range(self.prices).to_json(),
                    "cards": [stand._asdict() for stand in task.stands],
                    "rows": [{**row._asdict(), **asdict(sums)} for row, sums in sorted(task.rows.items())],
                }
                for name, task in sorted(self.tasks.items())
            },
            "feedback": {name: opinion_json(tally) for name, tally in self.feedback.items()},
        }


def build_report(store: Store, since: timedelta | None = None, terms: Terms | None = None) -> Report:
    """`since` bounds what is summed up. What could be saved is reckoned from the last days, by `terms`."""
    ledger, known = Ledger(store), Registry(store).snapshot()
    rows = list(ledger.rows(since))
    tasks: dict[str, TaskReport] = {}
    for name, row, sums in rows:
        task = of_variant(name)
        if task not in tasks:
            tasks[task] = TaskReport(incumbent=ledger.incumbent(task))
        tasks[task].rows.setdefault(row, Sums()).add(sums)
    for stand in _stands(store, known):
        if (found := tasks.get(of_variant(stand.name))) is not None:
            found.stands.append(stand)
    prices = terms.prices if terms else PriceBook()
    said = Feedback(store)
    feedback = {name: tally for name in said.tasks() if (tally := said.of(name))}
    possible = _possible(store, known, terms) if terms else ()
    return Report(build_funnel(rows), possible, tasks, prices, feedback)


def _stands(store: Store, known: Snapshot) -> Iterator[Stand]:
    """Of every task that has a card."""
    proofs = Proofs(store)
    for view in (*known.tasks.values(), *(view for _, view in sorted(known.adopted.items()))):
        if view.compiled:
            yield Stand.of(view, proofs.get(view.task.name))


def _possible(store: Store, known: Snapshot, terms: Terms) -> Sequence[Possible]:
    ignored = {name for name, task in Catalogue(store).tasks().items() if task.ignored}
    return possible_savings(Ledger(store), known.tasks, terms, ignored)
