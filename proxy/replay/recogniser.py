"""Recognising the tasks in a log: shown every request first, asked about each of them then, as the server would."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from compiler.mine import Miner, sample_of
from compiler.naming import name_of
from compiler.recognise import Recogniser as Index
from compiler.structure import structure_key, texts_of


class Match(NamedTuple):
    """`template_text`: the task's messages with `{slots}` where data goes. `catch_all`: recognised, never compiled."""

    id: str
    name: str
    template_text: str
    catch_all: bool = False


class Recogniser(Protocol):
    def add(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> None: ...

    def finish(self) -> None: ...

    def match(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> Match | None: ...


class Mining:
    def __init__(self) -> None:
        self._miner = Miner()
        self._index = Index()
        self._names: dict[str, str] = {}

    def add(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> None:
        if (sample := sample_of(tenant, structure_key(tenant, endpoint, body), body)) is not None:
            self._miner.add(sample)
            self._miner.keep_up()

    def finish(self) -> None:
        self._miner.mine()
        self._index = Index(self._miner.templates)
        for template in self._miner.templates:
            self._names[template.id] = name_of(template, set(self._names.values()))

    def match(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> Match | None:
        texts = texts_of(body.get("messages"))
        found = self._index.match(structure_key(tenant, endpoint, body), texts) if texts is not None else None
        if found is None:
            return None
        template = found.template
        return Match(template.id, self._names[template.id], template.shown(), template.catch_all)
