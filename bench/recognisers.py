"""Who takes part in `bench.recognise`. What needs packages of the `bench` extra is in a file of its own."""

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from bench.scoring import CATCH_ALL
from compiler.recognition.mine import Miner, sample_of
from compiler.recognition.recognise import Recogniser as Index
from compiler.recognition.structure import CHAT, structure_key, texts_of


class Recogniser(Protocol):
    name: str

    def learn(self, requests: Sequence[Mapping[str, Any]]) -> None: ...

    def assign(self, request: Mapping[str, Any]) -> str | None:
        """The id of its task, `bench.scoring.CATCH_ALL`, or None: not recognised."""


class Cuecard:
    """Ours, as the learner mines and the request path matches."""

    name = "Cuecard"

    def __init__(self) -> None:
        self._index = Index()

    def learn(self, requests: Sequence[Mapping[str, Any]]) -> None:
        miner = Miner()
        for request in requests:
            if (sample := sample_of("", structure_key("", CHAT, request), request)) is not None:
                miner.add(sample)
                miner.keep_up()
        miner.mine()
        self._index = Index(miner.templates)

    def assign(self, request: Mapping[str, Any]) -> str | None:
        texts = texts_of(request["messages"])
        found = self._index.match(structure_key("", CHAT, request), texts) if texts else None
        if found is None:
            return None
        return CATCH_ALL if found.template.catch_all else found.task_id


class SystemHash:
    """What many gateways group by: the system prompt, to the letter. Requests without one have no id."""

    name = "hash(system prompt)"

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def learn(self, requests: Sequence[Mapping[str, Any]]) -> None:
        self._seen = {digest for request in requests if (digest := self._digest(request))}

    def assign(self, request: Mapping[str, Any]) -> str | None:
        digest = self._digest(request)
        return digest if digest in self._seen else None

    def _digest(self, request: Mapping[str, Any]) -> str | None:
        told = [m for m in request["messages"] if m["role"] in ("system", "developer")]
        return hashlib.sha256("\n".join(texts_of(told) or ()).encode()).hexdigest() if told else None


def shape_of(request: Mapping[str, Any]) -> str:
    """For recognisers that only know texts: they need not tell models, roles or tools apart."""
    return structure_key("", "chat", request)


def text_of(request: Mapping[str, Any]) -> str:
    return "\n\n".join(texts_of(request["messages"]) or ())


@dataclass(frozen=True)
class Entry:
    """`where` is `module:class`, imported when its turn comes. A slow one learns and scores less of each type."""

    name: str
    where: str
    per_type: int | None = None
    seeds: int | None = None

    def load(self) -> Callable[[], Recogniser]:
        """ImportError where its packages are not installed."""
        module, name = self.where.split(":")
        return cast(Callable[[], Recogniser], getattr(importlib.import_module(module), name))


ENTRIES = (
    Entry("cuecard", "bench.recognisers:Cuecard"),
    Entry("system", "bench.recognisers:SystemHash"),
    Entry("drain3", "bench.drain:Drain"),
    Entry("embedding", "bench.embedding:Embedding", per_type=40, seeds=1),
)
