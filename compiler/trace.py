"""What one run of a plan did: each node with what it was given, and each call with what it took. Filled as it runs, so
that a run which fails or is cancelled leaves its trace too. JSON both ways."""

from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from compiler.errors import CompilerError, ModelFailed
from compiler.json_text import written
from compiler.pricing import Usage
from compiler.references import GAP

TEXT_CHARS = 4_000  # kept of a text

State = Literal["waiting", "running", "done", "failed", "late"]
"""late: it was cancelled, for its run went on or ended without it."""


@dataclass(frozen=True)
class Passed:
    """An input as a node was given it: `chars` is its true size, `text` its beginning. Not `available`: a node that
    failed stands there."""

    name: str
    chars: int
    text: str
    available: bool = True

    @classmethod
    def of(cls, name: str, value: Any) -> Self:
        text = GAP.value if value is GAP else written(value)
        return cls(name, len(text), text[:TEXT_CHARS], value is not GAP)


@dataclass
class Called:
    """One call: `try_` 1 or 2, `item` its place in a mapped list, `began` seconds after the run did. `usd` is None as
    long as nobody told what it cost; `most_usd` is what was set aside for it. `error`: why its answer was not used."""

    expert: str
    try_: int = 1
    item: int | None = None
    began: float = 0.0
    seconds: float = 0.0
    most_usd: float = 0.0
    usd: float | None = None
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = ""
    text: str = ""
    error: str = "nobody waited for its answer"


@dataclass
class Noted:
    """A node, the synthesis, or the one strong call (`id` "strong"). Times in seconds after the run began."""

    id: str
    expert: str
    state: State = "waiting"
    inputs: list[Passed] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0
    chars: int = 0
    text: str = ""
    error: str = ""

    def given(self, values: Mapping[str, Any], now: float) -> None:
        self.state, self.began = "running", now
        self.inputs = [Passed.of(name, value) for name, value in values.items()]

    def done(self, value: Any, now: float) -> None:
        text = written(value)
        self.state, self.ended, self.chars, self.text = "done", now, len(text), text[:TEXT_CHARS]

    def failed(self, error: str, now: float, state: State = "failed") -> None:
        self.state, self.ended, self.error = state, now, error

    @contextmanager
    def ending(self, clock: Callable[[], float]) -> Iterator[None]:
        """Notes how it ended where it did not succeed. What took too long (TimeoutError) raises ModelFailed."""
        try:
            yield
        except TimeoutError:
            self.failed("it took too long", clock())
            raise ModelFailed("it took too long") from None
        except CompilerError as error:
            self.failed(str(error), clock())
            raise
        except CancelledError:
            self.failed("nobody waited for it", clock(), "late")
            raise

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        inputs = [Passed(**one) for one in data["inputs"]]
        calls = [Called(**{**one, "usage": Usage(*one["usage"])}) for one in data["calls"]]
        return cls(**{**data, "inputs": inputs, "calls": calls})


@dataclass
class Trace:
    """`reason`: why the plan did not answer; "" where it did or its run is not over."""

    nodes: dict[str, Noted] = field(default_factory=dict)
    synthesis: Noted | None = None
    strong: Noted | None = None
    reason: str = ""
    seconds: float = 0.0

    def calls(self) -> Iterator[Called]:
        """All, the strong one last."""
        for noted in (*self.nodes.values(), self.synthesis, self.strong):
            if noted:
                yield from noted.calls

    @property
    def retries(self) -> int:
        return sum(call.try_ > 1 for call in self.calls())

    @property
    def usd(self) -> float:
        """What is known to be spent, and the most that calls of unknown cost may have taken."""
        return sum(call.most_usd if call.usd is None else call.usd for call in self.calls())

    @property
    def tokens(self) -> tuple[int, int]:
        """Read, written."""
        usages = [call.usage for call in self.calls()]
        return sum(usage.input for usage in usages), sum(usage.output for usage in usages)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        synthesis, strong = (
            Noted.from_json(found) if (found := data[name]) else None for name in ("synthesis", "strong")
        )
        nodes = {id: Noted.from_json(noted) for id, noted in data["nodes"].items()}
        return cls(nodes, synthesis, strong, data["reason"], data["seconds"])
