"""Many proofs at once, pair by pair: the bets of compiler/evidence.py over a whole array of runs. Pure.

A run's d are -1, 0 or 1. Arrays of capital have the shape (bets, runs) and are not logarithms: what was lost beyond
1e-300 would not come back in any of these runs.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from compiler import evidence

Array = np.ndarray[Any, np.dtype[Any]]
CONTROL, MORE_CONTROL = 0.02, 0.2
RENEWED = 1_000  # pairs after which a proof is followed by the next, if it wasn't futile before
NEVER = np.inf


class Cell(NamedTuple):
    """`disagreement`: share of pairs with d not 0; `loss`: the mean of d, at most that."""

    margin: float
    disagreement: float
    loss: float = 0.0

    def __str__(self) -> str:
        return f"margin {self.margin:g}, disagreement {self.disagreement:g}, loss {self.loss:g}"


def draws(rng: np.random.Generator, cell: Cell, runs: int, pairs: int) -> Array:
    """(pairs, runs) of d."""
    drawn = rng.random((pairs, runs), dtype=np.float32)
    better = (cell.disagreement - cell.loss) / 2
    return (drawn < cell.disagreement).astype(np.int8) - 2 * (drawn < better).astype(np.int8)


class Bank:
    """Capital of `runs` at one hypothesis each."""

    def __init__(self, bets: evidence.Bets, runs: int) -> None:
        self.parts = np.array([part for part, _ in bets])[:, None]
        self.weights = np.array([weight for _, weight in bets])
        self.capital = np.ones((len(self.weights), runs))

    def add(self, x: Array) -> Array:
        """The runs' capital after one more pair each."""
        self.capital *= 1 + self.parts * x
        return self.now()

    def restart(self) -> Array:
        """After an `add`: one more bet begins with the next pair. The sum with it."""
        self.capital += 1
        return self.now()

    def now(self) -> Array:
        found: Array = self.weights @ self.capital
        return found


class Kept(NamedTuple):
    """Shares of runs in which it ever happened, and medians."""

    over: float  # a first proof's K at the true loss over 40
    broken: float  # traffic × true loss over the margin, proofs following each other
    proofs: float  # a run, in the mean


def keeps(d: Array, cell: Cell) -> Kept:
    """What must not happen while nothing changes. Each proof that is futile, or old, is followed by another one of a
    candidate just as bad, so that k grows."""
    runs = d.shape[1]
    bets = evidence.bets(cell.margin)
    first, later, futile = Bank(bets, runs), Bank(bets, runs), Bank(bets, runs)
    over, broken = np.zeros(runs, bool), np.zeros(runs, bool)
    k, age = np.ones(runs), np.zeros(runs)
    told = min(cell.loss, evidence.UNPROVEN * cell.margin)  # with a bound under this, too much is served
    may_break = (1 - CONTROL) * cell.loss > cell.margin
    for one in d:
        over |= first.add(cell.loss - one) >= np.exp(evidence.threshold(1))
        capital = later.add(told - one)
        if may_break:
            broken |= capital >= evidence.ODDS * k * (k + 1)
        age += 1
        over_with = (futile.add(one - cell.margin) >= evidence.ODDS) | (age >= RENEWED)
        k, age = k + over_with, np.where(over_with, 0, age)
        later.capital[:, over_with] = futile.capital[:, over_with] = 1
    return Kept(over.mean(), broken.mean(), k.mean())


def first_times(d: Array, margin: float, deltas: Array) -> Array:
    """Pairs until the loss bound of a first proof is at most δ: (runs,) or one δ for all."""
    bank = Bank(evidence.bets(margin), d.shape[1])
    return _when(bank.add(deltas - one) >= np.exp(evidence.threshold(1)) for one in d)


def futile_times(d: Array, margin: float) -> Array:
    bank = Bank(evidence.bets(margin), d.shape[1])
    return _when(bank.add(one - margin) >= evidence.ODDS for one in d)


def _when(happened: Iterator[Array]) -> Array:
    """For each run the number of the pair with which it first did; infinite where it never did."""
    times = np.array(NEVER)
    for n, now in enumerate(happened, 1):
        times = np.where(np.isinf(times) & now, n, times)
    return times


class Caught(NamedTuple):
    """By run: pairs and calls between the change and the alarm; `early` where there was an alarm before."""

    pairs: Array
    calls: dict[int, Array]  # by calls a day
    early: Array


def drift(before: Array, after: Array, margin: float, per_day: dict[int, float]) -> Caught:
    """`per_day`: calls a day, and how many of them may be pairs. Each pair stands for as many calls as control, and
    that cap, make it."""
    runs = before.shape[1]
    bank = Bank(evidence.bets(margin), runs)
    early = np.zeros(runs, bool)
    for one in before:
        early |= bank.add((one - margin) / (1 + margin)) >= evidence.ALARM
        bank.restart()
    bank.capital[:, early] = 1
    pairs, calls = np.full(runs, NEVER), {daily: np.zeros(runs) for daily in per_day}
    for n, one in enumerate(after, 1):
        waiting = np.isinf(pairs)
        share = np.where(bank.now() - 1 > evidence.UNEASY, MORE_CONTROL, CONTROL)
        for daily, most in per_day.items():
            calls[daily] += waiting / np.minimum(share, most / daily)
        alarm = bank.add((one - margin) / (1 + margin)) >= evidence.ALARM
        pairs[waiting & alarm] = n
        bank.restart()
    return Caught(pairs, calls, early)


def uneasy(d: Array, margin: float, levels: Array, settled: int = 500) -> Array:
    """Share of the time after the first pairs, over all runs, that M_t is above each level."""
    bank = Bank(evidence.bets(margin), d.shape[1])
    above = np.zeros(len(levels))
    for n, one in enumerate(d):
        bank.add((one - margin) / (1 + margin))
        sums = bank.restart() - 1
        if n >= settled:
            above += (sums > levels[:, None]).mean(axis=1)
    found: Array = above / max(1, len(d) - settled)
    return found


def understated(observed: Array, margin: float, loss: float, kappa: Array) -> Array:
    """By run: whether U / κ was ever under the true loss."""
    bank = Bank(evidence.bets(margin), observed.shape[1])
    trusted = kappa >= evidence.TRUSTED
    at = np.where(trusted, loss * kappa, 0.0)
    times = _when(bank.add(at - one) >= np.exp(evidence.threshold(1)) for one in observed)
    found: Array = np.isfinite(times) & trusted
    return found


def alarms(observed: Array, margin: float, kappa: Array) -> Array:
    """By run: pairs until drift is seen, where a judge sees `kappa` of a loss; infinite where it never is."""
    bank = Bank(evidence.bets(margin), observed.shape[1])
    at = margin * np.where(kappa >= evidence.TRUSTED, kappa, 1.0)

    def rises() -> Iterator[Array]:
        for one in observed:
            yield bank.add((one - at) / (1 + at)) >= evidence.ALARM
            bank.restart()

    return _when(rises())


class Hidden(NamedTuple):
    """A label that is always missed, by run: pairs until it is kept, and calls of that label served until then."""

    pairs: Array
    served: Array


class Rollout(NamedTuple):
    """`pairs_per_call`: at most this share of calls is shadowed. `held`: until the segments are covered, at most one
    call is served a pair."""

    held: bool = True
    pairs_per_call: float = 1.0


def hidden(rng: np.random.Generator, cell: Cell, runs: int, pairs: int, share: float, rollout: Rollout) -> Hidden:
    """One label of this share is always missed, the others are equal with `cell.disagreement`; the proof ends with the
    gate or with `pairs`. Here a label is covered by the same rule, looked at for the missed one alone: the others only
    hold longer."""
    deltas = np.append(np.linspace(0.001, evidence.UNPROVEN * cell.margin, 60), 1.0)  # a bound is rounded up to these
    banks = [Bank(evidence.bets(cell.margin), runs) for _ in deltas[:-1]]
    gate, seen, served = Bank(evidence.SEGMENT_BETS, runs), np.zeros(runs), np.zeros(runs)
    times, worst = np.full(runs, NEVER), evidence.UNPROVEN * cell.margin
    others = draws(rng, cell, runs, pairs)
    missed = rng.random((pairs, runs)) < share
    enough = evidence.ODDS * (evidence.SEGMENT_LABELS + 1)
    for n in range(pairs):
        one = np.where(missed[n], 1, others[n])
        capitals = np.array([bank.add(delta - one) for bank, delta in zip(banks, deltas, strict=False)])
        under = (capitals >= np.exp(evidence.threshold(1))).argmax(axis=0)
        bound = np.where(capitals[-1] >= np.exp(evidence.threshold(1)), deltas[under], 1.0)
        traffic = np.array([evidence.traffic(u, cell.margin, CONTROL) for u in deltas])[np.searchsorted(deltas, bound)]
        seen += missed[n]
        if rollout.held:
            full = evidence.COVERED_AFTER
            rare = np.array([evidence.rare(count, n + 1) for count in range(full)])
            covered = (seen >= full) | rare[np.minimum(seen, full - 1).astype(int)]
            most = evidence.held_traffic(rollout.pairs_per_call)
            traffic = np.where(covered, traffic, np.minimum(traffic, most))
        capital = gate.add(np.where(missed[n], (1 - worst) / (1 + worst), 0.0))
        times[np.isinf(times) & (capital >= enough)] = n + 1
        shadowed = np.minimum(1 - traffic, rollout.pairs_per_call)
        waiting = np.isinf(times)
        served += waiting * rng.binomial(rng.negative_binomial(1, shadowed / (shadowed + traffic)), share)
        if not waiting.any():
            break
    return Hidden(times, served)


def convicted(rng: np.random.Generator, cell: Cell, runs: int, pairs: int, labels: int) -> float:
    """Share of runs in which the gate convicts any of `labels` equally frequent ones, all alike."""
    bank, worst = Bank(evidence.SEGMENT_BETS, runs * labels), evidence.UNPROVEN * cell.margin
    peak, start = np.zeros(runs * labels, bool), np.arange(runs) * labels
    for one in draws(rng, cell, runs, pairs):
        at = start + rng.integers(0, labels, runs)
        x = (one - worst) / (1 + worst)
        bank.capital[:, at] *= 1 + bank.parts * x
        peak[at] |= bank.weights @ bank.capital[:, at] >= evidence.ODDS * (evidence.SEGMENT_LABELS + 1)
    return float(peak.reshape(runs, labels).any(axis=1).mean())
