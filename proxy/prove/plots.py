"""Plots as SVG: where their lines and words stand. Pure; the page draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 14, 34  # margins
TICKS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
LEAST = 0.001  # what is drawn of a bound of 0
BAR, ROW, BASE = 14, 46, 16  # of the bars: their height, with their words, and where those stand


class Tick(NamedTuple):
    at: float
    value: float


@dataclass(frozen=True)
class Line:
    """A loss bound over its pairs, on a logarithmic scale. `margin`: where the line of the greatest loss is."""

    points: Sequence[tuple[float, float]]
    ticks: Sequence[Tick]
    margin: float
    pairs: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM

    @property
    def path(self) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


def line(points: Sequence[tuple[int, float]], margin: float) -> Line | None:
    """`points`: (pairs, bound), in their order; None where there are none."""
    if not points:
        return None
    least = max(LEAST, min(margin / 2, *(bound for _, bound in points)))
    last = max(pairs for pairs, _ in points)

    def x(pairs: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * pairs / max(1, last)

    def y(bound: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * math.log(max(bound, least)) / math.log(least)

    drawn = [(x(pairs), y(bound)) for pairs, bound in ((0, 1.0), *points)]
    return Line(drawn, [Tick(y(tick), tick) for tick in TICKS if tick >= least], y(margin), last)


class Bar(NamedTuple):
    """`y`: where its words stand, under which it is drawn."""

    name: str
    words: str
    counts: bool
    y: float
    width: float


@dataclass(frozen=True)
class Bars:
    bars: Sequence[Bar]
    height: int
    width: int = WIDTH
    bar: int = BAR


def bars(amounts: Sequence[tuple[str, float, str, bool]]) -> Bars | None:
    """(name, amount, words, whether it counts); of less than 0 there is hardly a bar. None where there are none."""
    if not amounts:
        return None
    most = max(1e-12, *(amount for _, amount, _, _ in amounts))
    drawn = [
        Bar(name, words, counts, BASE + at * ROW, max(1.0, WIDTH * amount / most))
        for at, (name, amount, words, counts) in enumerate(amounts)
    ]
    return Bars(drawn, len(drawn) * ROW)
