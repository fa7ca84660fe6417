"""Which models do what, and how far a compile may go: what a person chooses. Needs no client library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from compiler.endpoint import Endpoint, Endpoints
from compiler.families import Family


@dataclass(frozen=True)
class Models:
    """Who does what, and where: `production` cheapest first. Names may carry an upstream's prefix (`name/model`)."""

    meta: str
    production: tuple[str, ...]
    endpoints: Endpoints
    judge: str | None = None
    prices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    families: Mapping[str, Family] = field(default_factory=dict)
    flex: frozenset[str] = frozenset()  # may be asked at their slow and cheap tier where nobody waits

    @classmethod
    def openai(
        cls, *, meta: str, production: Sequence[str], api_key: str, base_url: str = "https://api.openai.com/v1"
    ) -> Self:
        endpoint = Endpoint("openai", base_url.rstrip("/"), api_key)
        return cls(meta, tuple(production), Endpoints({"openai": endpoint}))


@dataclass(frozen=True)
class Options:
    """`concurrency`: scoring calls in flight at once; the meta model is asked one thing at a time.

    `meta_calls` of a compile, and `calls` of each production model and of the judge beside it, are never passed. A
    prompt that loses no more than half of `margin` (or `margin_text`) on the examples is left as it is.
    """

    min_examples: int = 40
    max_usd: float = 2.0
    max_minutes: float = 10.0
    concurrency: int = 8
    meta_calls: int = 8
    calls: int = 200
    margin: float = 0.02
    margin_text: float = 0.05
