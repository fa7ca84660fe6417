"""Upstreams that background work leaves alone for a while: kept in the store, so that every process knows."""

import time
from asyncio import sleep
from collections.abc import Callable, Iterable

from compiler.quota import AFTER_429, LONGEST
from compiler.store import Store

LOOK_SECONDS = 5.0  # a pause may be made longer while it is waited for
SLACK = 5.0  # seconds: a storm of 429s is not a storm of writes


class Pauses:
    """`clock`: Unix seconds, because it is shared between processes and lasts over a restart."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self.clock = clock

    def pause(self, upstream: str, seconds: float) -> None:
        """From now on; a longer pause that is there already stays."""
        if seconds <= self.left(upstream):
            return
        with self._store.transact():
            if seconds > self.left(upstream):
                self._store.put(f"pause:{upstream}", self.clock() + seconds, expire=seconds)

    def busy(self, upstreams: Iterable[str]) -> None:
        """Serving traffic got a 429 from these, of which no more is known."""
        for upstream in upstreams:
            if self.left(upstream) < AFTER_429:
                self.pause(upstream, AFTER_429 + SLACK)

    def left(self, upstream: str) -> float:
        """Seconds; 0.0 where there is no pause."""
        until = float(self._store.get(f"pause:{upstream}", 0.0))
        return min(max(0.0, until - self.clock()), LONGEST)  # a clock that was set back holds nothing up for ever

    async def wait(self, upstream: str) -> None:
        while True:
            left = self.left(upstream)
            if not left:
                return
            await sleep(min(left, LOOK_SECONDS))
