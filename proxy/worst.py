"""The worst pairs of a task's proof, for `cuecard diffs` and /admin alike."""

from typing import Any

from compiler.diffs import Diff, Diffs
from compiler.observation import Observation, Observations, input_of
from compiler.proof import Proofs
from compiler.rollout import Rollout
from compiler.score import Answer, in_text
from compiler.store import Store


def worst_pairs(store: Store, observations: Observations, task: str, most: int) -> dict[str, Any]:
    """`input` and `current` are None where the request is no longer kept. Raises UnknownTask and StoreError."""
    Rollout(store).known(task)
    proof, kept = Proofs(store).get(task), Diffs(store).of(task)
    return {
        "task": task,
        "card": proof.card if proof else None,
        "models": {"current": proof.arms[0], "card": proof.arms[1]} if proof else None,
        "pairs": proof.pairs if proof else 0,
        "outcomes": dict(proof.outcomes) if proof else {},
        "kept": len(kept),
        "diffs": [_pair(diff, observations.get(diff.position)) for diff in kept[:most]],
    }


def current_answer(observation: Observation) -> str:
    return in_text(Answer(observation.answer, tuple(observation.tool_calls)))


def _pair(diff: Diff, observation: Observation | None) -> dict[str, Any]:
    return {
        "time": diff.time,
        "d": diff.d,
        "outcome": diff.outcome,
        "reason": diff.reason,
        "judge": diff.said,
        "input": input_of(observation) if observation else None,
        "current": current_answer(observation) if observation else None,
        "candidate": diff.answer,
    }
