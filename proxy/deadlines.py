"""How long a candidate may take for a task before the incumbent is asked: the incumbent's own p95."""

from bisect import bisect_left, insort
from collections import deque

REMEMBERED = 200
ENOUGH = 20
LEAST = 0.05  # seconds: sooner than that nobody is late, however quick the incumbent's cache was


class Deadlines:
    def __init__(self, until_known: float) -> None:
        self._until_known = until_known  # seconds
        self._seen: dict[str, _Times] = {}

    def record(self, task: str, seconds: float) -> None:
        self._seen.setdefault(task, _Times()).add(seconds)

    def of(self, task: str) -> float:
        seen = self._seen.get(task)
        return max(LEAST, seen.p95) if seen and len(seen.ordered) >= ENOUGH else self._until_known


class _Times:
    """The newest, also in order of size: to sort them for every request took a twentieth of its time."""

    def __init__(self) -> None:
        self.newest: deque[float] = deque()
        self.ordered: list[float] = []

    def add(self, seconds: float) -> None:
        if len(self.newest) == REMEMBERED:
            del self.ordered[bisect_left(self.ordered, self.newest.popleft())]
        self.newest.append(seconds)
        insort(self.ordered, seconds)

    @property
    def p95(self) -> float:
        return self.ordered[int(len(self.ordered) * 0.95)]
