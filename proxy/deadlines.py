"""How long a candidate may take for a task before the incumbent is asked: the incumbent's own p95."""

from collections import deque

REMEMBERED = 200
ENOUGH = 20


class Deadlines:
    def __init__(self, until_known: float) -> None:
        self._until_known = until_known  # seconds
        self._seen: dict[str, deque[float]] = {}

    def record(self, task: str, seconds: float) -> None:
        self._seen.setdefault(task, deque(maxlen=REMEMBERED)).append(seconds)

    def of(self, task: str) -> float:
        seen = self._seen.get(task, ())
        if len(seen) < ENOUGH:
            return self._until_known
        return sorted(seen)[int(len(seen) * 0.95)]
