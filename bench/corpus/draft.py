"""One request while it is still known which of its words belong to the task and which are data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.corpus.text import Text, joined

Part = Literal["main", "adversarial"]
Split = Literal["learn", "score"]
Request = Mapping[str, Any]


@dataclass(frozen=True)
class Turn:
    role: str
    texts: Sequence[Text]
    listed: bool = False  # the content is a list of text parts, not a string

    def to_message(self) -> dict[str, Any]:
        if not self.listed:
            return {"role": self.role, "content": joined(self.texts[0])}
        return {"role": self.role, "content": [{"type": "text", "text": joined(text)} for text in self.texts]}


@dataclass(frozen=True)
class Draft:
    turns: Sequence[Turn]
    members: Mapping[str, Any] = field(default_factory=dict)  # of the body, beside the messages

    def request(self) -> Request:
        return {**self.members, "messages": [turn.to_message() for turn in self.turns]}


@dataclass(frozen=True)
class Labelled:
    """A request and the type it belongs to. No `draft`: it came from a file, nobody knows its literals."""

    type: str
    request: Request
    part: Part = "main"
    split: Split | None = None
    draft: Draft | None = None
