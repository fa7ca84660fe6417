"""A message's text as it was made: what all requests of a type share, and what each fills in."""

import re
from collections.abc import Callable
from dataclasses import dataclass

SLOT = re.compile(r"\{([a-z][a-z0-9_]*(?:#\d)?)\}")


@dataclass(frozen=True)
class Literal:
    text: str


@dataclass(frozen=True)
class Variable:
    text: str


Text = tuple[Literal | Variable, ...]


def fill(template: str, value: Callable[[str], str]) -> Text:
    """`{name}` is a slot; braces around anything else stay as they are, so that prompts may show JSON."""
    pieces = SLOT.split(template)
    found = [Variable(value(piece)) if odd % 2 else Literal(piece) for odd, piece in enumerate(pieces)]
    return tuple(segment for segment in found if segment.text)


def joined(text: Text) -> str:
    return "".join(segment.text for segment in text)
