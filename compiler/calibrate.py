"""How much of a loss a judge sees: κ, from answers made worse on purpose and from the incumbent against itself."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from compiler.degrade import RULES as DEGRADING
from compiler.degrade import Planted, Recorded, plant
from compiler.errors import CalibrationFailed, ModelBusy, ModelFailed
from compiler.evidence import TRUSTED
from compiler.gather import gather
from compiler.judge import RULES as JUDGING
from compiler.judge import Judge, Verdict
from compiler.llm import Llm, Purpose
from compiler.score import Answer, Pair, Question, score
from compiler.task import Contract

ENOUGH = 60  # planted degradations, and as many pairs of the incumbent against itself
MAX_FAILED = 0.1  # share of the questions whose calls may fail; more is an outage, and says nothing of the judge

Bound = Callable[[Sequence[float], Sequence[float]], float]
"""κ's lower bound at 95 %, from the verdicts on degraded answers and on the incumbent against itself."""


@dataclass(frozen=True)
class Twice:
    """One input that the incumbent answered twice."""

    input: str
    first: Answer
    second: Answer


@dataclass(frozen=True)
class Calibration:
    """A proof's bound is divided by `kappa`. Another judge, or other rules, is another proof.

    `noticed`: mean verdict by operator: what the judge is blind for.
    """

    kappa: float
    judge: str
    rules: str
    planted: int
    itself: int
    unjudged: int
    noticed: dict[str, float]

    @property
    def promotes(self) -> bool:
        return self.kappa >= TRUSTED


@dataclass(frozen=True)
class Asked:
    """A recorded input as the messages that the app sent for it."""

    recorded: Recorded
    messages: Sequence[Mapping[str, Any]]


def answered_twice(recorded: Sequence[Recorded]) -> list[Twice]:
    """Of recorded traffic: the same input that came again, each answer used once."""
    waiting: dict[str, Answer] = {}
    found: list[Twice] = []
    for one in recorded:
        if (first := waiting.pop(one.input, None)) is None:
            waiting[one.input] = one.answer
        else:
            found.append(Twice(one.input, first, one.answer))
    return found


async def ask_again(
    llm: Llm, incumbent: str, asked: Sequence[Asked], purpose: Purpose, *, max_tokens: int, concurrency: int = 8
) -> list[Twice]:
    """A second answer of the incumbent for each, paid for; those that don't end by themselves are left out.

    Raises as Llm.ask does. Text only: tools aren't sent.
    """

    async def one(again: Asked) -> Twice | None:
        reply = await llm.ask(incumbent, again.messages, purpose, max_tokens=max_tokens)
        whole = reply.text.strip() and reply.finish_reason == "stop"
        second = Answer(reply.text, finish_reason="stop")
        return Twice(again.recorded.input, again.recorded.answer, second) if whole else None

    found = await gather([partial(one, again) for again in asked], at_most=concurrency)
    return [twice for twice in found if twice]


async def calibrate(
    judge: Judge,
    contract: Contract,
    instructions: str,
    recorded: Sequence[Recorded],
    itself: Sequence[Twice],
    *,
    bound: Bound,
    purpose: Purpose,
    enough: int = ENOUGH,
    concurrency: int = 8,
) -> Calibration:
    """Two calls for each degradation, and for each pair of answers of the incumbent that differ.

    No verdict counts against κ on either side: as nothing noticed in a degraded answer, as a loss seen in an equal one.
    Raises CalibrationFailed where too little can be planted or compared; BudgetExceeded, ModelBusy and ModelFailed (an
    outage) as the judge does. Called again with the same arguments and scope, only what is missing is paid for.
    """
    planted = plant(recorded, contract, at_most=enough)
    if len(planted) < enough or len(itself) < enough:
        raise CalibrationFailed(
            f"{len(planted)} degraded answers and {len(itself)} second answers of the current model can be judged, "
            f"{enough} of each are needed"
        )
    questions = [*(p.question for p in planted), *(_between(twice, contract) for twice in itself)]
    asking = _Asking(judge, instructions, purpose, may_fail=int(MAX_FAILED * len(questions)))
    verdicts = await gather([partial(asking.one, question) for question in questions], at_most=concurrency)
    degraded = [0.0 if v is None else v for v in verdicts[: len(planted)]]
    level = [1.0 if v is None else v for v in verdicts[len(planted) :]]
    return Calibration(
        kappa=min(1.0, bound(degraded, level)),
        judge=judge.model,
        rules=f"{JUDGING} {DEGRADING}",
        planted=len(degraded),
        itself=len(level),
        unjudged=sum(v is None for v in verdicts),
        noticed=_by_operator(planted, degraded),
    )


@dataclass
class _Asking:
    judge: Judge
    instructions: str
    purpose: Purpose
    may_fail: int
    failed: list[Question] = field(default_factory=list)

    async def one(self, question: Question | float) -> float | None:
        """The verdict, without the weight of the fields that it is about: κ is the judge's, not the task's."""
        if isinstance(question, float):
            return question
        try:
            found = await self.judge.compare(question, self.instructions, self.purpose)
        except ModelBusy:
            raise
        except ModelFailed:
            self.failed.append(question)
            if len(self.failed) > self.may_fail:
                raise
            return None
        return found.d if isinstance(found, Verdict) else None


def _between(twice: Twice, contract: Contract) -> Question | float:
    found = score(Pair(twice.input, twice.first, twice.second), contract)
    return found if isinstance(found, Question) else found.d


def _by_operator(planted: Sequence[Planted], verdicts: Sequence[float]) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for one, verdict in zip(planted, verdicts, strict=True):
        found[one.operator].append(verdict)
    return {operator: round(sum(seen) / len(seen), 3) for operator, seen in found.items()}
