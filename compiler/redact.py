"""Captured text before it touches the disk: what is personal or secret in it gives way to surrogates of the same shape.

One map for all texts of an example, so "the e-mail in the document is X" stays true. Names and addresses of people are
not found: nothing here knows a name from another word. Full-width, Arabic-Indic and Devanagari digits count as digits.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from compiler.known import Known
from compiler.numbers import luhn
from compiler.reading import Reading
from compiler.spans import REDACTED, TYPES, Span, blanked, read_spans, sensitive, spans
from compiler.surrogate import canonical, dressed, kept_of_phone, surrogate

__all__ = ["REDACTED", "TYPES", "Redactor", "Span", "redact", "redact_values", "spans"]

_TRIES = 50
_BEFORE, _BEHIND = 40, 12  # what of a text around a value can decide of which type it is
_AS_NUMBER = 10**6  # whole numbers from here on may be a card or a phone


def redact(texts: Sequence[str]) -> list[str]:
    """All texts of one example: a value found in any of them is replaced in all."""
    return Redactor().texts(texts)


def redact_values(values: Sequence[Any]) -> list[Any]:
    """The same for all strings inside JSON values, keys and long whole numbers too. The values stay as they are."""
    texts = list(dict.fromkeys(_texts(values)))
    new = dict(zip(texts, redact(texts), strict=True))
    return [_rebuilt(value, new) for value in values]


class Redactor:
    """The map of one example, and its draw. What `text` has given out can't be mended when a later text shows that a
    word in it was a password: `texts` looks at all of them first."""

    def __init__(self) -> None:
        self._random = Random()  # seeded by the system
        self._new: dict[tuple[str, str], str] = {}
        self._domains: dict[str, str] = {}
        self._taken: set[str] = set()
        self._known = Known()

    def text(self, text: str) -> str:
        return self.texts([text])[0]

    def texts(self, texts: Sequence[str]) -> list[str]:
        readings = [Reading(text) for text in texts]
        found = [sensitive(reading.text) for reading in readings]
        self._learn((span, reading.text) for reading, of_it in zip(readings, found, strict=True) for span in of_it)
        return [self._rewritten(*one) for one in zip(readings, found, strict=True)]

    def _learn(self, found: Iterable[tuple[Span, str]]) -> None:
        """Long phone numbers before short ones: the short may be the end of the long."""
        unknown: dict[tuple[str, str], tuple[Span, str]] = {}
        for span, text in found:
            key = span.type, canonical(span.type, text[span.start : span.end])
            if key not in self._new:
                unknown.setdefault(key, (span, text))
        self._taken.update(value for _, value in unknown)
        for key in sorted(unknown, key=lambda key: -len(key[1])):
            span, text = unknown[key]
            new = self._new[key] = self._made(span, text)
            self._taken.add(new)
            self._known.add(key[0], key[1], new)

    def _made(self, span: Span, text: str) -> str:
        value = text[span.start : span.end]
        old = canonical(span.type, value)
        if span.type == "phone" and (new := self._known.phone(old, kept_of_phone(value))):
            return new
        new = old
        for attempt in range(_TRIES):
            drawn = self._drawn(span.type, value, old)
            if drawn == old:
                continue
            new = drawn
            if new not in self._taken and (attempt == _TRIES - 1 or _fits(span, text, new)):
                break
        return new

    def _drawn(self, kind: str, value: str, old: str) -> str:
        new = surrogate(kind, value, self._random)
        if kind == "email":
            domain = old.rpartition("@")[2]
            known = self._domains.setdefault(domain, new.rpartition("@")[2])
            new = new.rpartition("@")[0] + "@" + known
        return new

    def _rewritten(self, reading: Reading, found: list[Span]) -> str:
        text = reading.text
        new = []
        for span in found:
            value = text[span.start : span.end]
            surrogate = self._new[span.type, canonical(span.type, value)]
            new.append((span.start, span.end, dressed(span.type, surrogate, value)))
        new += self._known.find(blanked(text, [(span.start, span.end) for span in found]))
        pieces, done = [], 0
        for start, end, value in sorted(new):
            if start < done:
                continue
            pieces += [reading.raw[reading.place(done) : reading.place(start)], reading.written(start, value)]
            done = end
        return "".join([*pieces, reading.raw[reading.place(done) :]])


def _fits(span: Span, text: str, new: str) -> bool:
    """Whether it would be taken for the same type, there and written without signs, as the original is."""
    value = text[span.start : span.end]
    before, behind = text[max(0, span.start - _BEFORE) : span.start], text[span.end : span.end + _BEHIND]
    written = dressed(span.type, new, value)
    if span.type == "phone" and len(new) >= 13 and luhn(new) == 0:
        return False
    return read_spans(before + written + behind) == read_spans(before + value + behind)


def _texts(values: Sequence[Any]) -> Iterator[str]:
    waiting = list(reversed(values))
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += [part for pair in reversed(value.items()) for part in reversed(pair)]
        elif isinstance(value, list | tuple):
            waiting += reversed(value)
        elif _is_long(value):
            yield str(value)


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _AS_NUMBER


def _rebuilt(value: Any, new: Mapping[str, str]) -> Any:
    """Not by recursion: JSON may be nested deeper than Python's stack."""
    top: list[Any] = [None]
    waiting: list[tuple[Any, Any, Any]] = [(top, 0, value)]
    while waiting:
        into, at, old = waiting.pop()
        if isinstance(old, str):
            into[at] = new[old]
        elif isinstance(old, dict):
            into[at] = copy = {new.get(key, key): None for key in old}
            waiting += [(copy, new.get(key, key), part) for key, part in old.items()]
        elif isinstance(old, list | tuple):
            into[at] = items = [None] * len(old)
            waiting += [(items, i, part) for i, part in enumerate(old)]
        else:
            into[at] = int(new[str(old)]) if _is_long(old) else old
    return top[0]
