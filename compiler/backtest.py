"""A card proven in one go, on recorded requests that its compile did not see: off any server, by the prover's own
scoring and evidence. The door to the models keeps every answer; killed and begun again, it pays only for the rest."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Literal, NamedTuple

from compiler.budget import KEEP_SECONDS
from compiler.card import Card
from compiler.errors import BudgetExceeded, CalibrationFailed, ModelBusy, ModelFailed
from compiler.evidence import TRUSTED, Evidence
from compiler.judge import Judge, judge_for, scoring_of, secret
from compiler.llm import Llm, Purpose
from compiler.observation import Observation
from compiler.proof import STRANGE, TIMED_IN, Proof, Ran, standing
from compiler.shadow import Shadow
from compiler.sight import PROMISING, sight_of
from compiler.store import Store
from compiler.task import Task

CALIBRATED_ON = 200  # requests, the first: the same ones when the log has grown
TRIES = 3  # of one pair, while its model answers others
PROBES = 4  # pairs that are asked to find out whether it does
WORST = 50  # pairs that are remembered

End = Literal["proven", "worse", "dear", "unsure", "broken"]
"""`unsure`: what the log holds is too little to tell; `broken`: nobody could compare, whatever it holds."""


class Ended(NamedTuple):
    """`wanted`: pairs in all that it would take, if they come out like those seen; infinite: no number would do."""

    end: End
    reason: str
    wanted: float | None = None


class Differed(NamedTuple):
    observation: Observation
    ran: Ran


@dataclass
class Backtest:
    """`observed`: all requests of the task, oldest first; those from `first` on are the pairs. `number`: which proof of
    the task it is. `proof` is as far as it has come, `worst` the pairs that differ most, the worst first."""

    llm: Llm
    store: Store
    task: Task
    card: Card
    observed: Sequence[Observation]
    first: int
    margin: float
    number: int
    purpose: Purpose
    concurrency: int = 8
    on_pairs: Callable[[Proof], None] = lambda proof: None
    proof: Proof = field(init=False)
    worst: list[Differed] = field(default_factory=list)

    def __post_init__(self) -> None:
        scoring = scoring_of(self.card.contract, judge_for(self.llm, self.card.model, self.task.incumbent))
        evidence = Evidence(self.margin, self.number)
        self.proof = Proof(self.card.label, scoring, evidence, kappa=None if scoring.judge else 1.0)
        if scoring == self.card.scoring:
            self.proof.open_with(self.card.sealed)

    @property
    def left(self) -> int:
        """Pairs that are still to be run."""
        return len(self.observed) - self.first - self.proof.position

    async def run(self) -> Ended:
        """Until it is decided, or no pairs are left. Raises BudgetExceeded, and ModelFailed where an upstream answers
        nothing any more: begun again, it goes on from there."""
        while (ended := await self._ended()) is None:
            start = self.first + self.proof.position
            batch = self.observed[start : start + self.concurrency]
            for observation, ran in zip(batch, await self._batch(batch), strict=True):
                if self.proof.add(ran) and ran.differs:
                    self._remember(Differed(observation, ran))
            self.on_pairs(self.proof)
        return ended

    async def _ended(self) -> Ended | None:
        proof, left = self.proof, self.left
        if self._wants_sight():
            try:
                await self._calibrate()
            except CalibrationFailed as error:
                return Ended("broken", f"the judge can't be trusted before it is calibrated: {error}")
        return verdict(proof, left)

    def _wants_sight(self) -> bool:
        """Not before it can matter: a candidate that is clearly worse needs no judge that is trusted."""
        proof = self.proof
        if proof.sight is not None or proof.evidence.futility.futile or (proof.pairs < PROMISING and self.left):
            return False
        return not hopeless(proof, self.left)

    async def _calibrate(self) -> None:
        judge = self._judge
        assert judge
        if self.task.incumbent and (problem := self.llm.unusable(self.task.incumbent)):
            raise CalibrationFailed(problem)
        found = await sight_of(
            judge,
            self.llm,
            self.task,
            self.card.contract,
            self.observed[:CALIBRATED_ON],
            replace(self.purpose, role="judge", patient=True),
            self.concurrency,
        )
        self.proof.kappa = found.kappa

    @cached_property
    def _judge(self) -> Judge | None:
        model = self.proof.scoring.judge
        arms = [arm for arm in (self.card.model, self.task.incumbent) if arm]
        return Judge(self.llm, model, secret(self.store), arms=arms) if model else None

    @cached_property
    def _shadow(self) -> Shadow:
        return Shadow(self.llm, self.task, self.card, self._judge)

    async def _batch(self, batch: Sequence[Observation]) -> list[Ran]:
        """All of them, in their order."""
        at = self.proof.position + 1
        behind = range(at + len(batch), at + self.left)
        others = ((position, self.observed[self.first + position - 1]) for position in behind)
        before = self.llm.answered.copy()
        found = await asyncio.gather(*(self._one(at + i, one) for i, one in enumerate(batch)), return_exceptions=True)
        return [
            result if isinstance(result, Ran) else await self._alone(at + i, one, result, others, before)
            for i, (one, result) in enumerate(zip(batch, found, strict=True))
        ]

    async def _one(self, position: int, observation: Observation) -> Ran:
        patient = self.proof.timed and position % TIMED_IN != 0
        purpose = replace(self.purpose, patient=patient)
        last = bool(self.store.get(self._given_up(position)))
        ran = await self._shadow.run(position, observation, purpose, last=last)
        return ran if observation.seconds > 0 else ran._replace(seconds=None)

    async def _alone(
        self,
        position: int,
        observation: Observation,
        problem: BaseException,
        others: Iterator[tuple[int, Observation]],
        before: Counter[str],
    ) -> Ran:
        """One that did not come through beside the others: for want of room in the purse, which may be there now, or
        because of a model. A pair that a model fails while it answers others is given up, and that is remembered."""
        for turn in range(TRIES):
            if isinstance(problem, ModelFailed) and not isinstance(problem, ModelBusy):
                if not await self._answers(problem.model, others, before):
                    break
                if turn == TRIES - 1:
                    self.store.put(self._given_up(position), True, expire=KEEP_SECONDS)
            try:
                return await self._one(position, observation)
            except ModelFailed as error:
                problem = error
        raise problem

    async def _answers(self, model: str, others: Iterator[tuple[int, Observation]], before: Counter[str]) -> bool:
        """Whether it answers another pair, one that nobody has asked yet; that answer is kept for its turn. Where no
        other is left, whether it did since `before`."""
        answered, asked = self.llm.answered[model], 0
        for position, observation in islice(others, PROBES):
            asked += 1
            with suppress(BudgetExceeded, ModelFailed):
                await self._one(position, observation)
            if self.llm.answered[model] > answered:
                return True
        return not asked and answered > before[model]

    def _given_up(self, position: int) -> str:
        return f"given-up:{self.purpose.scope}:{self.card.label}:{position}"

    def _remember(self, differed: Differed) -> None:
        worst = sorted((*self.worst, differed), key=lambda one: (-one.ran.scored.d, one.ran.position))
        self.worst = worst[:WORST]


def verdict(proof: Proof, left: int) -> Ended | None:
    """By the evidence so far, with `left` pairs to come; None where those may decide it."""
    margin, stands = proof.evidence.margin, standing(proof, 0.0)
    if proof.strange >= STRANGE:
        return Ended("broken", f"another model answers than the one that its proof began with ({proof.pairs} pairs)")
    if stands.stage in ("kept", "paused"):
        worse = proof.evidence.futility.futile or proof.evidence.segments.worse()
        return Ended("worse" if worse else "dear", stands.reason)
    if proof.outcomes["judged"] and proof.kappa is not None and proof.kappa < TRUSTED:
        return Ended("broken", stands.reason)
    if proof.bound <= margin:
        if saves_nothing(proof):
            return Ended("dear", "saves nothing: it costs as much as the current model, with what falls back to it")
        return Ended("proven", in_words(proof))
    return _unsure(proof) if not left or hopeless(proof, left) else None


def hopeless(proof: Proof, left: int) -> bool:
    """Whether the pairs that are left can't show enough, even if each of them comes out equal. Not said of a few: how
    many more it takes is told from them."""
    return proof.pairs >= PROMISING and not proof.evidence.loss.in_reach(_target(proof), proof.evidence.k, left)


def _target(proof: Proof) -> float:
    """The loss to be seen under which the true one is within the margin."""
    return proof.evidence.margin * (proof.sight or 1.0)


def _unsure(proof: Proof) -> Ended:
    loss = proof.evidence.loss
    wanted = loss.wanted(_target(proof), proof.evidence.k)
    if not math.isfinite(wanted):
        lost = f"{100 * loss.mean:.1f} % is lost on {proof.pairs:,} pairs, of {100 * _target(proof):.3g} % that may be"
        return Ended("unsure", f"not enough pairs to tell, and more like them would not help: {lost}", wanted)
    more = max(1, math.ceil(wanted) - proof.pairs)
    seen = f"{proof.pairs:,} pairs show {in_words(proof)}"
    return Ended("unsure", f"not enough pairs to tell: {seen}; it needs about {more:,} more", wanted)


def saves_nothing(proof: Proof) -> bool:
    """Where both arms' costs are known."""
    return bool(proof.priced) and proof.usd[1] >= proof.usd[0]


def in_words(proof: Proof) -> str:
    return "nothing yet" if proof.bound >= 1 else f"at most {100 * proof.bound:.1f} % worse (95 % sure)"
