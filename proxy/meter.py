"""What every upstream call used and cost, and what became of the client's request: an entry each."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import time
from typing import NamedTuple

from compiler.ledger import UNDECLARED, Part
from compiler.pricing import PriceBook, Usage
from compiler.program import INSTRUCTION_ROLES
from proxy.call import Call, now
from proxy.counting import CountClient
from proxy.decide import Decision
from proxy.entry import NAME_CHARS, Entry, printable
from proxy.exchange import Exchange
from proxy.metrics import OTHER, Metrics
from proxy.uncounted import Waiting
from proxy.unpack import unpacked

log = logging.getLogger("cuecard.meter")

NOTHING = Usage()
Price = tuple[float | None, float | None]  # (cost, baseline) in USD; None where there is no price, or no comparison
FREE: Price = (0.0, None)
UNKNOWN: Price = (None, None)
NO_KEY = "no_upstream_key"  # with a card in hand, only a missing key keeps a request on the original


@dataclass(slots=True)
class Ended:
    """A client's request that has its answer, or never gets one. Seconds since the client asked, and inside Cuecard."""

    code: int
    overhead: float
    tried: tuple[str, ...] = ()  # attempts before, as `model: why it failed`
    first_byte: float | None = None
    seconds: float = 0.0


class Over(NamedTuple):
    """An upstream call that came to its end; `ended` where the client's request did, too."""

    call: Call
    decision: Decision
    exchange: Exchange
    answered: bool
    ended: Ended | None


class Meter:
    def __init__(
        self, metrics: Metrics, prices: PriceBook, counter: CountClient, keep: Callable[[Entry], None]
    ) -> None:
        self.metrics = metrics
        self._prices = prices
        self._counter = counter
        self._keep = keep

    def finish(
        self, call: Call, decision: Decision, exchange: Exchange, *, answered: bool, ended: Ended | None
    ) -> None:
        """Keep one upstream call, and with `ended` the client's whole request.

        Without usage in its answer, its tokens are counted first (in the learner).
        """
        over = Over(call, decision, exchange, answered, ended)
        try:
            if ended:
                ended.seconds = now() - call.started
            if exchange.usage is None and exchange.status < 400:
                exchange.read()
            if exchange.usage is None and exchange.billed and exchange.attempt.body:
                self._count(over)
            else:
                self._keep(self._spent(over))
        except Exception:  # boundary: a bug in metering must not take an answer from a client
            log.exception("request %s could not be metered", call.id)
            self._keep_gap(partial(_entry, over))

    def _count(self, over: Over) -> None:
        """Keep the call at once, and its tokens when they are counted."""
        call, decision, exchange, *_ = over
        attempt = exchange.attempt
        asked = attempt.body if attempt.rewritten else unpacked(attempt.body, call.encoding)
        entry = _entry(over, self.label(exchange), price=FREE, part="call")
        waiting = Waiting(attempt.model, asked, exchange.body(), entry)
        self._keep(entry)
        self._counter.count(waiting, partial(self._counted, entry, partial(self.price, call, decision, exchange)))

    def _spent(self, over: Over) -> Entry:
        exchange, usage = over.exchange, over.exchange.usage
        if not exchange.billed or (usage is None and exchange.paid == "always"):
            return _entry(over, self.label(exchange))
        price = self.price(over.call, over.decision, exchange, usage or NOTHING)
        return _entry(over, self.label(exchange), usage, price, "whole")

    def _keep_gap(self, entry: Callable[[], Entry]) -> None:
        """At least that there was a call is in the books, and that nobody knows what it cost."""
        try:
            self.metrics.count(self.metrics.dropped, "meter")
            self._keep(entry())
        except Exception:  # boundary: as above
            log.exception("a call is in no book")

    def count_left(self) -> None:
        """The tokens of calls that a killed worker had entered without them. What they would have cost otherwise is not
        known any more."""
        self._counter.count_left(
            lambda waiting, usage: self._counted(waiting.entry, partial(self._left, waiting), usage)
        )

    def _left(self, waiting: Waiting, usage: Usage) -> Price:
        entry, rates = waiting.entry, self._prices.rates(waiting.entry.answered_by, waiting.model)
        cost = rates.cost(usage) if rates else None
        return cost, cost if entry.incumbent else None

    def _counted(self, entry: Entry, price: Callable[[Usage], Price], usage: Usage) -> None:
        """Keep the tokens of a call that was kept without them. None at all: they could not be counted."""
        try:
            self._keep(_with_tokens(entry, usage, price(usage) if usage.input or usage.output else UNKNOWN))
        except Exception:  # boundary: a bug in booking one call must not end the counting of the others
            log.exception("request %s could not be booked", entry.id)
            self._keep_gap(partial(_with_tokens, entry, usage, UNKNOWN))

    def quote(self, call: Call, decision: Decision, exchange: Exchange) -> Price:
        """(cost, baseline) in USD of an answer whose body is here, for the client; None where it isn't known."""
        try:
            exchange.read()
            return self.price(call, decision, exchange, exchange.usage) if exchange.usage else (None, None)
        except Exception:  # boundary: a bug in pricing must not take an answer from a client
            log.exception("request %s can't be priced", call.id)
            return None, None

    def price(self, call: Call, decision: Decision, exchange: Exchange, usage: Usage) -> Price:
        """(cost, baseline) of a call in USD; None where there is no price, or nothing to compare with."""
        if exchange.price is None:
            rates = self._prices.rates(exchange.model, exchange.attempt.model)
            cost = rates.cost(usage) if rates else None
            exchange.price = cost, cost if exchange.attempt.incumbent else self._baseline(call, decision, usage)
        return exchange.price

    def _baseline(self, call: Call, decision: Decision, usage: Usage) -> float | None:
        """What the app's own model would have cost: its own instructions instead of the card's, its usual output
        length and cache rate where they were seen, else this call's."""
        view, card = decision.view, decision.card
        incumbent = (view.task.incumbent if view else None) or (None if call.virtual else call.model)
        rates = self._prices.rates(incumbent) if incumbent else None
        if view is None or card is None or rates is None:
            return None
        replaced = call.virtual or card.program.frame or _sent(call, view.task.system)
        own = card.original_tokens if replaced else 0
        inputs = max(0, usage.input - card.static_tokens + own)
        seen = view.incumbent
        if seen.calls and seen.input:
            output, cached = round(seen.output / seen.calls), inputs * seen.cached_input // seen.input
        else:
            output = usage.output - usage.reasoning
            cached = inputs * usage.cached_input // usage.input if usage.input else 0
        return rates.cost(Usage(input=inputs, cached_input=cached, output=output))

    def label(self, exchange: Exchange) -> str:
        """A model name fit for a label: one that an upstream answered for, else `other`."""
        if exchange.status and exchange.status < 400 and (name := exchange.model or exchange.attempt.model):
            return self.metrics.model(name)
        return self.metrics.known_model(exchange.attempt.model)


def _entry(
    over: Over, model: str = OTHER, usage: Usage | None = None, price: Price = UNKNOWN, part: Part | None = None
) -> Entry:
    """By default: a call that nobody knows the cost of, if it is billed at all. `model`: fit for a label."""
    call, decision, exchange, answered, ended = over
    attempt, status, used = exchange.attempt, exchange.status, usage or NOTHING
    cost, baseline = price if exchange.billed else FREE
    return Entry(
        time=time(),
        tenant=call.tenant,
        task=decision.task or UNDECLARED,
        upstream=attempt.endpoint.name,
        model=model,
        route="fallback" if exchange.failed and attempt.contract else attempt.route,
        status=status,
        failed=exchange.failed,
        booked=not exchange.billed or usage is not None or part == "call",
        input=used.input,
        cached_input=used.cached_input,
        cache_write=used.cache_write,
        output=used.output,
        reasoning=used.reasoning,
        counted=used.counted,
        cost=cost,
        baseline=baseline if answered else None,
        answered=answered,
        incumbent=attempt.incumbent,
        ends=ended is not None,
        id=call.id,
        path=printable(call.path.partition("?")[0]),
        code=ended.code if ended else 0,
        served=attempt.route,
        reason=decision.reason or (NO_KEY if attempt.route == "original" else ""),
        card=decision.card.label if decision.card else None,
        asked=call.model[:NAME_CHARS],
        answered_by=exchange.model or attempt.model,
        upstream_id=printable(exchange.upstream_id),
        stream=exchange.streamed,
        tried=ended.tried if ended else (),
        seconds=ended.seconds if ended else 0.0,
        upstream_seconds=exchange.seconds,
        overhead=ended.overhead if ended else 0.0,
        first_byte=ended.first_byte if ended else None,
        part=part or ("unmetered" if exchange.billed else "whole"),
        unrecorded=call.unrecorded,
    )


def _with_tokens(entry: Entry, usage: Usage, price: Price) -> Entry:
    cost, baseline = price
    return entry._replace(
        time=time(),
        input=usage.input,
        output=usage.output,
        counted=usage.counted,
        cost=cost,
        baseline=baseline if entry.answered else None,
        part="tokens",
    )


def _sent(call: Call, system: str | None) -> bool:
    messages = call.body.get("messages") or ()
    return system is not None and any(
        m.get("role") in INSTRUCTION_ROLES and m.get("content") == system for m in messages
    )
