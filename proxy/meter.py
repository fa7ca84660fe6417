"""What every upstream call used and cost: to the metrics at once, to the ledger within 100 ms."""

import logging
from collections.abc import Callable
from dataclasses import replace

from compiler.ledger import UNDECLARED, Charge
from compiler.pricing import PriceBook, Usage
from compiler.program import INSTRUCTION_ROLES
from proxy.call import Call, now
from proxy.counting import CountClient
from proxy.decide import Decision
from proxy.exchange import Exchange
from proxy.metrics import OTHER, Metrics

log = logging.getLogger("cuecard.meter")


class Meter:
    def __init__(
        self, metrics: Metrics, prices: PriceBook, counter: CountClient, book: Callable[[Charge], None]
    ) -> None:
        self.metrics = metrics
        self._prices = prices
        self._counter = counter
        self._book = book

    def finish(self, call: Call, decision: Decision, exchange: Exchange, *, answered: bool) -> None:
        """Book one upstream call. Without usage in its answer, its tokens are counted first (in the learner)."""
        try:
            self._finish(call, decision, exchange, answered)
        except Exception:  # boundary: a bug in metering must not take an answer from a client
            log.exception("request %s could not be metered", call.id)
            self.metrics.dropped.labels("meter").inc()

    def _finish(self, call: Call, decision: Decision, exchange: Exchange, answered: bool) -> None:
        if exchange.usage is None and exchange.status < 400:
            exchange.read()
        attempt = exchange.attempt
        ok = exchange.status < 400 and exchange.sent
        charge = Charge(
            task=decision.task or UNDECLARED,
            model=self.label(exchange),
            role="serve",
            route="fallback" if exchange.failed and attempt.contract else attempt.route,
            usage=Usage(),
            cost=0.0,
            tenant=call.tenant,
            failed=bool(exchange.failed) or exchange.status >= 400,
            ends_request=answered,
            incumbent=attempt.incumbent,
        )
        if exchange.status >= 400:
            self.metrics.upstream_errors.labels(attempt.endpoint.name, str(exchange.status)).inc()
        elif not exchange.status:
            self.metrics.upstream_errors.labels(attempt.endpoint.name, exchange.failed or OTHER).inc()

        def book(usage: Usage) -> None:
            cost, baseline = self.price(call, decision, exchange, usage)
            self._record(replace(charge, usage=usage, cost=cost, baseline=baseline if answered else None))

        def counted(usage: Usage) -> None:
            try:
                book(usage)
            except Exception:  # boundary: a bug in booking one call must not end the counting of the others
                log.exception("request %s could not be booked", call.id)
                self.metrics.dropped.labels("meter").inc()

        if not ok:
            self._record(charge)
        elif exchange.usage is not None:
            book(exchange.usage)
        elif attempt.body:  # what only streamed by was not kept, and without usage is not booked
            self._counter.count(attempt.model, attempt.body, exchange.body(), counted)

    def _record(self, charge: Charge) -> None:
        self._book(charge)
        self.metrics.charge(charge)
        if charge.baseline:
            self.metrics.baseline.labels(charge.model, self.metrics.task(charge.task)).inc(charge.baseline)

    def price(
        self, call: Call, decision: Decision, exchange: Exchange, usage: Usage
    ) -> tuple[float | None, float | None]:
        """(cost, baseline) of a call in USD; None where there is no price, or nothing to compare with."""
        rates = self._prices.rates(exchange.model, exchange.attempt.model)
        cost = rates.cost(usage) if rates else None
        if exchange.attempt.incumbent:
            return cost, cost
        return cost, self._baseline(call, decision, usage)

    def _baseline(self, call: Call, decision: Decision, usage: Usage) -> float | None:
        """What the app's own model would have cost: its own instructions instead of the card's, its usual output
        length and cache rate where they were seen, else this call's."""
        view, card = decision.view, decision.card
        incumbent = (view.task.incumbent if view else None) or (None if call.virtual else call.model)
        rates = self._prices.rates(incumbent) if incumbent else None
        if view is None or card is None or rates is None:
            return None
        own = card.original_tokens if call.virtual or _sent(call, view.task.system) else 0
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

    def request(self, call: Call, decision: Decision, exchange: Exchange, code: int, overhead: float) -> None:
        """The client's whole request, once. `overhead` in seconds."""
        route, model, metrics = exchange.attempt.route, self.label(exchange), self.metrics
        task = metrics.task(decision.task or UNDECLARED)
        metrics.requests.labels(task, route, model, str(code)).inc()
        metrics.duration.labels(route, model).observe(now() - call.started)
        metrics.overhead.labels(route).observe(overhead)
        if route == "original":  # with a card in hand, only a missing key keeps a request on the original
            metrics.original.labels(decision.reason or "no_upstream_key").inc()


def _sent(call: Call, system: str | None) -> bool:
    messages = call.body.get("messages") or ()
    return system is not None and any(
        m.get("role") in INSTRUCTION_ROLES and m.get("content") == system for m in messages
    )
