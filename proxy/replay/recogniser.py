"""What a replay wants of whoever recognises tasks; `proxy.replay.mining` does."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class Match(NamedTuple):
    """`template_text`: the task's messages with `{slots}` where data goes. `catch_all`: recognised, never compiled.
    `variant`: the task with the values of its enumerated slots, which is compiled by itself."""

    id: str
    name: str
    template_text: str
    catch_all: bool = False
    variant: str = ""


class Recogniser(Protocol):
    """Shown every request first, asked about each of them then."""

    def add(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> None: ...

    def finish(self) -> None: ...

    def match(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> Match | None: ...
