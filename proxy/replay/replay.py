"""From logged calls to the ledger's sums: what each cost, and which of them a card could have served. Two passes: the
tasks are learned from all requests before the first is looked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from compiler.ledger import UNDECLARED, Charge, Tally
from compiler.pricing import PriceBook, Usage
from compiler.recognition.structure import CHAT
from proxy.decide import ineligible
from proxy.paths import endpoint_of
from proxy.replay.forms import Logs, Reading
from proxy.replay.kinds import Kinds
from proxy.replay.logged import LoggedCall
from proxy.replay.recogniser import Match, Recogniser
from proxy.replay.usages import Usages

NOTHING = Usage()
DAY = 86_400.0
MOST_USD = 1_000_000.0  # of one call; more is no cost in dollars


@dataclass
class Replayed:
    """`tally` as the proxy would have kept it; its tasks are named by the ids in `matches`.

    `priced_usd` and `log_usd`: the same calls by our prices and by what the log says, to compare the two.
    """

    reading: Reading = field(default_factory=Reading)
    tally: Tally = field(default_factory=Tally)
    matches: dict[str, Match] = field(default_factory=dict)
    first: float | None = None  # Unix seconds
    last: float | None = None
    priced_usd: float = 0.0
    log_usd: float = 0.0
    by_log: int = 0  # calls that only the log knows a price of
    whole: bool = False
    kinds: Kinds = field(default_factory=Kinds)  # by task

    @property
    def days(self) -> float | None:
        """From the first call to the last; None where the log has no times."""
        return (self.last - self.first) / DAY if self.first is not None and self.last is not None else None


class Added(NamedTuple):
    """A call as it was added up; `usage` and `cost` None where nobody knows them."""

    call: LoggedCall
    match: Match | None
    usage: Usage | None
    cost: float | None  # USD
    reason: str | None  # why no card could ever have served it


class Replay:
    """Interrupted in `add_up`, its `found` is of the calls so far, and not `whole`. `on_added` is told of every call
    that was answered."""

    def __init__(
        self, recogniser: Recogniser, prices: PriceBook, *, on_added: Callable[[Added], None] = lambda added: None
    ) -> None:
        self.found = Replayed()
        self._recogniser = recogniser
        self._prices = prices
        self._usages = Usages()
        self._on_added = on_added

    def learn(self, logs: Logs, advance: Callable[[int], None]) -> None:
        """Raises LogError."""
        for call in logs.calls(Reading(), advance):
            if call.endpoint == CHAT and not _failed(call):
                self._recogniser.add(call.tenant, call.endpoint, call.request)
        self._recogniser.finish()

    def add_up(self, logs: Logs, advance: Callable[[int], None]) -> None:
        """Raises LogError."""
        for call in logs.calls(self.found.reading, advance):
            self._add(call)
        self.found.whole = True

    def _add(self, call: LoggedCall) -> None:
        found = self.found
        reason = _reason(call)
        match = None
        if reason in (None, "multi_turn"):  # of a conversation whose earlier turns are always the same
            match = self._recogniser.match(call.tenant, call.endpoint, call.request)
            reason = reason if match is None else None
        if match:
            found.matches.setdefault(match.id, match)
            found.kinds.add(match.id, call.response)
        if call.time is not None:
            found.first = call.time if found.first is None else min(found.first, call.time)
            found.last = call.time if found.last is None else max(found.last, call.time)
        usage = None if _failed(call) else self._usages.of(call)
        cost = 0.0 if _failed(call) else self._cost(call, usage)
        if not _failed(call):
            self._on_added(Added(call, match, usage, cost, reason))
        found.tally.add(
            Charge(
                task=match.id if match else UNDECLARED,
                model=str((call.response or {}).get("model") or call.request.get("model") or "unknown"),
                role="serve",
                route="original",
                usage=usage or NOTHING,
                cost=cost,
                tenant=call.tenant,
                failed=_failed(call),
                ends_request=not _failed(call),
                incumbent=True,
                reason=reason or _unserved(match),
                endpoint=endpoint_of(call.endpoint),
            )
        )

    def _cost(self, call: LoggedCall, usage: Usage | None) -> float | None:
        """By the price list, as the proxy reckons; by the log where that has no price of the model."""
        names = (str((call.response or {}).get("model") or ""), str(call.request.get("model") or ""))
        rates = self._prices.rates(*names) if usage else None
        logged = call.cost if call.cost is not None and 0 <= call.cost <= MOST_USD else None
        if rates is None or usage is None:
            self.found.by_log += logged is not None
            return logged
        cost = rates.cost(usage)
        if logged is not None:
            self.found.priced_usd += cost
            self.found.log_usd += logged
        return cost


def _failed(call: LoggedCall) -> bool:
    return call.status == 0 or call.status >= 400


def _unserved(match: Match | None) -> str:
    if match is None:
        return "unrecognised"
    return "catch_all" if match.catch_all else "no_card"


def _reason(call: LoggedCall) -> str | None:
    """Why no card could ever have served it; None if one could."""
    return ineligible(call.request) if call.endpoint == CHAT else "not_chat"
