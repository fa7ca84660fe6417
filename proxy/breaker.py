"""A circuit breaker for each candidate model: one that keeps failing is left alone for a while, so that a broken cheap
model costs a request neither its time nor the money of a second call.

Closed until FAILED_IN_A_ROW, or half of the last REMEMBERED answers, are failures. Then open: the current model
answers. After a while one request at a time tries the candidate again: an answer closes the breaker, a failure doubles
the while.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.call import now

log = logging.getLogger("cuecard.breaker")

FAILED_IN_A_ROW = 5
REMEMBERED = 20
FIRST_PAUSE = 15.0  # seconds
LONGEST_PAUSE = 300.0
TRIAL_SECONDS = 5.0  # before another request tries, where the one that did never told


@dataclass(slots=True)
class _Breaker:
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=REMEMBERED))  # True: it failed
    in_a_row: int = 0
    pause: float = 0.0  # 0: closed
    until: float = 0.0
    trying: bool = False

    def trips(self, *, failed: bool) -> bool:
        self.recent.append(failed)
        if not failed:
            self.in_a_row = 0
            return False
        self.in_a_row += 1
        return self.in_a_row >= FAILED_IN_A_ROW or sum(self.recent) * 2 >= REMEMBERED


class Breakers:
    """One a worker: each finds out by itself, within a few requests."""

    def __init__(self, clock: Callable[[], float] = now) -> None:
        self._clock = clock  # seconds
        self._of: dict[str, _Breaker] = {}

    def allow(self, model: str) -> bool:
        """Whether `model` may be called now. While the breaker is open, True is a trial: `note` its end."""
        breaker = self._of.get(model)
        if breaker is None or not breaker.pause:
            return True
        if self._clock() < breaker.until:
            return False
        breaker.trying, breaker.until = True, self._clock() + TRIAL_SECONDS
        return True

    def note(self, model: str, *, failed: bool) -> None:
        """How a call to `model` went: failed is no answer, an answer too late, or an error of the server's."""
        breaker = self._of.get(model)
        if breaker is None:
            breaker = self._of[model] = _Breaker()
        if not breaker.pause:
            if breaker.trips(failed=failed):
                self._open(model, breaker, FIRST_PAUSE)
        elif breaker.trying and failed:
            self._open(model, breaker, min(2 * breaker.pause, LONGEST_PAUSE))
        elif breaker.trying:
            del self._of[model]
            log.warning("%s answers again", model)
        # else it was sent before the breaker opened, and says nothing new

    def _open(self, model: str, breaker: _Breaker, pause: float) -> None:
        breaker.pause, breaker.until, breaker.trying = pause, self._clock() + pause, False
        log.warning("%s keeps failing and is not asked for %.0f s; the current model answers", model, pause)
