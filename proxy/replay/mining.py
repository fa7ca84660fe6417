"""Tasks told apart as the proxy does it: mined from a log's requests, then recognised as on the request path."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from compiler.recognition.catalogue import Recognition, by_template, with_new
from compiler.recognition.mine import PER_TEMPLATE, Miner, sample_of
from compiler.recognition.recognise import Recogniser
from compiler.recognition.structure import structure_key, texts_of
from compiler.recognition.template import Template
from proxy.replay.recogniser import Match

UNKNOWN_AT_MOST = 1_000  # requests that no template is known of yet, before they are looked at
ONE_IN = 20  # of a template that the miner has enough of, one in so many is looked at
FREE_CHAT = "free chat"


class Mining:
    """Memory is bounded by the miner, which keeps some requests of each template, however long the log."""

    def __init__(self) -> None:
        self._miner = Miner()
        self._known = Recogniser()
        self._seen: Counter[str] = Counter()  # by template
        self._unknown, self._patience = 0, UNKNOWN_AT_MOST
        self.recognition = Recognition()

    def add(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> None:
        sample = sample_of(tenant, structure_key(tenant, endpoint, body), body)
        if sample is None:
            return
        if match := self._known.match(sample.structure, sample.texts):
            self._seen[match.template.id] += 1
            seen = self._seen[match.template.id]
            if seen > PER_TEMPLATE and seen % ONE_IN:
                return
        self._miner.add(sample)
        self._unknown += match is None
        if self._unknown >= self._patience:
            self._mine()

    def _mine(self) -> None:
        """What stays unknown is looked at less and less often: each look takes in all that is kept."""
        changed = self._miner.mine()
        self._patience = UNKNOWN_AT_MOST if changed else 2 * self._patience
        self._unknown = 0
        self._known = Recogniser(self._miner.templates)

    def finish(self) -> None:
        self._miner.mine()
        templates = self._miner.templates
        self.recognition = Recognition(1, Recogniser(templates), by_template(with_new({}, templates)))
        self._miner.forget()

    def template(self, id_: str) -> Template:
        """By the id of a match."""
        return next(template for template in self._miner.templates if template.id == id_)

    def match(self, tenant: str, endpoint: str, body: Mapping[str, Any]) -> Match | None:
        texts = texts_of(body.get("messages"))
        named = self.recognition.name(structure_key(tenant, endpoint, body), texts) if texts else None
        if named is None:
            return None
        if named.task is None:
            return Match(named.template.id, FREE_CHAT, named.template.shown(), catch_all=True)
        return Match(named.template.id, named.task.name, named.template.shown(), variant=named.variant)
