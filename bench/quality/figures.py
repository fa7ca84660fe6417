"""Intervals, the paired test, the bars. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.quality.results import Result
from bench.quality.tasks import BY_NAME, agrees

Z = 1.959964  # of 95 %
GAIN, NEAR = 0.25, 0.05
GAINED, NEAR_TASKS = 4, 3
NOISE = 0.05

Measured = Mapping[str, Mapping[str, Result]]
"""Results by task and arm."""


def wilson(right: int, of: int) -> tuple[float, float]:
    """95 % interval of a share."""
    if not of:
        return 0.0, 1.0
    share, square = right / of, Z * Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = Z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def chance_of_fewer(mine: Sequence[bool], other: Sequence[bool]) -> float:
    """One-sided exact sign test on rows that one of them has right: how likely so few of them would be mine, were both
    as good."""
    won = sum(a and not b for a, b in zip(mine, other, strict=True))
    lost = sum(b and not a for a, b in zip(mine, other, strict=True))
    fewer = sum(math.comb(won + lost, k) for k in range(won + 1))
    return float(fewer / 2 ** (won + lost))


def agreement(one: Result, current: Result) -> float:
    spec = BY_NAME[one.task]
    return float(fmean(agrees(spec, a, b) for a, b in zip(one.answers, current.answers, strict=True)))


@dataclass(frozen=True)
class Bar:
    """`seen` None: not measured."""

    name: str
    wanted: str
    seen: str | None
    passed: bool
    told: bool = False


def bars(found: Measured) -> list[Bar]:
    compiled = {
        task: (arms["card"], arms["plain"], arms["incumbent"])
        for task, arms in found.items()
        if {"card", "plain", "incumbent"} <= arms.keys() and not arms["card"].kept
    }
    intents = {task: arms for task, arms in compiled.items() if BY_NAME[task].group == "intent"}
    gained = [task for task, (card, plain, _) in intents.items() if _more(card, plain) >= GAIN]
    near = [task for task, (card, _, current) in intents.items() if _more(current, card) <= NEAR]
    below = [task for task, (card, plain, _) in compiled.items() if chance_of_fewer(card.right, plain.right) < NOISE]
    return [
        _counted(f"intent tasks {100 * GAIN:.0f} points over the plain prompt", gained, GAINED, bool(intents)),
        _counted(
            f"intent tasks at most {100 * NEAR:.0f} points under the current model", near, NEAR_TASKS, bool(intents)
        ),
        Bar(
            "tasks under the plain prompt beyond noise",
            "0",
            _named(below) if compiled else None,
            bool(compiled) and not below,
        ),
        *_beside_gepa(found),
        *_as_they_should_be(found),
    ]


def _more(one: Result, other: Result) -> float:
    return round(one.accuracy - other.accuracy, 9)


def _counted(name: str, tasks: Sequence[str], wanted: int, measured: bool) -> Bar:
    return Bar(name, f">= {wanted}", _named(tasks) if measured else None, len(tasks) >= wanted)


def _named(tasks: Sequence[str]) -> str:
    return f"{len(tasks)}" + (f" ({', '.join(tasks)})" if tasks else "")


def _beside_gepa(found: Measured) -> list[Bar]:
    """Where ours is kept, users get the current model: no fair match for a cheap one, so those are only told."""
    both = [arms for arms in found.values() if {"card", "gepa"} <= arms.keys()]
    fair = [arms for arms in both if not arms["card"].kept]
    return [
        _beside("mean of ours less mean of gepa's, where there is a card", fair),
        _beside("the same with what is kept, as users get it", both, told=True),
    ]


def _beside(name: str, arms: Sequence[Mapping[str, Result]], *, told: bool = False) -> Bar:
    if not arms:
        return Bar(name, ">= 0", None, False, told)
    ours, theirs = (fmean(one[arm].accuracy for one in arms) for arm in ("card", "gepa"))
    seen = f"{ours - theirs:+.3f} ({ours:.3f}, {theirs:.3f}; {len(arms)} tasks)"
    return Bar(name, ">= 0", seen, ours >= theirs, told)


def _as_they_should_be(found: Measured) -> list[Bar]:
    cards = {BY_NAME[task].group: arms["card"] for task, arms in found.items() if "card" in arms}
    easy, hard = cards.get("easy"), cards.get("impossible")
    return [
        Bar(
            "what the plain prompt can do is not rewritten",
            "original",
            None if easy is None else f"kept: {easy.kept}" if easy.kept else easy.winner or "?",
            easy is not None and not easy.kept and not easy.rewritten,
        ),
        Bar(
            "what the cheap model can't do is kept, with a reason",
            "kept",
            None if hard is None else f"kept: {hard.kept}" if hard.kept else hard.winner or "?",
            hard is not None and bool(hard.kept),
        ),
    ]
