"""Where two JSON values differ, field by field, and what each field weighs. Pure."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

DEEPEST = 20  # below that a value is one field, whatever is in it


class _Missing(Enum):
    MISSING = "missing"


MISSING: Final = _Missing.MISSING


@dataclass(frozen=True)
class Difference:
    """A field in which the two answers differ; `weight` is its share of the whole, `pointer` a JSON pointer.

    A side without the field is MISSING; so is `expected` where nobody said what is expected.
    """

    pointer: str
    weight: float
    incumbent: Any
    candidate: Any
    expected: Any = MISSING


def equal(left: Any, right: Any) -> bool:
    """As JSON: 1 is 1.0 but never true, and what is too large for a number is equal to nothing."""
    todo = [(left, right)]
    while todo:
        a, b = todo.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            if a.keys() != b.keys():
                return False
            todo += [(a[key], b[key]) for key in a]
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            todo += zip(a, b, strict=True)
        elif isinstance(a, bool) != isinstance(b, bool) or a != b or (isinstance(a, float) and math.isinf(a)):
            return False
    return True


def differences(incumbent: Any, candidate: Any, expected: Any = MISSING) -> Iterator[Difference]:
    """The fields in which the two differ.

    An object weighs its fields equally, and so does a list its items. The fields are those of `expected`, else of the
    incumbent's answer: all that somebody adds is one field more, so that nobody dilutes an error by adding much. Lists
    of different lengths are one field: which item stands for which can't be known.
    """
    return _walk(Difference("", 1.0, incumbent, candidate, expected), 0)


def shown(found: Sequence[Difference], side: str) -> dict[str, Any]:
    """What one side ("incumbent", "candidate", "expected") has in these fields."""
    values = ((d.pointer, getattr(d, side)) for d in found)
    return {pointer: value for pointer, value in values if value is not MISSING}


def _walk(at: Difference, depth: int) -> Iterator[Difference]:
    if equal(at.incumbent, at.candidate):
        return
    sides = [at.incumbent, at.candidate] if at.expected is MISSING else [at.incumbent, at.candidate, at.expected]
    if depth < DEEPEST and all(isinstance(side, dict) for side in sides):
        yield from _of_objects(at, depth)
    elif depth < DEEPEST and all(isinstance(side, list) and len(side) == len(at.incumbent) for side in sides):
        given = [MISSING] * len(at.incumbent) if at.expected is MISSING else at.expected
        weight = at.weight / len(at.incumbent)
        for i, (mine, theirs, wanted) in enumerate(zip(at.incumbent, at.candidate, given, strict=True)):
            yield from _walk(Difference(f"{at.pointer}/{i}", weight, mine, theirs, wanted), depth + 1)
    else:
        yield at


def _of_objects(at: Difference, depth: int) -> Iterator[Difference]:
    told = at.expected is not MISSING
    reference = at.expected if told else at.incumbent
    arms = (at.incumbent, at.candidate)
    added = [{key: value for key, value in arm.items() if key not in reference} for arm in arms]
    weight = at.weight / (len(reference) + any(added))
    for key in reference:
        mine, theirs = (arm.get(key, MISSING) for arm in arms)
        name = key.replace("~", "~0").replace("/", "~1")
        yield from _walk(
            Difference(f"{at.pointer}/{name}", weight, mine, theirs, reference[key] if told else MISSING), depth + 1
        )
    if not equal(*added):
        yield Difference(f"{at.pointer}/*", weight, added[0], added[1], {} if told else MISSING)
