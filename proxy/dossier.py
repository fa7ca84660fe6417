"""All that is known of how far a task's card may serve: its evidence, what that cost, and what people said."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from compiler.feedback import Feedback, Tally
from compiler.ledger import Ledger
from compiler.proof import Proof, Proofs
from compiler.registry import Registry, TaskView
from compiler.rollout import Entry, Rollout, Said
from compiler.store import Store
from proxy.gates import gates
from proxy.opinion import opinion_json

PROVING = ("shadow", "judge")  # roles


@dataclass(frozen=True)
class Dossier:
    """`proof`: of the card at hand; None where none was begun. `usd`: what all proofs of the task cost so far."""

    view: TaskView
    proof: Proof | None
    begun: int
    said: Said
    entries: list[Entry]
    usd: float
    feedback: Tally | None

    @classmethod
    def of(cls, store: Store, view: TaskView) -> Self:
        """Raises StoreError."""
        name, card, proofs, rollout = view.task.name, view.compiled, Proofs(store), Rollout(store)
        proof = proofs.get(name)
        return cls(
            view,
            proof if proof and card and proof.card == card.label else None,
            proofs.begun(name),
            rollout.said(name),
            rollout.audit(name),
            sum(sums.cost for task, row, sums in Ledger(store).rows() if task == name and row.role in PROVING),
            Feedback(store).of(name),
        )

    def to_json(self) -> dict[str, Any]:
        proof = self.proof
        return {
            "proof": _proof(proof, self.begun) if proof else None,
            "proof_usd": self.usd,
            "feedback": opinion_json(self.feedback),
            "said": vars(self.said),
            "audit": [entry.to_json() for entry in self.entries],
        }


def _proof(proof: Proof, begun: int) -> dict[str, Any]:
    """Without texts of the traffic: labels are among its segments."""
    return {
        "card": proof.card,
        "number": begun,
        "scoring": proof.scoring.to_json(),
        "margin": proof.evidence.margin,
        "pairs": proof.pairs,
        "bound": proof.bound,
        "kappa": proof.kappa,
        "drift": proof.evidence.drift.drifted,
        "models": {"current": proof.arms[0], "card": proof.arms[1]},
        "outcomes": dict(proof.outcomes),
        "gates": [gate._asdict() for gate in gates(proof)],
        "history": [list(point) for point in proof.history],
        "since": proof.since,
    }


class Stand(NamedTuple):
    """In a line: where a task's card stands, and why there. `traffic`: the share of the requests that it may serve;
    `bound`: it is at most so much worse, None where no proof was begun."""

    name: str
    stage: str
    traffic: float
    bound: float | None
    pairs: int
    card: str | None
    model: str | None
    reason: str

    @classmethod
    def of(cls, view: TaskView, proof: Proof | None = None) -> Self:
        card = view.compiled
        mine = proof if proof and card and proof.card == card.label else None
        return cls(
            view.task.name,
            view.stage,
            view.served,
            mine.bound if mine else None,
            mine.pairs if mine else 0,
            card.label if card else None,
            card.model if card else None,
            view.reason,
        )


def adopted_views(store: Store) -> list[TaskView]:
    """The recognised tasks that are taken up for a compile, by variant. Raises StoreError."""
    registry = Registry(store)
    return [registry.view(name, task) for name, task in sorted(registry.adopted().items())]
