"""What came of one task's proof."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from compiler.backtest import Differed
from compiler.card import Card
from compiler.observation import input_of
from compiler.proof import Proof
from proxy.prove.case import Case
from proxy.prove.saving import Saving
from proxy.worst import current_answer

Verdict = Literal["pass", "fail", "stopped"]
"""`stopped`: nobody knows yet; begun again, it goes on."""
SHOWN = 5  # pairs that differ


@dataclass(frozen=True)
class Result:
    """`wanted`: pairs that it would take, where there were too few. `notes`: what else one should know."""

    case: Case
    verdict: Verdict
    reason: str
    margin: float = 0.0
    card: Card | None = None
    proof: Proof | None = None
    number: int = 0
    worst: Sequence[Differed] = ()
    wanted: float | None = None
    saving: Saving | None = None
    usd: float = 0.0
    notes: Sequence[str] = field(default=())

    @property
    def differing(self) -> int:
        """Pairs in which the two answers were not the same, or the candidate gave none that could be served."""
        return self.proof.pairs - self.proof.outcomes["same"] if self.proof else 0

    @property
    def points(self) -> list[tuple[int, float]]:
        """The bound over the pairs."""
        return [*self.proof.history, (self.proof.pairs, self.proof.bound)] if self.proof and self.proof.pairs else []

    def pairs(self) -> list[dict[str, Any]]:
        """The worst first, as `cuecard diffs` gives them."""
        return [_pair(one) for one in self.worst[:SHOWN]]

    def to_json(self) -> dict[str, Any]:
        case, card, proof = self.case, self.card, self.proof
        return {
            "task": case.task.name,
            "template": case.requests.match.template_text,
            "verdict": self.verdict,
            "reason": self.reason,
            "models": {"current": case.model, "candidate": card.model if card else None},
            "requests": case.requests.calls,
            "examples": case.first,
            "max_loss": self.margin or None,
            "loss_bound": proof.bound if proof else None,
            "pairs": proof.pairs if proof else 0,
            "differing": self.differing,
            "outcomes": dict(proof.outcomes) if proof else {},
            "pairs_wanted": self.wanted if self.wanted is None or self.wanted < float("inf") else "never",
            "kappa": proof.sight if proof else None,
            "proof_number": self.number or None,
            "saving": self.saving.to_json() if self.saving else None,
            "usd": self.usd,
            "worst": self.pairs(),
            "card": card.to_json() if card else None,
            "history": self.points,
            "notes": list(self.notes),
        }


def _pair(differed: Differed) -> dict[str, Any]:
    observation, ran = differed
    return {
        "time": observation.time or None,
        "d": ran.scored.d,
        "outcome": ran.scored.outcome,
        "reason": ran.scored.reason,
        "judge": ran.scored.said,
        "input": input_of(observation),
        "current": current_answer(observation),
        "candidate": ran.answer,
    }
