"""What a worker holds while it serves: handed to each step of the request path, never reached through a global."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from compiler.endpoint import Endpoints
from compiler.families import Family
from compiler.registry import Snapshot
from compiler.task import Mode
from proxy.answered import AnswerClient
from proxy.attention import Attention
from proxy.breaker import Breakers
from proxy.call import Call, now
from proxy.capture import Capture
from proxy.deadlines import Deadlines
from proxy.decide import Decision, decide
from proxy.meter import Meter
from proxy.plan import Planner
from proxy.settings import Timeouts
from proxy.upstream import Upstream
from proxy.watch import Watch


class Snapshots:
    """The present snapshot, and a way to wait for the next."""

    def __init__(self) -> None:
        self.current = Snapshot()
        self._changed = asyncio.Event()

    def adopt(self, snapshot: Snapshot) -> None:
        self.current = snapshot
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def next(self) -> Snapshot:
        await self._changed.wait()
        return self.current


@dataclass(frozen=True)
class Gateway:
    endpoints: Endpoints
    families: Mapping[str, Family]
    snapshots: Snapshots
    upstream: Upstream
    planner: Planner
    meter: Meter
    capture: Capture
    answers: AnswerClient
    deadlines: Deadlines
    breakers: Breakers
    watch: Watch
    want_compile: Callable[[str], None]
    timeouts: Timeouts
    mode: Mode = "observe"
    attention: Attention = field(default_factory=Attention)
    background: set[asyncio.Task[None]] = field(default_factory=set)
    tunnels: set[asyncio.Task[object]] = field(default_factory=set)

    def later(self, work: Coroutine[None, None, None]) -> None:
        """Off the request's path, but done before the worker ends."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    @contextmanager
    def tunnelling(self) -> Iterator[None]:
        """A WebSocket has no end to wait for when the worker is told to stop: `end_tunnels` ends it."""
        task = asyncio.current_task()
        if task:
            self.tunnels.add(task)
        try:
            yield
        finally:
            self.tunnels.discard(task)

    def end_tunnels(self) -> None:
        for task in self.tunnels:
            task.cancel()

    def decide(self, call: Call) -> Decision:
        """By the present snapshot. What lacks a card is asked to be compiled."""
        began, snapshot = now(), self.snapshots.current
        look = snapshot.serves_recognised or self.attention.left()
        decision = decide(call, snapshot, self.families, self.mode, look=look)
        if look and call.named is None:
            self.attention.spend(now() - began)
        if decision.task and decision.wants_compile:
            self.want_compile(decision.task)
        card = decision.card
        if card and not self.planner.stands_alone(call, decision) and not self.breakers.allow(card.label):
            return decision._replace(card=None, reason="breaker_open")
        return decision

    async def first_card(self, call: Call, decision: Decision) -> Decision:
        """The very first calls of a `task:` model without an incumbent wait for its card, at most `first_call_wait`;
        all others have their decision."""
        if not (call.virtual and decision.view and not decision.view.task.incumbent):
            return decision
        try:
            async with asyncio.timeout(self.timeouts.first_call_wait):
                while _may_wait(decision):
                    await self.snapshots.next()
                    decision = decide(call, self.snapshots.current, self.families)
        except TimeoutError:
            return decision
        return decision


def _may_wait(decision: Decision) -> bool:
    return decision.reason in ("no_card", "compiling") and decision.view is not None and not decision.view.card


GATEWAY = web.AppKey("gateway", Gateway)
