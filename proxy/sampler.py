"""How much of what passes is looked at: of each kind a burst, then a little, so that a busy kind leaves the rare ones
their place."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from proxy.call import now

BURST, A_SECOND = 60.0, 0.5  # of one kind
ALL_A_SECOND = 10.0  # of all kinds in all workers: to redact one costs the learner a millisecond
BURST_SECONDS = 20.0  # that may come at once
KINDS = 4_096  # remembered; the one not seen for longest is forgotten


@dataclass(slots=True)
class _Bucket:
    left: float
    since: float


class Sampler:
    def __init__(self, workers: int = 1, clock: Callable[[], float] = now, *, a_second: float | None = None) -> None:
        """`a_second`: of all kinds, over all workers."""
        self._clock = clock
        self._a_second = (ALL_A_SECOND if a_second is None else a_second) / workers
        self._burst = BURST_SECONDS * self._a_second
        self._all = _Bucket(self._burst, clock())
        self._kinds: dict[Hashable, _Bucket] = {}

    def dry(self) -> bool:
        """Whether nothing is taken now, of whatever kind."""
        _fill(self._all, self._clock(), self._burst, self._a_second)
        return self._all.left < 1

    def take(self, kind: Hashable, cost: float = 1.0, *, sought: bool = False) -> bool:
        """Whether to look at one more of this kind; of a kind that is `sought`, as many as of all together. What costs
        more than one is taken in full, and paid for by those behind it."""
        time = self._clock()
        _fill(self._all, time, self._burst, self._a_second)
        bucket = self._kinds.pop(kind, None) or _Bucket(BURST, time)
        self._kinds[kind] = bucket  # as the newest
        if len(self._kinds) > KINDS:
            del self._kinds[next(iter(self._kinds))]
        _fill(bucket, time, BURST, A_SECOND)
        if (bucket.left < 1 and not sought) or self._all.left < 1:
            return False
        bucket.left = max(0.0, bucket.left - 1)
        self._all.left -= cost
        return True


def _fill(bucket: _Bucket, time: float, burst: float, a_second: float) -> None:
    bucket.left = min(burst, bucket.left + (time - bucket.since) * a_second)
    bucket.since = time
