"""What a replay wants of whoever recognises tasks. The seam: `Unrecognising` stands where the miner will."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class Match(NamedTuple):
    """`template_text`: the task's messages with `{slots}` where data goes. `catch_all`: recognised, never compiled."""

    id: str
    name: str
    template_text: str
    catch_all: bool = False


class Recogniser(Protocol):
    """Shown every request first, asked about each of them then."""

    def add(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> None: ...

    def finish(self) -> None: ...

    def match(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> Match | None: ...


class Unrecognising:
    """Recognises nothing."""

    def add(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> None:
        pass

    def finish(self) -> None:
        pass

    def match(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> Match | None:
        return None
