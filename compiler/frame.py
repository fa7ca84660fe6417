"""Where the data of a recognised task stands in its user message, so that a card can be given the data alone. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

NAMED_BEFORE = re.compile(r"([^\W\d_][\w-]{1,30})[\"'*`]{0,3}\s*[:=>]\s*[\"'`<*\[(]{0,3}\s*$")


@dataclass(frozen=True)
class Frame:
    """`literals` stand around and between the slots, and are one more than `names`."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, literals: Sequence[str]) -> Self:
        """With a name for each slot: the word before it where that introduces it ("Subject: …"), else a number."""
        names: list[str] = []
        for number, before in enumerate(literals[:-1], 1):
            found = NAMED_BEFORE.search(before)
            name = found[1].lower() if found else "text" if len(literals) == 2 else f"text{number}"
            names.append(name if name not in names else f"{name}{number}")
        return cls(tuple(literals), tuple(names))

    @property
    def instructions(self) -> str:
        """The literals, with `{name}` where data goes."""
        slots = [*(f"{{{name}}}" for name in self.names), ""]
        return "".join(literal + slot for literal, slot in zip(self.literals, slots, strict=True))

    def values(self, text: str) -> list[str] | None:
        """What stands in the slots. None where the text is not of this form, or can be read in two ways: data that
        holds a literal must not move into another slot."""
        first, *between, last = self.literals
        at, end = len(first), len(text) - len(last)
        if end < at or not text.startswith(first) or not text.endswith(last):
            return None
        found = []
        for literal in between:
            place = text.find(literal, at, end)
            if place < 0 or text.find(literal, place + 1, end) >= 0:
                return None
            found.append(text[at:place])
            at = place + len(literal)
        return [*found, text[at:end]]

    def content(self, text: str) -> str:
        """The message of a compiled prompt: the one value, or each between tags of its name; the text itself where it
        can't be taken apart."""
        values = self.values(text)
        if values is None:
            return text
        if len(values) == 1:
            return values[0]
        return "\n".join(f"<{name}>\n{value}\n</{name}>" for name, value in zip(self.names, values, strict=True))

    def to_json(self) -> dict[str, Any]:
        return {"literals": self.literals, "names": self.names}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(tuple(data["literals"]), tuple(data["names"]))
