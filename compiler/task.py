"""What a task is. Pure data: no I/O, no models."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Self

from compiler.frame import Frame

Kind = Literal["label", "json", "tool_call", "code", "text"]
Trust = Literal["declared", "proven"]
Mode = Literal["observe", "manual", "auto"]

NAME_FORM = "lower-case letters, digits, `.`, `_`, `-`, at most 64"
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Contract:
    """What every answer to a task looks like; checked on each compiled answer before its first byte leaves.

    `labels` belongs to kind `label` (the answer is exactly one of them), `keys` to kind `json`
    (the answer is an object with at least these keys).
    """

    kind: Kind = "text"
    labels: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    name: str
    description: str
    system: str | None = None  # the system prompt the app sends today, if it sends one
    incumbent: str | None = None  # the model the app uses today
    examples: str | None = None  # path of a JSONL file
    trust: Trust = "proven"
    mode: Mode | None = None
    tenant: str | None = None  # None: every tenant may use it
    contract: Contract | None = None  # None: read off the examples
    recognised: bool = False  # in the traffic: its input is the user's whole message, and `description` its template
    frame: Frame | None = None  # of a recognised task: where the data stands in that message

    @property
    def instructions(self) -> str:
        """The text that defines the task when nothing is compiled: the app's own prompt, else the description, unless
        that is in every input anyway."""
        return self.system or ("" if self.recognised else self.description)

    @property
    def wording(self) -> str:
        """All that the app says of it, for who writes a prompt: with `{name}` where data goes."""
        said = self.frame.instructions if self.frame else self.description
        return said if self.system is None else f"{self.system}\n\n{said}"

    @property
    def own_words(self) -> str:
        """What of the app's words a card's prompt stands for."""
        return self.wording if self.frame else self.instructions

    def content(self, text: str) -> str:
        """What of an input a card's prompt is sent."""
        return self.frame.content(text) if self.frame else text

    def definition(self) -> str:
        """Hash of what a card depends on: a card compiled for another definition is never served."""
        return self._definition

    @cached_property
    def _definition(self) -> str:
        """Worked out once: every request of a task asks for it."""
        parts = [self.name, self.description, self.system, asdict(self.contract) if self.contract else None]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        fields = dict(data)
        if contract := fields.get("contract"):
            fields["contract"] = contract_from_json(contract)
        if frame := fields.get("frame"):
            fields["frame"] = Frame.from_json(frame)
        return cls(**fields)


def of_variant(name: str) -> str:
    """The recognised task that a variant of enumerated values (`name~1a2b`) is of; any other name is its own."""
    return name.partition("~")[0]


def contract_from_json(data: dict[str, Any]) -> Contract:
    return Contract(data["kind"], tuple(data.get("labels", ())), tuple(data.get("keys", ())))
