"""A proof's bound over its pairs, in plain characters, at most 80 columns wide."""

import math
from collections.abc import Sequence

COLUMNS, ROWS = 68, 9
AXIS = 9  # columns for what stands at the left
LEAST = 0.001  # what is drawn of a bound of 0


def plot(points: Sequence[tuple[int, float]], margin: float) -> list[str]:
    """`points`: (pairs, bound), in their order. The scale of the bound is logarithmic: each line down halves it, or
    nearly; `-` marks the margin."""
    if not points:
        return []
    least = max(LEAST, min(margin, *(bound for _, bound in points)))
    top, bottom = 0.0, min(math.log(least), math.log(margin / 2))

    def row(value: float) -> int:
        return round((top - math.log(max(value, least))) / (top - bottom) * (ROWS - 1))

    last = max(pairs for pairs, _ in points)
    grid = [[" "] * COLUMNS for _ in range(ROWS)]
    grid[row(margin)] = ["-"] * COLUMNS
    for pairs, bound in points:
        grid[row(bound)][max(0, math.ceil(pairs / max(1, last) * COLUMNS) - 1)] = "*"
    marks = {0: "100 %", row(margin): f"{100 * margin:.3g} %"}
    drawn = [f"{marks.get(at, ''):>{AXIS - 1}} |{''.join(line).rstrip()}" for at, line in enumerate(grid)]
    end = f"{last:,} pairs"
    return [*drawn, f"{'':{AXIS}}+{'-' * COLUMNS}", f"{'':{AXIS}} 0{end:>{COLUMNS - 1}}"]
