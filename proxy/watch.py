"""How long an upstream may be silent, and how long a candidate may take: one look at all open calls, instead of timers
for each. (aiohttp's own read timeout sets and drops a timer at each piece of an answer: a tenth of a short request's
time; asyncio's for a whole answer takes a twentieth.)
"""

import asyncio
from typing import Protocol

from proxy.call import now

LOOK_SECONDS = 1.0
TICK_SECONDS = 0.01  # between looks for those who have a deadline


class Waiting(Protocol):
    heard: float  # when something last came, or was asked; time.perf_counter()
    silent: bool  # set before the task that waits is cancelled
    due: float  # when all that is needed must have come
    late: bool  # set before it is cancelled for that


class Watch:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[int, tuple[Waiting, asyncio.Task[object]]] = {}
        self._hurried: dict[int, tuple[Waiting, asyncio.Task[object]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, waiting: Waiting, seconds: float | None = None) -> None:
        """From now on the current task is cancelled when `waiting` heard nothing for too long, or is not `settled` in
        `seconds`."""
        task = asyncio.current_task()
        if task:
            waiting.heard = now()
            self._open[id(waiting)] = waiting, task
            if seconds is not None:
                waiting.due = waiting.heard + seconds
                self._hurried[id(waiting)] = waiting, task
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def settled(self, waiting: Waiting) -> None:
        self._hurried.pop(id(waiting), None)

    def end(self, waiting: Waiting) -> None:
        self._hurried.pop(id(waiting), None)
        self._open.pop(id(waiting), None)

    def _tick(self) -> None:
        at = now()
        for waiting, task in self._hurried.values():
            if waiting.due < at and not waiting.late:
                waiting.late = True
                task.cancel()
        again = bool(self._hurried)
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick) if again else None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._seconds / 4))
            before = now() - self._seconds
            for waiting, task in list(self._open.values()):
                if waiting.heard < before and not waiting.silent:
                    waiting.silent = True
                    task.cancel()
