"""How long a candidate may take for a task before the incumbent is asked: the incumbent's own p95."""

from collections import deque

REMEMBERED = 200
ENOUGH = 20


class Deadlines:
    def __init__(self, until_known: float) -> None:
        self._until_known = until_known  # seconds
        self._seen: dict[str, deque[float]] = {}
        self._of: dict[str, float] = {}

    def record(self, task: str, seconds: float) -> None:
        seen = self._seen.setdefault(task, deque(maxlen=REMEMBERED))
        seen.append(seconds)
        if len(seen) >= ENOUGH:
            self._of[task] = sorted(seen)[int(len(seen) * 0.95)]

    def of(self, task: str) -> float:
        return self._of.get(task, self._until_known)
