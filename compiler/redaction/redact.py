"""Captured text before it touches the disk: what is personal or secret in it gives way to surrogates of the same shape.

One map for all texts of an example, so "the e-mail in the document is X" stays true. Names and addresses of people are
not found: nothing here knows a name from another word. Full-width, Arabic-Indic and Devanagari digits count as digits.
"""

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from compiler.redaction.known import Known, other_forms
from compiler.redaction.numbers import luhn
from compiler.redaction.reading import Reading
from compiler.redaction.spans import REDACTED, TYPES, Span, blanked, read_spans, sensitive, spans
from compiler.redaction.surrogate import canonical, dressed, kept_of_phone, surrogate

__all__ = ["REDACTED", "TYPES", "Redactor", "Span", "redact", "redact_values", "spans"]

_TRIES = 50
_BEFORE, _BEHIND = 40, 24  # what of a text around a value can decide of which type it is
_APART = "\n\0\n"
_AS_NUMBER = 1_000  # whole numbers from here on may be a card, a phone, a PIN
_NAMED = 256  # characters of the longest value that its key is read with


_Key = tuple[str, str]  # type and canonical value


def redact(texts: Sequence[str]) -> list[str]:
    """All texts of one example: a value found in any of them is replaced in all."""
    return Redactor().texts(texts)


def redact_values(values: Sequence[Any], redactor: "Redactor | None" = None) -> list[Any]:
    """The same for all strings inside JSON values, keys and long whole numbers too; a key tells what its value is. The
    values given are not changed. `redactor`: for an example that goes on."""
    texts = list(dict.fromkeys(_texts(values)))
    new = dict(zip(texts, (redactor or Redactor()).texts([*texts, "\n".join(_named(values))]), strict=False))
    return [_rebuilt(value, new) for value in values]


@dataclass(frozen=True)
class _Found:
    """What is to be replaced in a text."""

    text: str
    spans: list[Span]

    def value(self, span: Span) -> str:
        return self.text[span.start : span.end]

    def key(self, span: Span) -> _Key:
        return span.type, canonical(span.type, self.value(span))

    def dressed(self, new: Mapping[_Key, str]) -> Iterator[tuple[int, int, str]]:
        for span in self.spans:
            if (chosen := new.get(self.key(span))) is not None:
                yield span.start, span.end, dressed(span.type, chosen, self.value(span))

    def replaced(self, new: Mapping[_Key, str]) -> str:
        """By what is known so far; of the same length."""
        pieces, done = [], 0
        for start, end, value in self.dressed(new):
            pieces += [self.text[done:start], value]
            done = end
        return "".join([*pieces, self.text[done:]])


class Redactor:
    """The map of one example, and its draw. What `text` has given out can't be mended when a later text shows that a
    word in it was a password: `texts` looks at all of them first."""

    def __init__(self, random: Random | None = None) -> None:
        """`random`: for one that is to draw the same for the same text again; else seeded by the system."""
        self._random = random or Random()
        self._new: dict[tuple[str, str], str] = {}
        self._domains: dict[str, str] = {}
        self._taken: set[str] = set()
        self._known = Known()

    @property
    def changed(self) -> bool:
        """Whether anything had to be replaced so far."""
        return bool(self._new)

    def text(self, text: str) -> str:
        return self.texts([text])[0]

    def texts(self, texts: Sequence[str]) -> list[str]:
        readings = [Reading(text) for text in texts]
        found = [_Found(reading.text, sensitive(reading.text)) for reading in readings]
        self._learn(found)
        return [self._rewritten(*one) for one in zip(readings, found, strict=True)]

    def _learn(self, found: Sequence[_Found]) -> None:
        """A phone number in another form than one before follows that one, so it waits for it."""
        unknown: dict[_Key, tuple[_Found, Span]] = {}
        for of_it in found:
            for span in of_it.spans:
                if (key := of_it.key(span)) not in self._new:
                    unknown.setdefault(key, (of_it, span))
        self._taken.update(value for _, value in unknown)
        later = other_forms([value for kind, value in unknown if kind == "phone"])
        for waits in (False, True):
            batch = {key: where for key, where in unknown.items() if (key[0] == "phone" and key[1] in later) == waits}
            made = self._made(batch)
            self._new |= made
            for (kind, old), new in made.items():
                self._known.add(kind, old, new)

    def _made(self, batch: Mapping[_Key, tuple[_Found, Span]]) -> dict[_Key, str]:
        """Surrogates that are taken for the same type where the original first stands: drawn again until they are."""
        made: dict[_Key, str] = {}
        left = list(batch)
        for attempt in range(_TRIES):
            for key in left:
                value = batch[key][0].value(batch[key][1])
                form = self._known.phone(key[1], kept_of_phone(value)) if key[0] == "phone" and not attempt else None
                made[key] = form or self._drawn(key, value)
            places = [batch[key] for key in left]
            texts = {id(of_it): of_it for of_it, _ in places}
            new = {key: of_it.replaced(ChainMap(made, self._new)) for key, of_it in texts.items()}
            left = [left[i] for i in _misfits([(of_it.text, new[id(of_it)], span) for of_it, span in places])]
            if not left:
                break
        return made

    def _drawn(self, key: _Key, value: str) -> str:
        kind, old = key
        new = old
        for _ in range(_TRIES):
            drawn = surrogate(kind, value, self._random)
            if kind == "email":
                domain = self._domains.setdefault(old.rpartition("@")[2], drawn.rpartition("@")[2])
                drawn = drawn.rpartition("@")[0] + "@" + domain
            new = drawn if drawn != old else new
            if new not in self._taken and not (kind == "phone" and len(new) > 12 and luhn(new) == 0):
                break  # a long phone number is not to be taken for a card where its digits stand alone
        self._taken.add(new)
        return new

    def _rewritten(self, reading: Reading, found: _Found) -> str:
        new = [*found.dressed(self._new)]
        new += self._known.find(blanked(found.text, [(span.start, span.end) for span in found.spans]))
        pieces, done = [], 0
        for start, end, value in sorted(new):
            if start >= done:
                pieces += [reading.raw[reading.place(done) : reading.place(start)], reading.written(start, value)]
                done = end
        return "".join([*pieces, reading.raw[reading.place(done) :]])


def _misfits(places: Sequence[tuple[str, str, Span]]) -> list[int]:
    """Where the new text is not of the type that the old one is. All at once: a scan has a price of its own."""
    old, new, own, length = [], [], [], 0
    for before, after, span in places:
        first = max(0, span.start - _BEFORE)
        around = slice(first, span.end + _BEHIND)
        old.append(before[around] + _APART)
        new.append(after[around] + _APART)
        own.append(Span(span.start - first + length, span.end - first + length, span.type))
        length += len(old[-1])
    lost = set(read_spans("".join(old))) - set(read_spans("".join(new)))
    return [i for i, span in enumerate(own) if span in lost]


def _walk(values: Sequence[Any]) -> Iterator[Any]:
    waiting = list(values)
    while waiting:
        yield (value := waiting.pop())
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value


def _texts(values: Sequence[Any]) -> Iterator[str]:
    return (str(value) for value in _walk(values) if isinstance(value, str) or _is_long(value))


def _named(values: Sequence[Any]) -> Iterator[str]:
    for value in _walk(values):
        for key, part in value.items() if isinstance(value, dict) else ():
            if (isinstance(part, str) and len(part) <= _NAMED and "\n" not in part) or _is_long(part):
                yield f'{key}: "{part}"'


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
