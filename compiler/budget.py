"""Dollar caps on background work. Money is reserved durably before a call, so that no crash can pass a cap."""

import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from compiler.errors import BudgetExceeded
from compiler.ledger import Charge, Ledger, Tally
from compiler.store import Store

PROOFS = "proofs"  # all proofs of a day share this account
OFFLINE = "prove"  # of all that is done for one log, compiles included
KEEP_SECONDS = 8 * 24 * 3_600


@dataclass(frozen=True)
class Reservation:
    id: str
    accounts: tuple[str, ...]


class Budget:
    """Several caps at once: what all background work may cost in a UTC day, what one compile may cost, what all proofs
    together and each task's may cost in a day.

    A reservation that a killed process left open stays counted as spent: its call may have been billed.
    """

    def __init__(self, store: Store, usd_per_day: float) -> None:
        self._store = store
        self._ledger = Ledger(store)
        self.usd_per_day = usd_per_day
        self.refused: Counter[str] = Counter()  # calls, by the account that had no room

    def reserve(self, usd: float, caps: Mapping[str, float]) -> Reservation:
        """Set `usd` aside in today's account and in those of `caps`, by scope. Raises BudgetExceeded, nothing set
        aside."""
        caps = {self.day(): self.usd_per_day, **{f"budget:{scope}": cap for scope, cap in caps.items()}}
        reservation = Reservation(uuid.uuid4().hex, tuple(caps))
        with self._store.transact():
            for account, cap in caps.items():
                held = self._account(account)
                used = held["spent"] + sum(held["open"].values())
                if used + usd > cap:
                    self.refused[account.removeprefix("budget:")] += 1
                    raise BudgetExceeded(
                        f"the next call may cost ${usd:.4f}, and ${used:.4f} of the "
                        f"${cap:.2f} {self._named(account)} are spent or reserved",
                        scope="day" if account == self.day() else "compile",
                        account=account.removeprefix("budget:"),
                    )
            for account in caps:
                held = self._account(account)
                held["open"][reservation.id] = usd
                self._store.put(account, held, expire=KEEP_SECONDS)
        return reservation

    def settle(self, reservation: Reservation, charge: Charge | None, *, memo: tuple[str, Any] | None = None) -> None:
        """Replace the reservation by what was paid, book the call and keep its answer: one transaction."""
        with self._store.transact():
            for account in reservation.accounts:
                held = self._account(account)
                held["open"].pop(reservation.id, None)
                held["spent"] += (charge.cost or 0.0) if charge else 0.0
                self._store.put(account, held, expire=KEEP_SECONDS)
            if charge:
                tally = Tally()
                tally.add(charge)
                self._ledger.add(tally)
            if memo:
                self._store.put(memo[0], memo[1], expire=KEEP_SECONDS)

    def spent(self, account: str) -> float:
        """USD spent or still reserved in an account, `day()` or `budget:<scope>`."""
        held = self._account(account)
        return float(held["spent"] + sum(held["open"].values()))

    def close(self, scope: str) -> None:
        """Nothing more is paid from its account; what a new one of that name pays is another matter's."""
        self._store.delete(f"budget:{scope}")

    def _named(self, account: str) -> str:
        if account == self.day():
            return "a day"
        if account.startswith(f"budget:{PROOFS}:"):
            return "that all proofs may cost in a day"
        if account.startswith(f"budget:{OFFLINE}:"):
            return "that a log's proof may cost"
        return "a task's proof in a day" if account.startswith("budget:proof:") else "a compile"

    def day(self) -> str:
        return f"budget:{datetime.now(UTC):%Y-%m-%d}"

    def _account(self, account: str) -> dict[str, Any]:
        held: dict[str, Any] = self._store.get(account) or {"spent": 0.0, "open": {}}
        return held
