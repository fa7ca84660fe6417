"""How long an upstream may be silent: one look a second at all open calls, instead of a timer for every read.

(aiohttp's own read timeout sets and drops a timer at each piece of an answer: a tenth of a short request's time.)
"""

import asyncio
from typing import Protocol

from proxy.call import now

LOOK_SECONDS = 1.0


class Waiting(Protocol):
    heard: float  # when something last came, or was asked; time.perf_counter()
    silent: bool  # set before the task that waits is cancelled


class Watch:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[int, tuple[Waiting, asyncio.Task[object]]] = {}

    def begin(self, waiting: Waiting) -> None:
        """From now on the current task is cancelled when `waiting` heard nothing for too long."""
        task = asyncio.current_task()
        if task:
            waiting.heard = now()
            self._open[id(waiting)] = waiting, task

    def end(self, waiting: Waiting) -> None:
        self._open.pop(id(waiting), None)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._seconds / 4))
            before = now() - self._seconds
            for waiting, task in list(self._open.values()):
                if waiting.heard < before and not waiting.silent:
                    waiting.silent = True
                    task.cancel()
