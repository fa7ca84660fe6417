"""A circuit breaker for each card: one that keeps failing is left alone for a while, so that a broken card costs a
request neither its time nor the money of a second call, nor another card of the same model its traffic.

Closed until FAILED_IN_A_ROW, or half of the last REMEMBERED answers, are failures; where the model failed so many in a
row, of whichever cards, AGREEING of one are enough. Then open: the current model answers. After a while one request
tries the card again: an answer closes the breaker, a failure doubles the while.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.call import now

log = logging.getLogger("cuecard.breaker")

FAILED_IN_A_ROW = 5
AGREEING = 2
REMEMBERED = 20
FIRST_PAUSE = 15.0  # seconds
LONGEST_PAUSE = 300.0
TRIAL_SECONDS = 5.0  # before another request tries, where the one that did never told


@dataclass(slots=True)
class _Breaker:
    model: str
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=REMEMBERED))  # True: it failed
    in_a_row: int = 0
    pause: float = 0.0  # 0: closed
    until: float = 0.0
    trying: bool = False

    def trips(self, *, failed: bool, enough: int) -> bool:
        self.recent.append(failed)
        if not failed:
            self.in_a_row = 0
            return False
        self.in_a_row += 1
        return self.in_a_row >= enough or sum(self.recent) * 2 >= REMEMBERED


class Breakers:
    """One set a worker: each finds out by itself, within a few requests."""

    def __init__(self, clock: Callable[[], float] = now) -> None:
        self._clock = clock  # seconds
        self._of: dict[str, _Breaker] = {}  # by card
        self._failed: Counter[str] = Counter()  # calls of each model since it last answered

    def allow(self, card: str) -> bool:
        """Whether `card` may be run now. While the breaker is open, True is a trial: `note` its end."""
        breaker = self._of.get(card)
        if breaker is None or not breaker.pause:
            return True
        if self._clock() < breaker.until:
            return False
        breaker.trying, breaker.until = True, self._clock() + TRIAL_SECONDS
        return True

    def note(self, card: str, model: str, *, failed: bool) -> None:
        """How a call to `model` for `card` went: failed is no answer, an answer too late, or an error of the
        server's."""
        breaker = self._of.get(card)
        if breaker is None:
            breaker = self._of[card] = _Breaker(model)
        self._failed[model] = self._failed[model] + 1 if failed else 0
        if not breaker.pause:
            down = self._failed[model] >= FAILED_IN_A_ROW
            if breaker.trips(failed=failed, enough=AGREEING if down else FAILED_IN_A_ROW):
                self._open(card, breaker, FIRST_PAUSE)
        elif breaker.trying and failed:
            self._open(card, breaker, min(2 * breaker.pause, LONGEST_PAUSE))
        elif breaker.trying:
            self._close(card, model)
        # else it was sent before the breaker opened, and says nothing new

    def _open(self, card: str, breaker: _Breaker, pause: float) -> None:
        breaker.pause, breaker.until, breaker.trying = pause, self._clock() + pause, False
        log.warning(
            "%s: %s keeps failing and is not asked for %.0f s; the current model answers", card, breaker.model, pause
        )

    def _close(self, card: str, model: str) -> None:
        """Its other cards needn't wait either, if it was the model: each tries with its next request."""
        del self._of[card]
        log.warning("%s: %s answers again", card, model)
        for other in self._of.values():
            if other.pause and other.model == model and not other.trying:
                other.until = min(other.until, self._clock())
