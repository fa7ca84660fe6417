"""What a proof has cost so far, in all its runs together: by task, role and model."""

from collections.abc import Iterator
from typing import NamedTuple

from compiler.budget import KEEP_SECONDS
from compiler.ledger import Charge
from compiler.store import Store


class Cost(NamedTuple):
    task: str
    role: str
    model: str
    calls: int
    usd: float


class Costs:
    """Of one account. Methods raise StoreError."""

    def __init__(self, store: Store, account: str) -> None:
        self._store = store
        self._key = f"costs:{account}"

    def add(self, charge: Charge) -> None:
        with self._store.transact():
            found = self._store.get(self._key, [])
            sums = {tuple(row[:3]): row[3:] for row in found}
            calls, usd = sums.get((charge.task, charge.role, charge.model), (0, 0.0))
            sums[charge.task, charge.role, charge.model] = [calls + 1, usd + (charge.cost or 0.0)]
            self._store.put(self._key, [[*key, *value] for key, value in sums.items()], expire=KEEP_SECONDS)

    def __iter__(self) -> Iterator[Cost]:
        return (Cost(*row) for row in self._store.get(self._key, []))

    def of(self, task: str, *roles: str) -> float:
        """USD; of all roles where none is named."""
        return sum(cost.usd for cost in self if cost.task == task and (not roles or cost.role in roles))

    def by_model(self) -> list[Cost]:
        """All tasks together, the dearest first."""
        found: dict[tuple[str, str], Cost] = {}
        for cost in self:
            before = found.get((cost.model, cost.role), cost._replace(task="", calls=0, usd=0.0))
            found[cost.model, cost.role] = before._replace(calls=before.calls + cost.calls, usd=before.usd + cost.usd)
        return sorted(found.values(), key=lambda cost: (-cost.usd, cost.model, cost.role))
