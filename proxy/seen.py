"""The recognised tasks and their traffic of the last days, for the commands and /admin alike."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from compiler.ledger import Ledger, Sums
from compiler.proof import Proofs
from compiler.recognition.catalogue import Catalogue, Recognised
from compiler.recognition.template import Template
from compiler.store import Store
from compiler.task import of_variant
from proxy.dossier import Stand, adopted_views
from proxy.savings import LAST, days_since


@dataclass(frozen=True)
class Seen:
    """`share`: of what all calls of the app cost. `adopted`: those that are taken up for a compile, the task itself or
    the variants of its enumerated values."""

    task: Recognised
    templates: list[Template]
    calls: int
    calls_a_day: float
    usd: float
    share: float
    adopted: list[Stand] = field(default_factory=list)

    @property
    def stage(self) -> str:
        if self.task.ignored:
            return "ignored"
        stages = {stand.stage for stand in self.adopted} or {"observing"}
        return stages.pop() if len(stages) == 1 else "mixed"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.task.name,
            "stage": self.stage,
            "merged": self.task.merged,
            "model": self.templates[0].model if self.templates else "",
            "tenant": self.templates[0].tenant if self.templates else "",
            "calls": self.calls,
            "calls_a_day": self.calls_a_day,
            "cost_usd": self.usd,
            "share_of_cost": self.share,
            "adopted": [stand._asdict() for stand in self.adopted],
            "templates": [
                {"id": t.id, "text": t.shown(), "variants": t.variants, "learned_from": t.seen} for t in self.templates
            ],
        }


@dataclass
class _Traffic:
    first: datetime
    sums: Sums = field(default_factory=Sums)

    def calls_a_day(self, now: datetime) -> float:
        """From its first call on."""
        return self.sums.requests / days_since(self.first, now)


def seen_tasks(store: Store) -> list[Seen]:
    """The recognised ones, the dearest first. Raises StoreError."""
    catalogue, now = Catalogue(store), datetime.now(UTC)
    templates = {template.id: template for template in catalogue.templates()}
    traffic, total = _traffic(Ledger(store), now)
    proofs, adopted = Proofs(store), defaultdict[str, list[Stand]](list)
    for view in adopted_views(store):
        name = view.task.name
        adopted[of_variant(name)].append(Stand.of(view, proofs.get(name)))
    found = []
    for name, task in catalogue.tasks().items():
        mine = traffic.get(name, _Traffic(now))
        its = [templates[id_] for id_ in task.templates if id_ in templates]
        share = mine.sums.cost / total if total else 0.0
        calls, stands = mine.sums.requests, adopted[name]
        if task.ignored:
            stands = [stand._replace(stage="ignored", traffic=0.0) for stand in stands]
        found.append(Seen(task, its, calls, mine.calls_a_day(now), mine.sums.cost, share, stands))
    return sorted(found, key=lambda one: (-one.usd, -one.calls, one.task.name))


def seen_task(store: Store, name: str) -> Seen | None:
    return next((one for one in seen_tasks(store) if one.task.name == name), None)


def _traffic(ledger: Ledger, now: datetime) -> tuple[dict[str, _Traffic], float]:
    """By task, and what all of it cost."""
    found: dict[str, _Traffic] = {}
    total = 0.0
    for hour, name, row, sums in ledger.hours(LAST):
        if row.role == "serve":
            mine = found.setdefault(name, _Traffic(now))
            mine.first = min(mine.first, hour)
            mine.sums.add(sums)
            total += sums.cost
    return found, total
