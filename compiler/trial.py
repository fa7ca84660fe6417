"""A card tried on recorded inputs because a person asked: off the path, paid like all background work, and never
evidence. What it was tried on is paired by the prover, or was, as if nobody had."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from compiler.card import Card
from compiler.errors import BudgetExceeded, CompilerError, ModelBusy, ModelFailed, NotNow
from compiler.example import Example
from compiler.llm import Purpose
from compiler.observation import Observation, Observations, input_of
from compiler.proof import Ran
from compiler.recognition.catalogue import NOTHING, Catalogue
from compiler.recorded import Recorded
from compiler.registry import Registry
from compiler.shadow import Shadow
from compiler.task import Task

AT_ONCE = 4  # calls of the candidate
CHARS_PER_TOKEN = 3  # at least, of an answer whose tokens nobody counted


@dataclass(frozen=True)
class Inputs:
    """Newest first. `number`: of all there are, of which the newest AT_MOST are known. `recorded`: in the traffic; else
    they are examples, which have no price and took no time."""

    chosen: Sequence[Observation]
    number: int
    recorded: bool


@dataclass(frozen=True)
class Tried:
    """`ran` None: it did not come through, and `problem` says why."""

    observation: Observation
    ran: Ran | None
    problem: str = ""


def inputs_of(registry: Registry, observations: Observations, task: Task, card: Card, most: int) -> Inputs:
    """Without what the card shows as demonstrations: it knows those by heart. Raises StoreError."""
    recorded = Recorded(observations)
    recognition, declared = Catalogue(registry.store).recognition(NOTHING), registry.tasks()
    while recorded.read(recognition, declared):
        pass
    shows = card.program.shows
    found = deque((one for _, one in recorded.since(task.name) if not shows(input_of(one))), maxlen=most)
    if found:
        return Inputs([*found][::-1], recorded.number(task.name), recorded=True)
    told = not task.recognised and task.name not in registry.learned()
    examples = [one for one in registry.examples(task.name) if not shows(one.input)]
    return Inputs([_asked(task, one, told) for one in examples[::-1][:most]], len(examples), recorded=False)


def _asked(task: Task, example: Example, told: bool) -> Observation:
    """`told`: by a user; else the answer is the current model's."""
    opening = [{"role": "system", "content": task.system}] if task.system else []
    request = {"model": task.incumbent or "", "messages": [*opening, {"role": "user", "content": example.input}]}
    return Observation(
        time=0.0,
        tenant=task.tenant or "",
        structure="",
        model=task.incumbent or "",
        template=task.name,
        request=request,
        answer=example.expected,
        tool_calls=[],
        usage=[0, 0, len(example.expected) // CHARS_PER_TOKEN, 0],
        cost=None,
        seconds=0.0,
        expected=example.expected if told else None,
    )


@dataclass
class Trial:
    """`tried`: in the order in which they came through, also while it runs or after it was cancelled. `forgotten`:
    whether requests were, since the inputs were read: then no more is sent."""

    shadow: Shadow
    purpose: Purpose
    on_tried: Callable[[Tried], None] = lambda tried: None
    tried: list[Tried] = field(default_factory=list)
    forgotten: Callable[[], bool] = lambda: False

    async def run(self, inputs: Sequence[Observation]) -> CompilerError | None:
        """Why it ended before all was tried: no money, or nobody gets through to an upstream. No answer is kept for a
        second trial to find."""
        try:
            for start in range(0, len(inputs), AT_ONCE):
                if self.forgotten():
                    return NotNow("requests were forgotten meanwhile: no more is asked")
                if (end := await self._batch(inputs[start : start + AT_ONCE])) is not None:
                    return end
            return None
        finally:
            self.shadow.llm.forget(self.purpose.scope)

    async def _batch(self, batch: Sequence[Observation]) -> BudgetExceeded | ModelFailed | None:
        errors = await asyncio.gather(*(self._one(observation, self.shadow) for observation in batch))
        for at, error in enumerate(errors):
            if isinstance(error, BudgetExceeded):  # beside the others' reservations: alone there may be room
                errors[at] = await self._one(batch[at], self.shadow)
            if isinstance(errors[at], BudgetExceeded):  # an answer that is paid for is shown, if nobody can judge it
                await self._one(batch[at], replace(self.shadow, judge=None))
        for observation, error in zip(batch, errors, strict=True):
            if isinstance(error, ModelFailed) and not isinstance(error, ModelBusy):
                self._enter(Tried(observation, None, str(error)))
        for error in errors:
            if isinstance(error, BudgetExceeded | ModelBusy):
                return error
        through = any(one.ran for one in self.tried[-AT_ONCE:])
        return None if through else next((error for error in errors if error), None)

    async def _one(self, observation: Observation, shadow: Shadow) -> BudgetExceeded | ModelFailed | None:
        try:
            ran = await shadow.run(0, observation, self.purpose)
        except (BudgetExceeded, ModelFailed) as error:
            return error
        self._enter(Tried(observation, ran))
        return None

    def _enter(self, tried: Tried) -> None:
        self.tried.append(tried)
        self.on_tried(tried)
