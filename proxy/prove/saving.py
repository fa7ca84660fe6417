"""What a proven task saves, by its own pairs and the log's own traffic and prices. Pure."""

from dataclasses import dataclass
from typing import Any

from compiler.proof import Proof

MONTH_DAYS = 30


@dataclass(frozen=True)
class Saving:
    """Dollars. `share` of what a call costs, measured on `pairs`; `of_log`: on all calls of the task in the log;
    `month`: an estimate of 30 days at the log's traffic, all but the control group served, and its pairs paid for; None
    where nobody knows how many days the log covers."""

    pairs: int
    current_call: float
    candidate_call: float
    of_log: float
    month: float | None

    @property
    def share(self) -> float:
        return 1 - self.candidate_call / self.current_call

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "share": self.share}


def saving_of(
    proof: Proof, *, calls: int, usd: float, days: float | None, control: float, proof_usd: float
) -> Saving | None:
    """`calls` and `usd`: of the task in the log; `proof_usd`: what its pairs cost. None where costs are not known."""
    theirs, ours = proof.usd
    if not proof.priced or theirs <= 0:
        return None
    current, candidate = theirs / proof.priced, ours / proof.priced
    month = None
    if days:
        monthly = MONTH_DAYS * calls / days
        month = monthly * ((1 - control) * (current - candidate) - control * proof_usd / max(1, proof.pairs))
    return Saving(proof.priced, current, candidate, usd * (1 - candidate / current), month)
