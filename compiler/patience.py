"""How long a proof waits for a model that does not answer, and when a pair that never comes through is given up.

An outage says nothing of the pair that met it. So a failure counts against a pair only where the model that failed it
has answered anything since: since the pair failed before, or since its batch began.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

TRIES = 3  # of one pair, while its model answers others
FIRST_REST, LONGEST_REST = 1.0, 60.0  # seconds; twice as long each time
MORE = 24  # pairs that are run beside one that holds up the others, one more each time: whether they get through


@dataclass
class _Open:
    """`answered`: by its model, ever, when it last failed."""

    answered: int
    failures: int = 0
    tries: int = 0


class Patience:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[tuple[str, int], _Open] = {}
        self._until: dict[str, float] = {}
        self._rest: dict[str, float] = {}

    def rests(self, task: str) -> bool:
        return self._until.get(task, 0.0) > self._clock()

    def rest(self, task: str, at_least: float = 0.0) -> None:
        self._rest[task] = min(LONGEST_REST, 2 * self._rest.get(task, FIRST_REST / 2))
        self._until[task] = self._clock() + max(at_least, self._rest[task])

    def failed(self, task: str, position: int, *, answered: int, before: int) -> bool:
        """Whether that was the pair's own fault. `answered`: by its model, ever; `before`: when its batch began."""
        pair = self._open.setdefault((task, position), _Open(before))
        own, pair.answered = answered > pair.answered, answered
        pair.failures += 1
        pair.tries += own
        return own

    def is_last(self, task: str, position: int) -> bool:
        """Whether the pair is given up if it fails once more."""
        return (task, position) in self._open and self._open[task, position].tries >= TRIES

    def more(self, task: str, position: int) -> int:
        """How many pairs more to run, so that others show whether their models answer: else a pair that holds up all
        that wait behind it, of which all is known already, would never be told from an outage."""
        return min(MORE, self._open[task, position].failures) if (task, position) in self._open else 0

    def through(self, task: str, positions: Iterable[int]) -> None:
        """These pairs are in the evidence."""
        for position in positions:
            self._open.pop((task, position), None)
            self._rest.pop(task, None)
