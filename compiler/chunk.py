"""What a node maps over: the items of a list, or a long text in pieces that overlap. Pure."""

import re
from typing import Any

from compiler.errors import ModelFailed
from compiler.json_text import sole_value

SIZE, OVERLAP = 6_000, 400  # characters of a piece, and of what it may repeat of the one before
BOUNDS = (re.compile(r"\n\s*\n"), re.compile(r"(?<=[.!?。！？])\s+|\n+|(?<=[。！？])"), re.compile(r"\s+"))


def items_of(value: Any) -> list[Any]:
    """The items of a list, of an object whose one field is a list, or of a text that is one of these as JSON; else the
    pieces of the text. Raises ModelFailed where there is nothing to map over."""
    items = _list_of(next(sole_value(value), None) if isinstance(value, str) else value)
    if items is None and isinstance(value, str):
        return chunks(value)
    if items is None:
        raise ModelFailed("what it maps over is neither a list nor a text")
    return items


def _list_of(value: Any) -> list[Any] | None:
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    return value if isinstance(value, list) else None


def chunks(text: str, size: int = SIZE, overlap: int = OVERLAP) -> list[str]:
    return [text[start:end] for start, end in spans(text, size, overlap)]


def spans(text: str, size: int, overlap: int) -> list[tuple[int, int]]:
    """Pieces of at most `size` characters, in order, that hold all of the text. A piece ends with a paragraph where one
    ends in its second half, else with a sentence, else with a word; it begins at such a bound too, at most `overlap`
    (under half of `size`) before the last one's end."""
    found = []
    start = 0
    while len(text) - start > size:
        end = _bound(text, start + size // 2, start + size, last=True)
        found.append((start, end))
        start = _bound(text, end - overlap, end, last=False)
    return [*found, (start, len(text))] if text else []


def _bound(text: str, least: int, most: int, *, last: bool) -> int:
    """The first or last place in (least, most] that something ends at: of the largest kind that does."""
    for bound in BOUNDS:
        if places := [found.end() for found in bound.finditer(text, least, most) if found.end() > least]:
            return places[-1 if last else 0]
    return most
