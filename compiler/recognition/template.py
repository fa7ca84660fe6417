"""A template: the literal texts of a task's messages, and the slots between them where data goes. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple, Self

from compiler.recognition.wording import instructing
from compiler.redaction.spans import TYPES

SHORT = 400  # characters: the sentences of a longer value are not counted
SENTENCE_ENDS = (". ", "? ", "! ", ".\n", "。", "？", "！")
PLAIN = ("id", "tenant", "structure", "roles", "catch_all", "seen", "model")
TRIES = 4  # places where a literal may stand, should the data before it contain it


class Slot(NamedTuple):
    """Where data goes, and what was seen there: a type of `compiler.redaction.spans`, or any text within these bounds.

    `words` are the instructing words that its data was seen to have; a value with another one is not this slot's.
    """

    kind: str = "text"
    longest: int = 0  # characters
    shortest: int = 0
    lines: bool = False  # a value may have several
    sentences: int = -1  # at most so many ends of sentences with something behind them; -1: any number
    words: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()  # of kind `enumerated`: those that were seen, each a task of its own

    def takes(self, text: str, at: int = 0, end: int | None = None) -> bool:
        """Whether `text[at:end]` is a value of this slot; a long one is not copied for that."""
        end = len(text) if end is None else end
        size = end - at
        if self.kind == "enumerated":
            return size <= self.longest and text[at:end] in self.values
        if self.kind != "text":
            return size <= SHORT and (0, size) in TYPES[self.kind](text[at:end])
        if not self.shortest <= size <= self.longest or (not self.lines and text.find("\n", at, end) >= 0):
            return False
        if self.sentences >= 0 and sentence_ends(text[at:end]) > self.sentences:
            return False
        return instructing(text, at, end) <= self.words

    def to_json(self) -> list[Any]:
        return [*self[:5], sorted(self.words), sorted(self.values)]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Self:
        kind, longest, shortest, lines, sentences, words, values = data
        return cls(kind, longest, shortest, lines, sentences, frozenset(words), frozenset(values))


def sentence_ends(value: str) -> int:
    return sum(value.count(end) for end in SENTENCE_ENDS)


@dataclass(frozen=True)
class Pattern:
    """One message: `literals` stand around and between `slots`, and are one more."""

    literals: tuple[str, ...]
    slots: tuple[Slot, ...] = ()

    @property
    def constant(self) -> bool:
        return not self.slots

    def values(self, text: str) -> list[str] | None:
        """What stands in the slots, if the text is one of this pattern's."""
        places = self.places(text)
        return None if places is None else [text[at:end] for at, end in places]

    def places(self, text: str) -> list[tuple[int, int]] | None:
        """Where the slots' values begin and end."""
        first, last = self.literals[0], self.literals[-1]
        if not self.slots:
            return [] if text == first else None
        at, end = len(first), len(text) - len(last)
        if end < at or not text.startswith(first) or not text.endswith(last):
            return None
        found = []
        for slot, literal in zip(self.slots[:-1], self.literals[1:-1], strict=True):
            place = self._place(text, slot, literal, at, end)
            if place < 0:
                return None
            found.append((at, place))
            at = place + len(literal)
        found.append((at, end))
        return found if self.slots[-1].takes(text, at, end) else None

    def has_literals(self, text: str) -> bool:
        """Whether the literals stand in the text as they should, whatever is between them."""
        first, last = self.literals[0], self.literals[-1]
        if not self.slots:
            return text == first
        at, end = len(first), len(text) - len(last)
        for literal in self.literals[1:-1]:
            place = text.find(literal, at, end)
            if place < 0:
                return False
            at = place + len(literal)
        return at <= end and text.startswith(first) and text.endswith(last)

    @staticmethod
    def _place(text: str, slot: Slot, literal: str, at: int, end: int) -> int:
        """Where the literal after a slot stands: the first place that leaves the slot a value of its own."""
        place = at - 1
        for _ in range(TRIES):
            place = text.find(literal, place + 1, end)
            if place < 0 or slot.takes(text, at, place):
                return place
        return -1


Places = list[tuple[int, int]]


def values_at(texts: Sequence[str], places: Sequence[Places]) -> list[str]:
    return [text[at:end] for text, its in zip(texts, places, strict=True) for at, end in its]


@dataclass(frozen=True)
class Template:
    """`choices`: values of several enumerated slots that never came together make no task that is known.

    `catch_all`: free text under instructions that say too little, or that others share: recognised, never compiled.

    `structure` is its requests' `structure_key`; `id` stays when bounds widen or a literal becomes a slot.
    """

    id: str
    tenant: str
    structure: str
    roles: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    catch_all: bool = False
    seen: int = 0  # requests it was learned from
    choices: frozenset[str] = frozenset()  # of its enumerated slots' values, as in `task_id`: those that were seen
    model: str = ""

    def values(self, texts: Sequence[str]) -> list[str] | None:
        places = self.places(texts)
        return None if places is None else values_at(texts, places)

    def places(self, texts: Sequence[str]) -> list[Places] | None:
        """Where the slots' values begin and end, for each message; None where the texts are not this template's."""
        found = []
        for pattern, text in zip(self.patterns, texts, strict=True):
            places = pattern.places(text)
            if places is None:
                return None
            found.append(places)
        if self._enumerated and self.choices and self.choice(values_at(texts, found)) not in self.choices:
            return None
        return found

    def has_literals(self, texts: Sequence[str]) -> bool:
        return all(pattern.has_literals(text) for pattern, text in zip(self.patterns, texts, strict=True))

    @cached_property
    def literal_size(self) -> int:
        """Characters that every one of its requests has: of two templates, the one with more is the closer."""
        return sum(len(literal) for pattern in self.patterns for literal in pattern.literals)

    @property
    def signature(self) -> str:
        return signature(self.structure, self.patterns)

    @cached_property
    def _enumerated(self) -> tuple[int, ...]:
        slots = [slot for pattern in self.patterns for slot in pattern.slots]
        return tuple(number for number, slot in enumerate(slots) if slot.kind == "enumerated")

    @property
    def is_enumerated(self) -> bool:
        return bool(self._enumerated)

    def task_id(self, values: Sequence[str]) -> str:
        """Its own id, or with enumerated slots one for each choice of their values."""
        return f"{self.id}-{self.choice(values)}" if self._enumerated else self.id

    def choice(self, values: Sequence[str]) -> str:
        """A digest of what its enumerated slots have here; "" without any."""
        if not self._enumerated:
            return ""
        chosen = "\0".join(values[number] for number in self._enumerated)
        return blake2b(chosen.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()

    def chosen(self, texts: Sequence[str]) -> dict[str, str]:
        """What its enumerated slots have in these texts, by their names in `shown`."""
        values = self.values(texts) or []
        return {f"{{enumerated{number + 1}}}": values[number] for number in self._enumerated if number < len(values)}

    @property
    def variants(self) -> int:
        """Choices of its enumerated slots' values; each is a task of its own until a person merges them."""
        return max(1, len(self.choices))

    def shown(self) -> str:
        """For people: the messages with `{slots}`."""
        lines = []
        number = 0
        for role, pattern in zip(self.roles, self.patterns, strict=True):
            text = pattern.literals[0]
            for slot, literal in zip(pattern.slots, pattern.literals[1:], strict=True):
                number += 1
                text += f"{{{slot.kind}{number}}}{literal}"
            lines.append(f"{role}: {text}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in PLAIN},
            "choices": sorted(self.choices),
            "patterns": [[list(p.literals), [slot.to_json() for slot in p.slots]] for p in self.patterns],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        patterns = tuple(Pattern(tuple(ls), tuple(map(Slot.from_json, slots))) for ls, slots in data["patterns"])
        choices = frozenset(data.get("choices", ()))
        return cls(**{**data, "roles": tuple(data["roles"]), "patterns": patterns, "choices": choices})


def signature(structure: str, patterns: Sequence[Pattern]) -> str:
    """Of the literals and the slots' types, not of their bounds."""
    digest = blake2b(structure.encode(), digest_size=5)
    for pattern in patterns:
        for literal in pattern.literals:
            digest.update(b"\0" + literal.encode("utf-8", "surrogatepass"))
        digest.update(b"\1" + ",".join(slot.kind for slot in pattern.slots).encode())
    return digest.hexdigest()
