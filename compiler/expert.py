"""Asking an expert of a plan: within the run's caps, a few at once, and again where the first try came to nothing."""

import asyncio
from asyncio import Task
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from compiler.errors import BudgetExceeded, CompilerError, Malformed, ModelFailed
from compiler.json_text import values_in
from compiler.pricing import Usage
from compiler.purse import Purse
from compiler.references import mended
from compiler.schema import Schema, breach
from compiler.trace import TEXT_CHARS, Called, Noted

LINGER = 0.5  # seconds in which a call has to heed its cancellation; then it is left behind
ENDED = ("stop", "")  # finish reasons of an answer that is whole


class Answered(Protocol):
    """`usd`: None where nobody knows what it cost."""

    @property
    def text(self) -> str: ...
    @property
    def usd(self) -> float | None: ...
    @property
    def usage(self) -> Usage: ...
    @property
    def finish_reason(self) -> str: ...


class Answer(NamedTuple):
    text: str
    usd: float | None = None
    usage: Usage = Usage()
    finish_reason: str = "stop"


class Ask(Protocol):
    """One answer of `expert`. Whatever it raises is that call's failure; it should end soon after it is cancelled."""

    def __call__(
        self, expert: str, messages: Sequence[Mapping[str, Any]], max_tokens: int, timeout: float, /
    ) -> Awaitable[Answered]: ...


MostUsd = Callable[[str, Sequence[Mapping[str, Any]], int], float | None]
"""What a call with these messages and this cap on its tokens can cost at most; None where its expert has no price."""


@dataclass(frozen=True)
class Question:
    """`timeout`: seconds from now; `keep`: calls that have to be left in the purse for others."""

    expert: str
    messages: Sequence[Mapping[str, Any]]
    max_tokens: int
    timeout: float
    output: Schema | None = None
    item: int | None = None
    keep: int = 0


class Experts:
    """Of one run. `clock`: seconds since it began."""

    def __init__(self, ask: Ask, most_usd: MostUsd, purse: Purse, *, at_once: int, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._ask, self._most_usd, self.purse = ask, most_usd, purse
        self._seats = asyncio.Semaphore(at_once)

    def most_usd(self, question: Question) -> float | None:
        return self._most_usd(question.expert, question.messages, question.max_tokens)

    async def value(self, question: Question, noted: Noted) -> Any:
        """What the expert answers: text, or a JSON value of its schema. Asked once more where a call failed, and told
        what was wrong where its answer was: the same question would get the same answer.

        Raises ModelFailed after the second failure, BudgetExceeded before a call that could pass a cap.
        """
        ends = self.clock() + question.timeout
        try:
            return await self._once(question, noted, 1)
        except Malformed as error:
            again = replace(question, messages=mended(question.messages, error.text, str(error)))
        except ModelFailed:
            again = question
        return await self._once(replace(again, timeout=ends - self.clock()), noted, 2)

    async def _once(self, question: Question, noted: Noted, try_: int) -> Any:
        ends = self.clock() + question.timeout
        async with self._seats:
            if (left := ends - self.clock()) <= 0:
                raise ModelFailed("no time is left for it")
            held = self.purse.begin(self.most_usd(question), keep=question.keep)
            call = Called(question.expert, try_, question.item, most_usd=held)
            noted.calls.append(call)
            asked = (question.expert, question.messages, question.max_tokens, left)
            try:
                task = await timed(lambda: self._ask(*asked), call, self.clock)
            finally:
                self.purse.settle(held, call.usd)
        try:
            return _used(task, question.output)
        except CompilerError as error:
            call.error = str(error)
            raise


async def timed(ask: Callable[[], Awaitable[Answered]], call: Called, clock: Callable[[], float]) -> Task[Answer]:
    """The call, ended and noted. Cancelled, it cancels it and waits until it has ended, LINGER seconds at most."""
    call.began = clock()
    task = asyncio.create_task(_answer(ask))
    try:
        await asyncio.wait({task})
    finally:
        await end({task}, patience=LINGER)
        call.seconds = clock() - call.began
        _note(task, call)
    return task


async def end(tasks: Collection[Task[Any]], patience: float | None = None) -> None:
    """Cancels those that have not ended and waits for them, `patience` seconds at most, also when it is cancelled
    itself meanwhile. An exception that nobody asked for by then is no news."""
    left = {task for task in tasks if not task.done()}
    for task in tasks:
        if task not in left:
            _hear(task)
            continue
        task.add_done_callback(_hear)
        task.cancel()
    gone: asyncio.CancelledError | None = None
    while left:
        try:
            await asyncio.wait(left, timeout=patience)
            break
        except asyncio.CancelledError as error:
            gone, left = error, {task for task in left if not task.done()}
    if gone:
        raise gone


def _hear(task: Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def _answer(ask: Callable[[], Awaitable[Answered]]) -> Answer:
    """Whatever is wrong with an answer is wrong in here, in the call's own task."""
    got = await ask()
    if not isinstance(got.text, str):
        raise ModelFailed("the answer has no text")
    return Answer(got.text, got.usd, got.usage, got.finish_reason)


def _note(task: Task[Answer], call: Called) -> None:
    if not task.done():
        call.error = "it did not heed its cancellation"
    elif task.cancelled():
        return
    elif error := task.exception():
        call.error = why(error)
    else:
        answer = task.result()
        call.usd, call.usage, call.finish_reason = answer.usd, answer.usage, answer.finish_reason
        call.text, call.error = answer.text[:TEXT_CHARS], ""


def _used(task: Task[Answer], output: Schema | None) -> Any:
    """Raises Malformed for an answer that can't be used, BudgetExceeded as the call did, else ModelFailed."""
    if task.cancelled():
        raise ModelFailed("the call was cancelled by whoever made it")
    if error := task.exception():
        raise error if isinstance(error, BudgetExceeded) else ModelFailed(why(error))
    answer = task.result()
    if answer.finish_reason not in ENDED:
        raise Malformed(f"the answer is not whole, it ended with {answer.finish_reason!r}", text=answer.text)
    if not answer.text.strip():
        raise Malformed("the answer is empty", text="")
    return answer.text if output is None else _read(answer.text, output)


def _read(text: str, output: Schema) -> Any:
    problem: str | None = "the answer is no JSON"
    for number, value in enumerate(values_in(text)):
        found = breach(value, output)
        if found is None:
            return value
        problem = found if number == 0 else problem
    raise Malformed(problem or "", text=text)


def why(error: BaseException) -> str:
    """In words; of foreign errors the kind only, they may quote what was sent."""
    return str(error) if isinstance(error, CompilerError) and str(error) else type(error).__name__
