"""How much of a worker's time goes to recognising requests that are passed on as they came anyway."""

from collections.abc import Callable

from proxy.call import now

SHARE = 0.02  # of the worker's time
SAVED = 0.1  # seconds of it that a quiet worker has saved up: a thousand requests


class Attention:
    """A budget in seconds. A worker at its limit serves first and looks at fewer; one that isn't looks at all."""

    def __init__(self, clock: Callable[[], float] = now) -> None:
        self._clock = clock
        self._left = SAVED
        self._since = clock()

    def left(self) -> bool:
        time = self._clock()
        self._left = min(SAVED, self._left + (time - self._since) * SHARE)
        self._since = time
        return self._left > 0

    def spend(self, seconds: float) -> None:
        """One that takes longer than there is left is paid for by those behind it."""
        self._left -= seconds
