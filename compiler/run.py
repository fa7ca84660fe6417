"""Running a plan. A node starts the moment its inputs are there; when the synthesis has its quorum, it is asked; and
whenever the plan can't answer, the one strong call does, once, with the request as it came.

`run` asks the synthesis and the strong model itself. `prepare` stops before: whoever streams the answer sends the
request that it returns, or the original one where there is none, by the way on which all its answers go. How long
anything takes is measured by the event loop's clock.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from compiler.errors import BudgetExceeded, ModelFailed, PlanError
from compiler.expert import Answered, Ask, Experts, MostUsd, Question, timed
from compiler.nodes import Nodes
from compiler.plan import SYNTHESIS, Plan
from compiler.purse import Purse
from compiler.references import chat
from compiler.trace import Called, Noted, Trace

STRONG: Final = "strong"
SHARE = 0.5  # of the plan's seconds that the synthesis may keep back for itself at most

Strong = Callable[[float], Awaitable[Answered]]
"""The original request, asked of the incumbent, in so many seconds."""


@dataclass(frozen=True)
class Limits:
    """`seconds` of the plan, its synthesis included; the strong call has `strong_seconds` after that, and is outside
    the caps: it is what the app would have paid anyway. `grace`: seconds for stragglers once the quorum is reached.
    `max_usd` and `max_calls` are of the plan's calls, retries and synthesis included; `at_once`: calls in flight."""

    max_usd: float
    max_calls: int = 30
    seconds: float = 60.0
    strong_seconds: float = 120.0
    grace: float = 2.0
    at_once: int = 8


@dataclass(frozen=True)
class Prepared:
    """`synthesis`: the request that answers, its `timeout` the seconds left for it; None, and `reason` says why, where
    the original request has to be sent instead. What comes of it is for its sender to note in `trace.synthesis`."""

    synthesis: Question | None
    reason: str
    trace: Trace


@dataclass(frozen=True)
class Result:
    """`reason`: why the strong model answered and not the plan."""

    text: str
    by: Literal["plan", "strong"]
    reason: str
    trace: Trace


async def prepare(
    plan: Plan, values: Mapping[str, Any], ask: Ask, *, limits: Limits, most_usd: MostUsd, trace: Trace | None = None
) -> Prepared:
    """Runs the nodes. `plan`: a valid one. `values`: a text, or any JSON value, for each slot; a list can be mapped
    over. `trace`: one to fill, for who wants it of a cancelled run too.

    Raises PlanError ("values") where a slot has no value, before anything is asked. Cancelled, it ends what it began.
    """
    return await _Run(plan, values, ask, limits, most_usd, trace).prepare()


async def run(
    plan: Plan,
    values: Mapping[str, Any],
    ask: Ask,
    strong: Strong,
    *,
    limits: Limits,
    most_usd: MostUsd,
    trace: Trace | None = None,
) -> Result:
    """As `prepare`, to the end. Raises what `strong` raises, ModelFailed where that took too long."""
    running = _Run(plan, values, ask, limits, most_usd, trace)
    prepared = await running.prepare()
    reason = prepared.reason
    if prepared.synthesis:
        try:
            return Result(await running.synthesise(prepared.synthesis), "plan", "", running.trace)
        except (BudgetExceeded, ModelFailed) as error:
            reason = f"the synthesis failed: {error}"
    return Result(await running.fall_back(strong, reason), STRONG, reason, running.trace)


class _Run:
    def __init__(
        self,
        plan: Plan,
        values: Mapping[str, Any],
        ask: Ask,
        limits: Limits,
        most_usd: MostUsd,
        trace: Trace | None,
    ) -> None:
        if missing := [name for name in plan.slots if name not in values]:
            raise PlanError(f"there is no value for the slot {missing[0]!r}", code="values")
        self.trace = Trace() if trace is None else trace
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._plan, self._limits = plan, limits
        purse = Purse(limits.max_usd, limits.max_calls)
        self._experts = Experts(ask, most_usd, purse, at_once=limits.at_once, clock=self._clock)
        seconds = limits.seconds - min(plan.synthesis.timeout, SHARE * limits.seconds)
        self._nodes = Nodes(plan, values, self._experts, self.trace, seconds=seconds, grace=limits.grace)

    def _clock(self) -> float:
        return self._loop.time() - self._began

    async def prepare(self) -> Prepared:
        try:
            reason = await self._nodes.run()
            question = None if reason else self._synthesis()
        except BudgetExceeded as error:
            question, reason = None, str(error)
        finally:
            self.trace.seconds = self._clock()
        self.trace.reason = reason
        return Prepared(question, reason, self.trace)

    def _synthesis(self) -> Question:
        """Raises BudgetExceeded where it could pass a cap."""
        part = self._plan.synthesis
        values = {name: self._nodes.output(name) for name in part.needs}
        noted = self.trace.synthesis = Noted(SYNTHESIS, part.expert)
        noted.given(values, self._clock())
        left = min(part.timeout, self._limits.seconds - self._clock())
        question = Question(part.expert, chat(part.prompt, values), part.max_tokens, left)
        with noted.ending(self._clock):
            self._experts.purse.check(self._experts.most_usd(question))
        return question

    async def synthesise(self, question: Question) -> str:
        noted = self.trace.synthesis or Noted(SYNTHESIS, question.expert)
        try:
            with noted.ending(self._clock):
                async with asyncio.timeout(question.timeout):
                    text = str(await self._experts.value(question, noted))
            noted.done(text, self._clock())
            return text
        finally:
            self.trace.seconds = self._clock()

    async def fall_back(self, strong: Strong, reason: str) -> str:
        """Raises what the call raises, ModelFailed where it took too long."""
        noted, call = Noted(STRONG, STRONG), Called(STRONG)
        noted.calls.append(call)
        noted.given({}, self._clock())
        self.trace.strong, self.trace.reason = noted, reason
        seconds = self._limits.strong_seconds
        try:
            with noted.ending(self._clock):
                async with asyncio.timeout(seconds):
                    task = await timed(lambda: strong(seconds), call, self._clock)
            if task.cancelled() or task.exception():
                noted.failed(call.error, self._clock())
            if task.cancelled():
                raise ModelFailed("the call of the strong model was cancelled by whoever made it")
            text = task.result().text
            noted.done(text, self._clock())
            return text
        finally:
            self.trace.seconds = self._clock()
