"""What stands in the gaps between literals: data, one of a list, or something that repeats, and splits. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from compiler.recognition.align import KIND_OF
from compiler.recognition.repeats import (
    HEAVY,
    SUPPORT,
    TELLING,
    Place,
    Split,
    grouped,
    split_inside,
    split_inside_different,
)
from compiler.recognition.wording import ENOUGH_WORDS, commands, instructing, words

OPTIONAL = 0.1  # share of requests that have a part which others leave out
LISTED_WORDS, LISTED_CHARS = 6, 80  # of a value that is one of a list
POOL, POOL_SHARE = 12, 0.2  # so many names, none with a larger share, are data however often they repeat

Kind = Split | Literal["slot", "enumerated"]


def assess(values: Sequence[str], place: Place, optional: bool, variants: Sequence[str]) -> Kind:
    """What a gap is. A value that repeats is a task of its own: the gap splits its requests or, where the text around
    it says what they are, lists its values. Where others do already, it may repeat among their `variants`.

    `optional`: text stands on both sides of it, so that what is left out now and then may be data.
    """
    counts = Counter(zip(variants, values, strict=True))
    if all(is_typed(value) for value in values):
        return "slot"
    if place == "blank" and len(counts) > 1 and (part := split_inside(values, place)) is not None:
        return part
    given = Counter({at: count for at, count in counts.items() if at[1].strip()})
    if optional and place == "anchored" and given.total() >= max(SUPPORT, OPTIONAL * counts.total()):
        commanding = sum(count for (_, value), count in given.items() if commands(value))
        counts = counts if commanding >= TELLING * given.total() else given
    heavy = _repeating(counts)
    if not heavy:
        return split_inside_different(values, place) or "slot"
    if place == "anchored" and not is_varied(counts) and all(_is_listable(value) for _, value in counts):
        return "enumerated"
    groups, rest = grouped(values, lambda value: value if value in heavy else None)
    return Split(groups, _not_enumerated(values, rest), loosens=False)


def _repeating(counts: Counter[tuple[str, str]]) -> set[str]:
    """The values that are no data because they come again and again."""
    total = counts.total()
    if is_varied(counts):
        return {value for (_, value), count in counts.items() if count >= max(SUPPORT, HEAVY * total)}
    if is_pool(_summed(counts)):
        return set()
    return {value for (_, value), count in counts.items() if count >= SUPPORT} or {value for _, value in counts}


def _summed(counts: Counter[tuple[str, str]]) -> Counter[str]:
    summed: Counter[str] = Counter()
    for (_, value), count in counts.items():
        summed[value] += count
    return summed


def is_varied(counts: Counter[tuple[str, str]]) -> bool:
    """Whether most requests have a value that no other has."""
    return 2 * sum(count == 1 for count in counts.values()) >= counts.total()


def _is_listable(value: str) -> bool:
    return words(value) <= LISTED_WORDS and len(value) <= LISTED_CHARS and not any(char in KIND_OF for char in value)


def _not_enumerated(values: Sequence[str], rest: list[int]) -> list[int]:
    """What is left beside repeated values may be data, unless it reads like more of the same instructions."""
    if any(words(values[i]) < 2 * ENOUGH_WORDS and instructing(values[i]) for i in rest):
        return []
    return rest


def is_typed(value: str) -> bool:
    return value.strip() in KIND_OF


def is_pool(counts: Counter[str]) -> bool:
    """Names, codes and numbers from a list: many, none of them dominant. Not words that instruct."""
    if not all(is_name(value) for value in counts):
        return False
    top, total = max(counts.values()), counts.total()
    if top < SUPPORT:
        return len(counts) >= POOL // 2
    return len(counts) >= POOL and top <= max(SUPPORT, POOL_SHARE * total)


def is_name(value: str) -> bool:
    """A few words, most of them with a capital or a digit, none of which instructs."""
    parts = value.split()
    named = [part[:1].isupper() or any(c.isdigit() or c in KIND_OF for c in part) for part in parts]
    return 0 < len(parts) <= 5 and named[0] and 2 * sum(named) > len(parts) and not instructing(value)
