"""What the evidence promises, shown on simulated pairs: `make proof`.

Runs are simulated many at once (`bench/trials.py`); that these give the figures of `compiler/evidence.py` is checked
first, pair by pair on a few of them.
"""

import argparse
import json
import math
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import trials
from bench.figures import Bar
from bench.trials import Array, Cell, Rollout
from compiler import evidence

MARGINS = (0.02, 0.05)
DISAGREEMENTS = (0.02, 0.05, 0.1, 0.2, 0.4)
LOSSES = (0.0, 0.5, 1.0, 1.1, 1.5, 2.0, 3.0, 5.0)  # times the margin
TO_TRAFFIC = {  # (margin, disagreement): pairs to traffic .5 and 1, as designed; the middle where that is a range
    (0.02, 0.0): (130, 257), (0.02, 0.02): (173, 520), (0.02, 0.05): (320, 1_100), (0.02, 0.1): (550, 2_400),
    (0.02, 0.2): (1_030, 4_800), (0.05, 0.1): (96, 285), (0.05, 0.2): (172, 712), (0.05, 0.4): (355, 1_430),
}  # fmt: skip
PER_DAY = {1_000: 1_000.0, 20_000: 1_000.0}  # calls a day, and pairs that the rate cap lets through
BEFORE = 1_000  # equal pairs before a change
FALL = 0.1
JUDGES = {  # what a judge sees of a true difference; and how often it sees one where there is none
    "perfect": (1.0, 0.0), "misses 10 %": (0.9, 0.05), "misses 20 %": (0.8, 0.1), "refuses 30 %": (0.7, 0.0),
    "flips on half": (0.5, 0.0), 'always flips or says "A"': (0.0, 0.0),
}  # fmt: skip
PLANTED = 120
SERVED = 50
HIDDEN = 1.4  # times the margin: a loss that a judge sees less of than the margin
SAME_RUNS, SAME_PAIRS, SEEN = 3, 400, 0.7


@dataclass(frozen=True)
class Options:
    runs: int
    pairs: int
    seed: int

    def rng(self, name: object) -> np.random.Generator:
        """Each cell has numbers of its own: one by itself gives what it gives among all."""
        return np.random.default_rng([self.seed, zlib.crc32(str(name).encode())])


def same(options: Options) -> float:
    """The largest difference between an array of runs and the real code, in log capital. AssertionError: too large."""
    cell = Cell(0.02, 0.3)
    d = trials.draws(options.rng("same"), cell, SAME_RUNS, SAME_PAIRS) / options.rng("size").integers(
        1, 4, (SAME_PAIRS, 1)
    )
    bets, deltas = evidence.bets(cell.margin), (0.01, cell.margin, 2 * cell.margin, 3 * cell.margin)
    banks = {delta: trials.Bank(bets, SAME_RUNS) for delta in deltas}
    futile, drift, blind = (trials.Bank(bets, SAME_RUNS) for _ in range(3))
    gate, worst = trials.Bank(evidence.SEGMENT_BETS, SAME_RUNS), evidence.UNPROVEN * cell.margin
    real, knowing = ([evidence.Evidence(cell.margin) for _ in range(SAME_RUNS)] for _ in range(2))
    apart = 0.0
    for one in d:
        for delta, bank in banks.items():
            bank.add(delta - one)
        futile.add(one - cell.margin)
        for watch, at in ((drift, cell.margin), (blind, SEEN * cell.margin)):
            watch.add((one - at) / (1 + at))
            watch.restart()
        gate.add((one - worst) / (1 + worst))
        for run, (its, theirs) in enumerate(zip(real, knowing, strict=True)):
            its.add(float(one[run]), "a")
            theirs.add(float(one[run]), kappa=SEEN)
            pairs = [(its.loss.log_capital(delta), bank.now()[run]) for delta, bank in banks.items()]
            pairs += [(its.futility.capital.log, futile.now()[run]), (its.drift.capital.log, drift.now()[run])]
            pairs += [(theirs.drift.capital.log, blind.now()[run])]
            apart = max(apart, *np.abs(its.segments.to_json()[0][3:] - np.log(gate.capital[:, run])))
            apart = max(apart, *(abs(log - math.log(capital)) for log, capital in pairs))
    if apart > 1e-3:
        raise AssertionError(f"simulated and real capital differ by {apart} in the logarithm")
    _same_times(options)
    return apart


def _same_times(options: Options) -> None:
    """The real bound, its traffic and the real futility come with the same pair as simulated."""
    margin = 0.05
    d = trials.draws(options.rng("times"), Cell(margin, 0.1), SAME_RUNS, SAME_PAIRS)
    half = trials.first_times(d, margin, np.array(2 * margin))
    bad = trials.draws(options.rng("bad"), Cell(margin, 0.4, 0.25), SAME_RUNS, SAME_PAIRS)
    futile = trials.futile_times(bad, margin)
    for run in range(SAME_RUNS):
        good, poor = evidence.Loss(margin), evidence.Futility(margin)
        served, stopped = math.inf, math.inf
        for n in range(SAME_PAIRS):
            good.add(float(d[n, run]))
            poor.add(float(bad[n, run]))
            if math.isinf(served) and evidence.traffic(good.bound(), margin, trials.CONTROL) >= 0.5:
                served = n + 1
            if math.isinf(stopped) and poor.futile:
                stopped = n + 1
        if (served, stopped) != (half[run], futile[run]):
            raise AssertionError(f"run {run}: {served}, {stopped} and simulated {half[run]}, {futile[run]}")


Found = Iterator[Bar]


def validity(options: Options) -> Found:
    for margin in MARGINS:
        for disagreement in DISAGREEMENTS:
            for times in LOSSES:
                cell = Cell(margin, disagreement, round(times * margin, 4))
                if cell.loss > disagreement:
                    continue
                d = trials.draws(options.rng(cell), cell, options.runs, options.pairs)
                seen = trials.keeps(d, cell)
                yield Bar(f"K at the loss over 40, {cell}", _with_noise(0.025, options.runs), True, float(seen.over))
                name = f"traffic x loss over the margin, {cell} ({seen.proofs:.1f} proofs)"
                yield Bar(name, 0.05, True, float(seen.broken))


def _with_noise(limit: float, runs: int) -> float:
    """Two standard errors more: what is true may be near the limit itself."""
    return round(limit + 2 * math.sqrt(limit * (1 - limit) / runs), 4)


def _median(times: Array) -> float:
    return float(np.median(times))


def speed(options: Options) -> Found:
    for (margin, disagreement), (half, whole) in TO_TRAFFIC.items():
        cell = Cell(margin, disagreement)
        d = trials.draws(options.rng(f"speed {cell}"), cell, options.runs, max(options.pairs, 3 * whole))
        to_half = _median(trials.first_times(d, margin, np.array(2 * margin)))
        to_whole = _median(trials.first_times(d, margin, np.array(margin)))
        to_live = _median(trials.first_times(d, margin, np.array(margin / (1 - trials.CONTROL))))
        at = f"margin {margin:g}, disagreement {disagreement:g}"
        yield Bar(f"pairs to traffic .5 / {half}, {at}: off by ({to_half:.0f})", 0.15, True, abs(to_half / half - 1))
        yield Bar(
            f"pairs to bound = margin / {whole}, {at}: off by ({to_whole:.0f})", 0.15, True, abs(to_whole / whole - 1)
        )
        yield Bar(
            f"pairs to traffic 1 - control / {whole}, {at}: off by ({to_live:.0f})",
            0.15,
            True,
            abs(to_live / whole - 1),
            told=True,
        )


def futility(options: Options) -> Found:
    for margin in MARGINS:
        for disagreement in DISAGREEMENTS:
            bad, equal = Cell(margin, disagreement, round(5 * margin, 4)), Cell(margin, disagreement)
            if bad.loss <= disagreement:
                d = trials.draws(options.rng(f"futile {bad}"), bad, options.runs, min(options.pairs, 2_000))
                yield Bar(f"pairs until futile, {bad}", 200, True, _median(trials.futile_times(d, margin)))
            for cell, told in ((equal, False), (Cell(margin, disagreement, round(1.5 * margin, 4)), True)):
                if cell.loss <= disagreement:
                    d = trials.draws(options.rng(f"futile {cell}"), cell, options.runs, options.pairs)
                    seen = float(np.isfinite(trials.futile_times(d, margin)).mean())
                    yield Bar(f"stopped as futile, {cell}", 0.05, True, seen, told=told)


def drift(options: Options) -> Found:
    for margin in MARGINS:
        for disagreement in DISAGREEMENTS:
            for loss in (0.0, margin):
                cell = Cell(margin, disagreement, loss)
                d = trials.draws(options.rng(f"drift {cell}"), cell, options.runs, options.pairs)
                seen = trials.drift(d, d[:0], margin, {}).early.mean()
                yield Bar(f"false alarm of drift, {cell}", 0.01, True, float(seen), told=disagreement > 0.1 or loss > 0)
            yield from _uneasy(options, Cell(margin, disagreement))
        before = Cell(margin, 0.1)
        for after in (Cell(margin, 0.1, FALL), Cell(margin, 0.2, FALL), Cell(margin, 0.2, 2 * FALL)):
            yield from _fall(options, before, after)


def _uneasy(options: Options, equal: Cell) -> Found:
    d = trials.draws(options.rng(f"uneasy {equal}"), equal, min(options.runs, 200), options.pairs)
    levels = (50.0, evidence.UNEASY)
    for level, share in zip(levels, trials.uneasy(d, equal.margin, np.array(levels)), strict=True):
        name = f"time that M_t of an equal candidate is over {level:.0f}, {equal}"
        yield Bar(name, 0.1, True, float(share), told=level != evidence.UNEASY)


def _fall(options: Options, before: Cell, after: Cell) -> Found:
    rng = options.rng(f"fall {after}")
    was, then = trials.draws(rng, before, options.runs, BEFORE), trials.draws(rng, after, options.runs, 3_000)
    seen = trials.drift(was, then, after.margin, PER_DAY)
    told = after.loss > FALL or after.disagreement > before.disagreement
    yield Bar(f"pairs until a fall is caught, {after}", 200, True, _median(seen.pairs), told=told)
    for daily, calls in seen.calls.items():
        yield Bar(f"calls until then, {daily:,} a day, {after}", math.inf, True, _median(calls), told=True)


def judges(options: Options) -> Found:
    for judge, (sees, invents) in JUDGES.items():
        rng = options.rng(f"kappa {judge}")
        kappa = np.array([_kappa(rng, sees, invents) for _ in range(options.runs)])
        yield Bar(f"kappa over the true one, judge {judge}", 0.05, True, float((kappa > sees + 1e-9).mean()))
        yield Bar(f"kappa, median, judge {judge}", math.inf, True, _median(kappa), told=True)
        for margin in MARGINS:
            for times in (1.1, 2.0, 3.0):
                cell = Cell(margin, 0.2, round(times * margin, 4))
                true = trials.draws(rng, cell, options.runs, options.pairs)
                observed = _judged(rng, true, sees, invents)
                seen = trials.understated(observed, margin, cell.loss, kappa)
                yield Bar(f"U / kappa under the loss, judge {judge}, {cell}", 0.05, True, float(seen.mean()))
            if _median(kappa) >= evidence.TRUSTED:
                yield from _watched(options, judge, margin, kappa)


def _watched(options: Options, judge: str, margin: float, kappa: Array) -> Found:
    """Drift against κ × margin: an equal candidate raises no alarm, a loss that looks smaller than the margin does."""
    sees, invents = JUDGES[judge]
    equal, worse = Cell(margin, 0.1), Cell(margin, 0.1, round(HIDDEN * margin, 4))
    for cell in (equal, worse):
        rng = options.rng(f"watched {judge} {cell}")
        observed = _judged(rng, trials.draws(rng, cell, options.runs, options.pairs), sees, invents)
        for by, at in (("kappa", kappa), ("1", np.ones(options.runs))):
            seen = float(np.isfinite(trials.alarms(observed, margin, at)).mean())
            if cell is equal:
                name = f"false alarm of drift against {by} x margin, judge {judge}, {cell}"
                yield Bar(name, 0.05, True, seen, told=by == "1" or invents > 0)  # then more than 10 % look different
            else:
                name = f"not seen in {options.pairs:,} pairs against {by} x margin, judge {judge}, {cell}"
                yield Bar(name, 0.05, True, 1 - seen, told=True)


def _judged(rng: np.random.Generator, true: Array, sees: float, invents: float) -> Array:
    """Both orders are asked; where they don't agree, as where it always says "A", and where it refuses, it is a tie."""
    noise = np.where(rng.random(true.shape) < invents, rng.choice([-1, 1], true.shape), 0)
    found: Array = np.where(true == 0, noise, np.where(rng.random(true.shape) < sees, true, 0)).astype(np.int8)
    return found


def _kappa(rng: np.random.Generator, sees: float, invents: float) -> float:
    degraded = _judged(rng, np.ones(PLANTED), sees, invents)
    itself = _judged(rng, np.zeros(PLANTED), sees, invents)
    return evidence.kappa_lower_bound(degraded.tolist(), itself.tolist())


def segments(options: Options) -> Found:
    runs = min(options.runs, 500)
    for margin in MARGINS:
        for disagreement in (0.0, 0.05):
            for rollout, how in (
                (Rollout(held=False), "as designed"),
                (Rollout(held=True), "held"),
                (Rollout(held=True, pairs_per_call=0.05), "held, 1 pair in 20 calls"),
            ):
                cell = Cell(margin, disagreement)
                rng = options.rng(f"hidden {cell} {how}")
                seen = trials.hidden(rng, cell, runs, min(options.pairs, 3_500), 0.01, rollout)
                at = f"{how}, margin {margin:g}, other labels' disagreement {disagreement:g}"
                name = f"{SERVED} calls of a missed 1 % label served, {at}"
                name += f"; median {_median(seen.served):.0f} calls, {_median(seen.pairs):.0f} pairs"
                missed = (seen.served >= SERVED) | np.isinf(seen.pairs)
                yield Bar(name, 0.05, True, float(missed.mean()), told=not rollout.held)
        for cell in (Cell(margin, 0.1), Cell(margin, 0.2), Cell(margin, 0.2, 3 * margin)):
            rng = options.rng(f"convicted {cell}")
            yield Bar(
                f"any of 50 equal labels convicted, {cell}",
                0.05,
                True,
                trials.convicted(rng, cell, runs, options.pairs, 50),
            )


PARTS: dict[str, Callable[[Options], Found]] = {
    "validity": validity,
    "speed": speed,
    "futility": futility,
    "drift": drift,
    "judges": judges,
    "segments": segments,
}


def _print(console: Console, part: str, bars: list[Bar]) -> None:
    table = Table("", "wanted", "seen", "", title=part, title_justify="left")
    for bar in bars:
        verdict = "pass" if bar.passed else "[red]FAIL[/]"
        seen = f"{bar.seen:.3f}" if bar.seen is not None and bar.limit < 1 else f"{bar.seen:,.2f}"
        wanted = bar.wanted if math.isfinite(bar.limit) else "told"
        table.add_row(bar.name, wanted, seen, f"({verdict})" if bar.told else verdict)
    console.print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.proof", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000, help="a cell")
    parser.add_argument("--pairs", type=int, default=5_000, help="a run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a bar is missed")
    given = parser.parse_args()
    if given.runs < 1 or given.pairs < 1:
        parser.error("--runs, --pairs: at least 1")
    return given


def _json(bar: Bar) -> dict[str, Any]:
    """Infinite: it never happened, or there is no limit."""
    return {name: None if value in (math.inf, f"<= {math.inf:g}") else value for name, value in bar.to_json().items()}


def main() -> None:
    given = _arguments()
    options = Options(given.runs, given.pairs, given.seed)
    console = Console(width=max(132, Console().width), highlight=False)
    console.print(f"{given.runs:,} runs a cell, {given.pairs:,} pairs, seed {given.seed}")
    console.print(f"simulated and real log capital differ by {same(options):.1e} at most")
    found = {}
    for part in given.only:
        found[part] = list(PARTS[part](options))
        _print(console, part, found[part])
    if given.json:
        told = {part: [_json(bar) for bar in bars] for part, bars in found.items()}
        given.json.write_text(json.dumps(told, indent=1) + "\n")
    if given.check and not all(bar.passed or bar.told for bars in found.values() for bar in bars):
        sys.exit(1)


if __name__ == "__main__":
    main()
