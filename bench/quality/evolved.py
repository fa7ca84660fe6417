"""The same search budget in other hands: GEPA, held to its calls to the letter.

GEPA itself looks at its budget between rounds and may pass it by one; here a batch that is over it is not begun.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gepa.api import optimize
from gepa.core.adapter import EvaluationBatch, GEPAAdapter
from gepa.core.result import GEPAResult

from bench.quality.tasks import Spec, share
from compiler.example import Example

Messages = list[dict[str, Any]]
Ask = Callable[[Messages], str]

COMPONENT = "instruction"
VALIDATED = 30  # of the newest examples, on which GEPA chooses; it reflects on the others
SEED = 0
LOG_CHARS = 300


class OutOfCalls(Exception):
    pass


@dataclass(frozen=True)
class Evolved:
    instruction: str
    score: float  # on the validated examples
    told: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    example: Example
    answer: str
    score: float


class Adapter(GEPAAdapter[Example, Trace, str]):
    """The app's own request with another instruction in it, held against what the current model answered."""

    def __init__(self, spec: Spec, ask: Ask, calls: int) -> None:
        self._spec = spec
        self._ask = ask
        self.left = calls
        self.over = False  # a batch was not begun

    def evaluate(
        self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False
    ) -> EvaluationBatch[Trace, str]:
        if len(batch) > self.left:
            self.over = True
            raise OutOfCalls(f"{len(batch)} calls wanted, {self.left} left")
        self.left -= len(batch)
        traces = [self._try(example, candidate[COMPONENT]) for example in batch]
        return EvaluationBatch(
            outputs=[trace.answer for trace in traces],
            scores=[trace.score for trace in traces],
            trajectories=traces if capture_traces else None,
        )

    def _try(self, example: Example, instruction: str) -> Trace:
        answer = self._ask(self._spec.messages(example.input, instruction))
        return Trace(example, answer, share(self._spec, answer, example.expected))

    def make_reflective_dataset(
        self,
        candidate: dict[str, str],
        eval_batch: EvaluationBatch[Trace, str],
        components_to_update: list[str],
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        told = [
            {"Inputs": trace.example.input, "Generated Outputs": trace.answer, "Feedback": _feedback(trace)}
            for trace in eval_batch.trajectories or ()
        ]
        return dict.fromkeys(components_to_update, told)


def _feedback(trace: Trace) -> str:
    if trace.score == 1.0:
        return "This answer is right."
    return f"This answer is wrong. The right answer, to the letter, is: {trace.example.expected}"


class _Meta:
    def __init__(self, ask: Ask, calls: int) -> None:
        self._ask = ask
        self.left = calls

    def __call__(self, prompt: str | Messages) -> str:
        if not self.left:
            raise OutOfCalls("no call of the meta model is left")
        self.left -= 1
        return self._ask([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)


class _Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message[:LOG_CHARS])


def evolve(
    spec: Spec, examples: Sequence[Example], *, small: Ask, big: Ask, calls: int, meta_calls: int, validated: int
) -> Evolved:
    """Blocks: call it in a thread. `examples`: the app's texts with the current model's answers, oldest first."""
    adapter, meta, log = Adapter(spec, small, calls), _Meta(big, meta_calls), _Log()
    found: GEPAResult[str, int] = optimize(
        seed_candidate={COMPONENT: spec.instruction},
        trainset=[*examples[:-validated]],
        valset=[*examples[-validated:]],
        adapter=adapter,
        reflection_lm=meta,
        max_metric_calls=calls,
        stop_callbacks=[lambda state: adapter.over or not meta.left],
        logger=log,
        raise_on_exception=False,
        track_best_outputs=False,
        seed=SEED,
    )
    best = found.candidates[found.best_idx]
    return Evolved(best[COMPONENT], found.val_aggregate_scores[found.best_idx], tuple(log.lines))
