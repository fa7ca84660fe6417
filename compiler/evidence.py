"""How much worse a candidate may be, what has to stop it, and how much traffic it may have. Pure.

A pair scores d in [-1, 1], +1: the candidate is worse. Its loss is the mean of d. All evidence here is a capital that
bets grow: a mixture over fractions λ_j of Π (1 + λ_j x_i), where x_i is at least -1 and, under the hypothesis bet
against, not above 0 in the mean. Such a capital starts at 1 and reaches c ever in at most 1/c of all cases (Ville), so
that it may be looked at after each pair. Waudby-Smith & Ramdas, "Estimating means of bounded random variables by
betting", 2024.

This holds while each pair, given those before, is a fresh draw from the traffic that the card serves or would serve.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

ODDS = 20.0  # 95 % confidence
WEIGHTS = (0.1, 0.1, 0.12, 0.13, 0.15, 0.15, 0.25)
ALARM, UNEASY = 20_000.0, 500.0  # of an equal candidate the sum is 100 to 250 all the time
UNPROVEN = 3.0  # times the margin: with a loss bound above it, nothing is served, and no label may be worse
TRUSTED = 0.5  # a judge that sees less of a loss promotes nobody
BIN_BITS, SHARE_BITS = 10, 20  # the histogram has 2 · 2^10 + 1 places; a pair is shared by two in parts of 2^-20
MANY = 1_000_000  # times, or pairs: more is as good as never
PRECISION = 2.0**-24  # of a loss bound; it is rounded up
ROUNDING = 1e-12  # of log capital, a pair: far more than what floats lose
SEGMENT_LABELS = 64
SEGMENT_BETS = ((0.2, 0.2), (0.5, 0.3), (0.95, 0.5))  # (λ, weight): high, because a label that is always missed is
COVERED_SHARE, COVERED_DOUBT = 0.01, 0.002  # sought are labels of this share; small, since it is asked at each pair
COVERED_AFTER = 15  # pairs of a label: by then one that is always missed would have been found
HELD_SERVED = 1.0  # calls served for each pair, at most, until the labels are covered
KAPPA_BETS = ((0.1, 0.1), (0.2, 0.1), (0.35, 0.15), (0.5, 0.15), (0.7, 0.2), (0.9, 0.2), (0.99, 0.1))

Bets = Sequence[tuple[float, float]]
"""(λ, weight), 0 < λ < 1; the weights add up to 1."""


def bets(margin: float) -> Bets:
    """The last λ leaves a tenth of the capital where d = -1 is bet against at a loss of `margin`."""
    return tuple(zip((0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9 / (1 + margin)), WEIGHTS, strict=True))


def threshold(k: int) -> float:
    """Log capital that the k-th proof of a task needs, k from 1: over all there ever are, Σ 1/(20 k (k+1)) is 5 %."""
    if k < 1:
        raise ValueError(f"proofs are counted from 1, not {k}")
    return math.log(ODDS * k * (k + 1))


def _require_margin(margin: float) -> None:
    if not 0 < margin < 1:
        raise ValueError(f"margin {margin} is not between 0 and 1")


def _require_score(d: float) -> None:
    if not -1 <= d <= 1:
        raise ValueError(f"d = {d} is not in [-1, 1]")


def _log_sum(logs: Iterable[float]) -> float:
    logs = list(logs)
    most = max(logs)
    return most + math.log(sum(math.exp(log - most) for log in logs))


class Loss:
    """All pairs of a proof, as a histogram of d: K_n(δ) for any δ, in constant memory however many there are.

    Places are 2^-10 apart, so that -1, 0, 1 and halves to 1024ths are kept as they are. Another d is shared by its two
    neighbours so that the mean stays: log(1 + λ(δ - d)) is concave in d, hence K is never more than what all d would
    give, and the loss bound never less (at most 1e-4 of itself more, at a loss like the margin's). Shares are whole
    numbers, a d between two of them is rounded up: sums are exact, in whatever order pairs come.
    """

    def __init__(self, margin: float, bins: Iterable[tuple[int, int]] = ()) -> None:
        _require_margin(margin)
        self._bets = bets(margin)
        self._bins: Counter[int] = Counter(dict(bins))  # by d · 2^10: pairs · 2^20

    def add(self, d: float) -> None:
        """ValueError: d is not in [-1, 1]."""
        _require_score(d)
        place, part = divmod(math.ceil(d * (1 << BIN_BITS + SHARE_BITS)), 1 << SHARE_BITS)
        self._bins[place] += (1 << SHARE_BITS) - part
        if part:
            self._bins[place + 1] += part

    @property
    def pairs(self) -> int:
        return self._bins.total() >> SHARE_BITS

    @property
    def mean(self) -> float:
        """What was lost on the pairs seen; 0.0 where there are none."""
        total = sum(place * count for place, count in self._bins.items())
        return total / (1 << BIN_BITS) / max(1, self._bins.total())

    def log_capital(self, delta: float, *, equal: int = 0, times: float = 1.0) -> float:
        """log K_n(δ), the capital of a bet that the loss is under `delta`, 0 ≤ δ ≤ 1. It rises with δ. Each factor is
        at least 1 - λ, also at δ = 0 and d = 1. `equal`: what it would be with so many pairs of d = 0 more; `times`:
        with so many times these pairs."""
        seen = [(delta - place / (1 << BIN_BITS), count / (1 << SHARE_BITS)) for place, count in self._bins.items()]
        seen.append((delta, equal))
        return _log_sum(
            math.log(weight) + times * sum(count * math.log1p(part * above) for above, count in seen)
            for part, weight in self._bets
        )

    def in_reach(self, delta: float, k: int, more: int) -> bool:
        """Whether `more` pairs, all of d = 0, would show a loss of at most `delta`."""
        return self.log_capital(delta, equal=more) >= threshold(k) + ROUNDING * (self.pairs + more)

    def wanted(self, delta: float, k: int) -> float:
        """Pairs, these among them, until they would show a loss of at most `delta`, if all come out as these did. An
        estimate; infinite where they would not."""
        return self.pairs * _least(lambda times: self.log_capital(delta, times=times) >= threshold(k))

    def bound(self, k: int = 1) -> float:
        """U_n, for the k-th proof: the loss is at most this, with 95 % confidence at all times together over all proofs
        of the task. From 0.0 to 1.0, to 1e-7, rounded up."""
        enough = threshold(k) + ROUNDING * self.pairs
        if self.log_capital(1.0) < enough:
            return 1.0
        low, high = 0.0, 1.0
        while high - low > PRECISION:
            middle = (low + high) / 2
            low, high = (low, middle) if self.log_capital(middle) >= enough else (middle, high)
        return high

    def to_json(self) -> list[tuple[int, int]]:
        return sorted(self._bins.items())


def fewest(margin: float, k: int = 1) -> int:
    """Pairs after which the k-th proof shows a loss of at most `margin`, where not one of them differs."""
    return math.ceil(_least(lambda pairs: Loss(margin).in_reach(margin, k, math.ceil(pairs))))


def _least(enough: Callable[[float], bool]) -> float:
    """The smallest number that is enough, to a thousandth of it; infinite where a million is not."""
    low, high = 0.0, 1.0
    while not enough(high):
        low, high = high, 2 * high
        if high > MANY:
            return math.inf
    while high - low > high / 1_000:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


class Capital:
    """One mixture of bets at one hypothesis; `log` is its logarithm now, `peak` the highest it ever was."""

    def __init__(self, bets: Bets, logs: Sequence[float] = (), peak: float = 0.0, *, restarts: bool = False) -> None:
        """`restarts`: one more bet begins with each pair, and all are added up (Shiryaev-Roberts); the 1 that has yet
        to be bet is counted in."""
        self._parts = [part for part, _ in bets]
        self._weights = [math.log(weight) for _, weight in bets]
        self._logs = list(logs) or [0.0] * len(self._parts)
        self._restarts = restarts
        self.peak = peak

    def add(self, x: float) -> None:
        """x ≥ -1, and at most 0 in the mean under the hypothesis."""
        logs = [log + math.log1p(part * x) for log, part in zip(self._logs, self._parts, strict=True)]
        self._logs = list(map(_plus_one, logs)) if self._restarts else logs
        self.peak = max(self.peak, self.log)

    @property
    def log(self) -> float:
        return _log_sum(map(sum, zip(self._weights, self._logs, strict=True)))

    def to_json(self) -> list[float]:
        return [self.peak, *self._logs]


def _plus_one(log: float) -> float:
    """log(exp(log) + 1)"""
    return max(log, 0.0) + math.log1p(math.exp(-abs(log)))


class Futility:
    """Bets that the loss is above `margin`: of candidates that are not, at most 1 in 20 is ever futile.

    Where a judge sees only κ of a loss, the bet is against κ × margin, from the pair on at which κ is known. What was
    bet against the whole margin before has won less than that would have, whatever came: the capital goes on."""

    def __init__(self, margin: float, saved: Sequence[float] = (0.0,)) -> None:
        _require_margin(margin)
        self._margin = margin
        self.capital = Capital(bets(margin), saved[1:], saved[0])

    def add(self, d: float, kappa: float = 1.0) -> None:
        _require_score(d)
        self.capital.add(d - kappa * self._margin)

    @property
    def futile(self) -> bool:
        """It stays so."""
        return self.capital.peak >= math.log(ODDS)


class Drift:
    """Watches for a loss that has come to be above `margin`, whenever that began: M_t, a Shiryaev-Roberts sum of bets.

    While the loss is at most `margin`, M_t - t is a supermartingale: on average 20,000 pairs, at least, until a false
    alarm. Shin, Ramdas & Rinaldo, "E-detectors", 2023. Where a judge sees only κ of a loss, the bet is against κ ×
    margin, as above: then that is what the loss seen has to be above.
    """

    def __init__(self, margin: float, saved: Sequence[float] = (0.0,)) -> None:
        _require_margin(margin)
        self._margin = margin
        self.capital = Capital(bets(margin), saved[1:], saved[0], restarts=True)

    def add(self, d: float, kappa: float = 1.0) -> None:
        _require_score(d)
        margin = kappa * self._margin
        self.capital.add((d - margin) / (1 + margin))

    @property
    def drifted(self) -> bool:
        """It stays so."""
        return self.capital.peak >= math.log1p(ALARM)

    def is_uneasy(self, kappa: float = 1.0) -> bool:
        """Now: more pairs are wanted. The smaller the margin, the higher the sum is where nothing is wrong."""
        return self.capital.log > math.log1p(UNEASY / kappa)


class _Segment(NamedTuple):
    pairs: int
    capital: Capital


class Segments:
    """Whether the candidate fails one of the incumbent's labels, which a mean over all hides.

    Each label bets against a loss of at most 3 · margin; x = (d - 3 margin) / (1 + 3 margin) can't be under -1 whatever
    the margin. All share an error of 5 %, equally between 64 labels, those seen first, and all others together: a
    candidate with no label worse than 3 · margin is stopped in at most 1 case of 20. What is convicted stays so.
    """

    def __init__(self, margin: float, saved: Iterable[Sequence[Any]] = ()) -> None:
        """`saved` is of `to_json`. ValueError where 3 · margin is not under 1."""
        self._worst = UNPROVEN * margin
        _require_margin(self._worst)
        self._segments: dict[str | None, _Segment] = {  # None: all the others together
            label: _Segment(pairs, Capital(SEGMENT_BETS, logs, peak)) for label, pairs, peak, *logs in saved
        }

    def add(self, label: str, d: float) -> None:
        """One pair, to which the incumbent answered `label`."""
        _require_score(d)
        known = label in self._segments or len(self._segments.keys() - {None}) < SEGMENT_LABELS
        at = label if known else None
        pairs, capital = self._segments.get(at) or _Segment(0, Capital(SEGMENT_BETS))
        capital.add((d - self._worst) / (1 + self._worst))
        self._segments[at] = _Segment(pairs + 1, capital)

    def worse(self) -> list[str | None]:
        """Labels that are significantly worse than 3 · margin; None: the others together.

        None has fewer than 10 pairs: each can't do more than double the capital, which has to be 1,300.
        """
        enough = math.log(ODDS * (SEGMENT_LABELS + 1))
        return [label for label, (_, capital) in self._segments.items() if capital.peak >= enough]

    @property
    def covered(self) -> bool:
        """Whether each label that may be 1 % of the traffic has had enough pairs to be convicted, if always missed.

        One with fewer has to be rarer than that beyond doubt, also one that was not seen at all: it takes 622 pairs.
        Only to be asked of tasks that have labels.
        """
        pairs = sum(segment.pairs for segment in self._segments.values())
        counts = [0] + [n for label, (n, _) in self._segments.items() if label is not None]
        return all(n >= COVERED_AFTER or rare(n, pairs) for n in counts)

    def to_json(self) -> list[list[Any]]:
        return [[label, pairs, *capital.to_json()] for label, (pairs, capital) in self._segments.items()]


def rare(seen: int, pairs: int) -> bool:
    """Whether a label seen in `seen` of `pairs` is less than 1 % of the traffic, beyond doubt (Poisson)."""
    expected = COVERED_SHARE * pairs
    if not expected:
        return False
    chances = (math.exp(n * math.log(expected) - expected - math.lgamma(n + 1)) for n in range(seen + 1))
    return sum(chances) < COVERED_DOUBT


class Evidence:
    """What one proof has seen. `k`: which one of the task it is, from 1.

    State is as large as the number of different d and labels, both bounded. `to_json` has it all: with the number of
    pairs written in one transaction, a restart loses none and counts none twice.
    """

    def __init__(self, margin: float, k: int = 1) -> None:
        """ValueError: 3 · margin is not between 0 and 1, or k is under 1."""
        threshold(k)
        self.margin, self.k = margin, k
        self.loss, self.futility, self.drift = Loss(margin), Futility(margin), Drift(margin)
        self.segments = Segments(margin)

    def add(self, d: float, label: str | None = None, kappa: float = 1.0) -> None:
        """One pair; `label` is the incumbent's answer where the task has labels, `kappa` what is known by now of how
        much a judge sees. ValueError, and nothing was added: d is not in [-1, 1]."""
        self.loss.add(d)
        self.futility.add(d, kappa)
        self.drift.add(d, kappa)
        if label is not None:
            self.segments.add(label, d)

    @property
    def pairs(self) -> int:
        return self.loss.pairs

    def bound(self, kappa: float = 1.0) -> float:
        return bound(self.loss.bound(self.k), kappa)

    def to_json(self) -> dict[str, Any]:
        return {
            "margin": self.margin,
            "k": self.k,
            "loss": self.loss.to_json(),
            "futility": self.futility.capital.to_json(),
            "drift": self.drift.capital.to_json(),
            "segments": self.segments.to_json(),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Self:
        made = cls(saved["margin"], saved["k"])
        made.loss = Loss(made.margin, [(place, count) for place, count in saved["loss"]])
        made.futility = Futility(made.margin, saved["futility"])
        made.drift = Drift(made.margin, saved["drift"])
        made.segments = Segments(made.margin, saved["segments"])
        return made


def bound(loss: float, kappa: float = 1.0) -> float:
    """The loss bound, given U_n and the share κ of a loss that the judge sees; 1.0 where that is too little."""
    return min(1.0, loss / kappa) if kappa >= TRUSTED else 1.0


def traffic(bound: float, margin: float, control: float) -> float:
    """Share of calls that a card with this loss bound may serve: traffic × bound ≤ margin."""
    if bound > UNPROVEN * margin or bound >= 1:
        return 0.0
    return min(1 - control, margin / bound) if bound > 0 else 1 - control


def held_traffic(pairs_per_call: float) -> float:
    """The most that may be served until the segments are covered, where pairs come from at most this share of calls."""
    return min(HELD_SERVED * pairs_per_call, HELD_SERVED / (1 + HELD_SERVED))


def kappa_lower_bound(degraded: Sequence[float], itself: Sequence[float]) -> float:
    """κ, the share of a loss that the judge sees, at least, with 95 % confidence; in [-1, 1], rounded down.

    `degraded`: d of planted degradations, whose true loss is 1; `itself`: d of the incumbent against itself. Both in
    [-1, 1] and drawn independently. They are taken together one by one, in the order given, and the surplus of the
    longer is left out: mean(d - d') is bet on as above, which is valid for any number and any distribution. 60 perfect
    answers of each give .80, 120 give .90. Nothing given: -1.0. ValueError: a d is not in [-1, 1].
    """
    for d in (*degraded, *itself):
        _require_score(d)
    seen = Counter(map(float.__sub__, map(float, degraded), map(float, itself)))
    low, high = -2.0, 2.0
    while high - low > PRECISION:
        middle = (low + high) / 2
        capital = _log_sum(
            math.log(weight) + sum(n * math.log1p(part * (z - middle) / (middle + 2)) for z, n in seen.items())
            for part, weight in KAPPA_BETS
        )
        low, high = (middle, high) if capital >= math.log(ODDS) else (low, middle)
    return max(-1.0, min(1.0, low))
