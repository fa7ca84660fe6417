"""The same search budget in other hands: GEPA, held to its calls to the letter.

GEPA itself looks at its budget between rounds and may pass it by one; here a batch that is over it is not begun.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai
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


class Calls:
    """A model that may be asked so often. GEPA goes on after an error; `failed` is for whoever started it."""

    def __init__(self, ask: Ask, left: int) -> None:
        self._ask = ask
        self.left = left
        self.failed: openai.OpenAIError | None = None

    def __call__(self, messages: Messages) -> str:
        if not self.left:
            raise OutOfCalls("no call is left")
        self.left -= 1
        try:
            return self._ask(messages)
        except openai.OpenAIError as error:
            self.failed = error
            raise


class Adapter(GEPAAdapter[Example, Trace, str]):
    """The app's own request with another instruction in it, held against what the current model answered."""

    def __init__(self, spec: Spec, calls: Calls) -> None:
        self._spec = spec
        self._calls = calls
        self.over = False  # a batch was not begun

    def evaluate(
        self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False
    ) -> EvaluationBatch[Trace, str]:
        if len(batch) > self._calls.left:
            self.over = True
            raise OutOfCalls(f"{len(batch)} calls wanted, {self._calls.left} left")
        traces = [self._try(example, candidate[COMPONENT]) for example in batch]
        return EvaluationBatch(
            outputs=[trace.answer for trace in traces],
            scores=[trace.score for trace in traces],
            trajectories=traces if capture_traces else None,
        )

    def _try(self, example: Example, instruction: str) -> Trace:
        answer = self._calls(self._spec.messages(example.input, instruction))
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


class _Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message[:LOG_CHARS])


def evolve(spec: Spec, examples: Sequence[Example], *, small: Calls, big: Calls, validated: int) -> Evolved:
    """Blocks: call it in a thread. `examples`: the app's texts with the current model's answers, oldest first.

    Raises what the OpenAI SDK raises: an instruction that was sought without a model is none.
    """
    adapter, log = Adapter(spec, small), _Log()

    def reflect(prompt: str | Messages) -> str:
        return big([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)

    found: GEPAResult[str, int] = optimize(
        seed_candidate={COMPONENT: spec.instruction},
        trainset=[*examples[:-validated]],
        valset=[*examples[-validated:]],
        adapter=adapter,
        reflection_lm=reflect,
        max_metric_calls=small.left,
        stop_callbacks=[lambda state: bool(adapter.over or not big.left or small.failed or big.failed)],
        logger=log,
        raise_on_exception=False,
        track_best_outputs=False,
        seed=SEED,
    )
    if failed := small.failed or big.failed:
        raise failed
    best = found.candidates[found.best_idx]
    return Evolved(best[COMPONENT], found.val_aggregate_scores[found.best_idx], tuple(log.lines))
