"""What one run of a plan may still spend. In memory, and of this run only: days are for `compiler.budget`."""

from compiler.errors import BudgetExceeded


class Purse:
    """A call's most is taken out before it begins. What it truly cost takes that place once it is known; of a call that
    nobody waited for it never is, and its most stays out."""

    def __init__(self, max_usd: float, max_calls: int) -> None:
        self.max_usd, self.max_calls = max_usd, max_calls
        self.usd, self.calls = 0.0, 0

    def check(self, most: float | None, *, calls: int = 1) -> None:
        """Raises BudgetExceeded where `calls` more could pass a cap. `most`: USD of them all, None where no price is
        known."""
        if self.calls + calls > self.max_calls:
            raise BudgetExceeded(f"more than {self.max_calls} calls would be made", scope="run")
        if most is None:
            raise BudgetExceeded("a call of unknown price would be made", scope="run")
        if not self.usd + most <= self.max_usd:
            raise BudgetExceeded(f"more than ${self.max_usd:g} could be spent", scope="run")

    def begin(self, most: float | None, *, keep: int = 0) -> float:
        """Takes out what the call may cost at most, if `keep` more calls could still be made after it, and returns
        it. Raises as `check`."""
        self.check(most, calls=1 + keep)
        held = most or 0.0
        self.usd += held
        self.calls += 1
        return held

    def settle(self, held: float, usd: float | None) -> None:
        if usd is not None:
            self.usd += usd - held
