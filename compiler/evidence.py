"""What pairs prove: how much worse a candidate may still be, and when it is worse, or has become so.

Each pair has a d in [-1, 1], 1: the candidate's answer is worse. The loss is d's mean. Everything here holds at every
look, however often and whenever one looks: test martingales, with the pairs as bets. Pure, in constant memory.

Sources: the bound, Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024); drift,
Shin, Ramdas and Rinaldo, "E-detectors" (2023), the Shiryaev-Roberts sum.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

STEPS = 1_000  # a d is rounded up to a multiple of one part in so many: the bound never gains by it
BETS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7)
LAST_BET = 0.9  # over 1 + margin
WEIGHTS = (0.1, 0.1, 0.12, 0.13, 0.15, 0.15, 0.25)
ERROR = 20  # 1 / 0.05
FUTILE = 20.0
DRIFTED, WARY = 20_000.0, 50.0
MOST = 1e300
PRECISE = 1e-6
FAR = 3  # times the margin: nothing is served while the bound is beyond

LEAST_PAIRS = 10  # of a label, before it can be found worse
LABELS = 200  # told apart; later ones are one
SEEN = 15  # pairs of a label that leave nothing to be found out
COMMON = 0.005  # share of the pairs, from which on a label is waited for
WAITING = 0.75  # of the requests may be served meanwhile


class Evidence:
    """Of one proof. `margin`: the loss that may be; `number`: how many proofs were begun for the task, with this one:
    each has its share of the 5 %, 1 / (20 k (k + 1))."""

    def __init__(self, margin: float, number: int = 1) -> None:
        if not 0 < margin < 1 or number < 1:
            raise ValueError(f"a margin lies between 0 and 1, and a first proof has number 1: {margin}, {number}")
        self.margin = margin
        self.number = number
        self._counts: Counter[int] = Counter()  # of d, in steps
        self._drift = [0.0] * len(WEIGHTS)

    @property
    def pairs(self) -> int:
        return self._counts.total()

    @property
    def threshold(self) -> float:
        """1 / (its share of the 5 %): the bound's K has to reach it."""
        return float(ERROR * self.number * (self.number + 1))

    def add(self, d: float) -> None:
        """Raises ValueError for what is no d."""
        step = _step(d)
        self._counts[step] += 1
        excess = (step / STEPS - self.margin) / (1 + self.margin)
        self._drift = [
            min(MOST, (sum_ + 1) * (1 + bet * excess)) for sum_, bet in zip(self._drift, self._bets, strict=True)
        ]

    @property
    def _bets(self) -> tuple[float, ...]:
        return (*BETS, LAST_BET / (1 + self.margin))

    def log_k(self, loss: float) -> float:
        """log Σ_j w_j Π_i (1 + λ_j (loss - d_i)): grows with `loss`; at the true one it is the log of a martingale."""
        return _log_mixture(self._counts, self._bets, lambda d, bet: bet * (loss - d))

    def bound(self) -> float:
        """U: the loss is at most so much, with a confidence of 1 - 1 / threshold. 1 where nothing is known."""
        wanted = math.log(self.threshold)
        if self.log_k(1.0) < wanted:
            return 1.0
        low, high = 0.0, 1.0
        if self.log_k(low) >= wanted:
            return 0.0
        while high - low > PRECISE:
            middle = (low + high) / 2
            low, high = (low, middle) if self.log_k(middle) >= wanted else (middle, high)
        return high

    def traffic(self, *, kappa: float, control: float) -> float:
        """Share that may be served, so that traffic × loss stays below the margin. `kappa`: of a loss, a judge sees at
        least so much."""
        bound = self.bound() / kappa if kappa > 0 else 1.0
        if bound > FAR * self.margin:
            return 0.0
        return min(1 - control, self.margin / bound if bound else 1.0)

    @property
    def is_futile(self) -> bool:
        """Whether the loss is over the margin, with a confidence of 95 %."""
        margin = self.margin
        return _log_mixture(self._counts, self._bets, lambda d, bet: bet * (d - margin)) >= math.log(FUTILE)

    @property
    def drift(self) -> float:
        """The Shiryaev-Roberts sum: with a loss within the margin it is expected to reach M after M pairs at least."""
        return math.fsum(weight * sum_ for weight, sum_ in zip(WEIGHTS, self._drift, strict=True))

    @property
    def has_drifted(self) -> bool:
        return self.drift >= DRIFTED

    @property
    def is_wary(self) -> bool:
        """Something may have changed: more pairs are wanted."""
        return self.drift > WARY

    def to_json(self) -> dict[str, Any]:
        counts = sorted(self._counts.items())
        return {"margin": self.margin, "number": self.number, "counts": counts, "drift": self._drift}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        made = cls(data["margin"], data["number"])
        made._counts = Counter(dict(data["counts"]))
        made._drift = [float(sum_) for sum_ in data["drift"]]
        return made


class Segments:
    """The same by the incumbent's label: one that a candidate always misses hides in the mean.

    A label is found worse where its own test martingale for "the loss here is at most three margins" reaches 20 times
    the number of labels, so that among labels that are all as they should be one is found in 5 % of proofs at most.
    """

    def __init__(self, margin: float) -> None:
        self.margin = margin
        self._counts: dict[str, Counter[int]] = {}

    def add(self, label: str, d: float) -> None:
        if label not in self._counts and len(self._counts) >= LABELS:
            label = ""
        self._counts.setdefault(label, Counter())[_step(d)] += 1

    def worse(self) -> str | None:
        """A label on which the candidate is much worse."""
        bets, most = (*BETS, LAST_BET / (1 + self.margin)), FAR * self.margin
        wanted = math.log(ERROR * max(1, len(self._counts)))
        for label, counts in self._counts.items():
            enough = counts.total() >= LEAST_PAIRS and sum(step * n for step, n in counts.items()) > 0
            if enough and _log_mixture(counts, bets, lambda d, bet: bet * (d - most) / (1 + most)) >= wanted:
                return label
        return None

    def most(self) -> float:
        """Share of the requests that may be served while a label that is not rare has few pairs: a label of one in a
        hundred, always missed, is found out before it was served fifty times."""
        pairs = sum(counts.total() for counts in self._counts.values())
        unsure = any(COMMON * pairs <= counts.total() < SEEN for counts in self._counts.values())
        return WAITING if unsure else 1.0

    def to_json(self) -> dict[str, Any]:
        return {"margin": self.margin, "counts": {label: sorted(c.items()) for label, c in self._counts.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        made = cls(data["margin"])
        made._counts = {label: Counter(dict(map(tuple, counts))) for label, counts in data["counts"].items()}
        return made


def kappa_lower_bound(degraded: Sequence[float], itself: Sequence[float]) -> float:
    """At least so much of a loss does a judge see, with 95 % confidence: mean d on planted degradations less mean d on
    the incumbent against itself. Each mean has a betting bound at 97.5 %; no normal approximation, which is too narrow
    where nearly all d are the same. Below 0 where nothing was measured."""
    return 1 - 2 * _upper_mean((1 - d) / 2 for d in degraded) - (2 * _upper_mean((1 + d) / 2 for d in itself) - 1)


def _upper_mean(values: Iterable[float]) -> float:
    """Of values in [0, 1]: the mean is at most this, with 97.5 % confidence."""
    counts = Counter(_step(value) for value in values)
    bets, wanted = (*BETS, LAST_BET), math.log(2 * ERROR)

    def log_k(mean: float) -> float:
        return _log_mixture(counts, bets, lambda value, bet: bet * (mean - value))

    low, high = 0.0, 1.0
    if log_k(high) < wanted:
        return 1.0
    while high - low > PRECISE:
        middle = (low + high) / 2
        low, high = (low, middle) if log_k(middle) >= wanted else (middle, high)
    return high


def _step(d: float) -> int:
    if not -1 <= d <= 1:
        raise ValueError(f"d lies between -1 and 1, this is {d}")
    return math.ceil(d * STEPS - 1e-9)


def _log_mixture(counts: Mapping[int, int], bets: Sequence[float], gain: Any) -> float:
    """log Σ_j w_j Π_d (1 + gain(d, λ_j))^n_d."""
    logs = [
        math.log(weight) + math.fsum(n * math.log1p(gain(step / STEPS, bet)) for step, n in counts.items())
        for weight, bet in zip(WEIGHTS, bets, strict=True)
    ]
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs))
