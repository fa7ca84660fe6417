"""What repeats inside the values of a gap: how they begin or end, a line, a phrase. Where people put instructions among
data, that is what tells one task from another. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from compiler.recognition.align import common_prefix, common_suffix
from compiler.recognition.wording import ENOUGH_WORDS, commands, words

SUPPORT = 3  # requests that make a template
HEAVY = 0.15  # share of the requests that makes a repeated value a task of its own, whatever the others are
TELLING = 0.3  # share that begins, ends or goes on in some repeated instructing way
ALL = 0.9  # share that begins or ends with one of a few values, set apart from the data: no data does that
MOST = 0.6  # share that begins or ends in some repeated way, instructing or not, which data does not do
PHRASE = 5  # words
PHRASE_WITHIN = 6_000  # characters from either end of a value
LABEL = re.compile(r"[^\W\d_][\w '/-]{1,60}(:|\n)")
APART = re.compile(r"""[:\n"'<>()\[\]{}|.!?,;=#*`—–]| - """)  # what sets a value apart from the data beside it
NEAR = 80  # characters of such a value

Place = Literal["anchored", "instructed", "blank"]
"""Of a gap: its own message says what the task is; another one does; nothing does so far."""


class Split(NamedTuple):
    groups: list[list[int]]
    rest: list[int]
    loosens: bool  # the others have instructions where the rest has data: the rest is not known to be one task


def grouped(values: Sequence[str], key: Callable[[str], str | None]) -> tuple[list[list[int]], list[int]]:
    """The places of values with the same key, and of those with None."""
    groups: dict[str, list[int]] = {}
    rest = []
    for place, value in enumerate(values):
        if (found := key(value)) is None:
            rest.append(place)
        else:
            groups.setdefault(found, []).append(place)
    return list(groups.values()), rest


def split_inside_different(values: Sequence[str], place: Place) -> Split | None:
    """As `split_inside`, each value once however often it was sent."""
    different = list(dict.fromkeys(values))
    part = split_inside(different, place)
    if part is None:
        return None
    places: dict[str, list[int]] = {}
    for i, value in enumerate(values):
        places.setdefault(value, []).append(i)

    def all_of(group: Sequence[int]) -> list[int]:
        return sorted(i for number in group for i in places[different[number]])

    return Split([all_of(group) for group in part.groups], all_of(part.rest), part.loosens)


def split_inside(values: Sequence[str], place: Place) -> Split | None:
    """Split by how values begin or end, or by a line or phrase in them, where that repeats and is telling."""
    if 2 * sum(words(value) >= 4 for value in values) < len(values):
        return None
    best = _by_phrase(values, place) if place == "blank" else None
    if best is not None:
        return best
    for look in (_label, _opening, _last_line, _ending):
        groups, _ = grouped(values, look)
        shared = {}
        for number, group in enumerate(groups):
            if len(group) >= SUPPORT:
                shared[number] = _shared([values[i] for i in group], look)
        kept = [groups[n] for n, text in shared.items() if _tells(text, place)]
        rest = sorted({*range(len(values))}.difference(*kept))
        if _is_worth(kept, len(values), place) and (best is None or len(rest) < len(best.rest)):
            commanding = sum(len(groups[n]) for n, text in shared.items() if commands(text))
            covered = len(values) - len(rest)
            mixed = commanding >= HEAVY * len(values) or covered >= MOST * len(values)
            best = Split(kept, rest, loosens=mixed and place != "blank")
    return best or _by_phrase(values, place) or (_set_apart(values) if place == "anchored" else None)


def _set_apart(values: Sequence[str]) -> Split | None:
    """By what stands before or behind the data in nearly all values, a few values set apart from it by a sign: what
    else is there is more of the same. The fields of JSON are data."""
    if 2 * sum('":' in value for value in values) >= len(values):
        return None
    for look in (_head, _tail):
        groups = [group for group in grouped(values, look)[0] if len(group) >= SUPPORT]
        covered = sum(map(len, groups))
        if covered >= ALL * len(values) and (len(groups) > 1 or covered < len(values)):
            return Split(groups, [], loosens=False)
    return None


def _is_worth(groups: Sequence[Sequence[int]], total: int, place: Place) -> bool:
    covered, top = sum(map(len, groups)), max(map(len, groups), default=0)
    if len(groups) == 1 and covered == total:
        return False
    if place == "blank":
        return covered > 0
    return covered >= TELLING * total or top >= max(SUPPORT, HEAVY * total)


def _shared(values: Sequence[str], look: Callable[[str], str | None]) -> str:
    return common_prefix(values) if look in (_label, _opening) else common_suffix(values)


def _tells(text: str, place: Place) -> bool:
    """Whether what repeats inside values may be an instruction, and not how people happen to write."""
    if place == "blank":
        return True
    if place == "anchored":
        return commands(text) or ("\n" in text and words(text) >= ENOUGH_WORDS)
    return is_telling(text)


def is_telling(text: str) -> bool:
    """Whether a text that repeats looks like an instruction, or like the form around data."""
    bare = text.lstrip()
    return bool(LABEL.match(bare)) or words(bare) >= ENOUGH_WORDS or commands(bare)


def _head(value: str) -> str | None:
    """What stands before the first sign that sets it apart."""
    found = APART.search(value, 1, NEAR)
    return value[: found.start()] if found else None


def _tail(value: str) -> str | None:
    return head[::-1] if (head := _head(value[::-1])) is not None else None


def _label(value: str) -> str | None:
    """What stands before a colon or the first line's end, near the beginning."""
    head = value.lstrip()[:80]
    ends = [at for at in (head.find(":"), head.find("\n")) if at > 0]
    return head[: min(ends)] if ends else None


def _opening(value: str) -> str | None:
    return " ".join(value.split(maxsplit=3)[:3]) or None


def _last_line(value: str) -> str | None:
    line = value.rstrip().rpartition("\n")[2]
    return line if line != value.rstrip() and len(line) <= 160 else None


def _ending(value: str) -> str | None:
    return " ".join(value.rsplit(maxsplit=3)[-3:]) or None


def _by_phrase(values: Sequence[str], place: Place) -> Split | None:
    """By the phrases or lines that most values have, where they are telling; one after another, the commonest first.
    Where nothing says yet what the tasks are, by those that instruct, and only without any by the others."""
    phrases = [_lines(value) if place == "anchored" else _phrases(value) for value in values]
    counts = Counter(phrase for found in phrases for phrase in found)
    least = SUPPORT if place == "blank" else max(SUPPORT, TELLING * len(values))
    often = sorted((phrase for phrase, count in counts.items() if count >= least), key=lambda p: (-counts[p], p[::-1]))
    first = [phrase for phrase in often if not phrase[0].islower() and commands(phrase)]
    left = set(range(len(values)))
    groups: list[list[int]] = []
    for phrase in first or (often if place == "blank" else ()):
        having = [i for i in left if phrase in phrases[i]]
        if least <= len(having) < len(values):
            groups.append(sorted(having))
            left.difference_update(having)
        if groups and place != "blank":
            break
    return Split(groups, sorted(left), loosens=place != "blank") if groups else None


def _lines(value: str) -> set[str]:
    return {" ".join(line.split()) for line in value.split("\n") if line.strip()}


@lru_cache(8_192)
def _phrases(value: str) -> frozenset[str]:
    if len(value) > 2 * PHRASE_WITHIN:
        value = value[:PHRASE_WITHIN] + "\n" + value[-PHRASE_WITHIN:]
    found = set()
    for line in value.split("\n"):
        parts = line.split()
        found |= {" ".join(parts[i : i + PHRASE]) for i in range(len(parts) - PHRASE + 1)}
        if 2 <= len(parts) < PHRASE:
            found.add(" ".join(parts))
    return frozenset(found)
