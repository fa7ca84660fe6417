"""What a task compiles to, and how a request is rewritten with it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from compiler.example import Example
from compiler.families import Family, translate
from compiler.frame import Frame

INSTRUCTION_ROLES = ("system", "developer")


@dataclass(frozen=True)
class Prompt:
    """One call: a system prompt, if there is one, demonstrations as chat turns, then the request's own input. Static
    text first, so that a provider's prompt cache hits.

    `frame`: the prompt says what the literals of the app's message say, so that only its data is sent.
    """

    system: str
    demonstrations: tuple[Example, ...] = ()
    frame: Frame | None = None

    def opening(self) -> list[dict[str, Any]]:
        """Made once, for every request to use: not to be changed."""
        return self._opening

    @cached_property
    def _opening(self) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = [{"role": "system", "content": self.system}] if self.system else []
        for shown in self.demonstrations:
            turns += [{"role": "user", "content": shown.input}, {"role": "assistant", "content": shown.expected}]
        return turns

    def messages(self, text: str) -> list[dict[str, Any]]:
        return [*self.opening(), {"role": "user", "content": self.content(text)}]

    def content(self, text: str) -> str:
        """What stands for the user's message."""
        return self.frame.content(text) if self.frame else text

    def shows(self, text: str) -> bool:
        """Whether it is one of the demonstrations, which are known by heart."""
        return self.content(text) in {shown.input for shown in self.demonstrations}

    def to_json(self) -> dict[str, Any]:
        shown = [{"input": d.input, "expected": d.expected} for d in self.demonstrations]
        frame = self.frame.to_json() if self.frame else None
        return {"kind": "prompt", "system": self.system, "demonstrations": shown, "frame": frame}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        frame = Frame.from_json(found) if (found := data.get("frame")) else None
        return cls(data["system"], tuple(Example(**d) for d in data["demonstrations"]), frame)


def rewrite(
    body: Mapping[str, Any], prompt: Prompt, model: str, family: Family, *, replaces: str | None = None
) -> dict[str, Any]:
    """The request, carried out by `model` under `prompt`.

    The app's own instructions are dropped only where they are, to the letter, the text the prompt was compiled from
    (`replaces`); any other instruction stays behind the prompt's, so that nothing the app says is lost.
    """
    messages: Sequence[Mapping[str, Any]] = body["messages"]
    first = int(bool(prompt.system))
    opening = prompt.opening()
    own = [m for m in messages if m.get("role") in INSTRUCTION_ROLES and m.get("content") != replaces]
    rest = [_framed(m, prompt) for m in messages if m.get("role") not in INSTRUCTION_ROLES]
    out = {**body, "model": model, "messages": [*opening[:first], *own, *opening[first:], *rest]}
    return translate(out, family)


def _framed(message: Mapping[str, Any], prompt: Prompt) -> Mapping[str, Any]:
    content = message.get("content")
    return {**message, "content": prompt.content(content)} if prompt.frame and isinstance(content, str) else message
