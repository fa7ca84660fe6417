"""From a decision to the calls that may be made for it, in order: the last one is answered with whatever comes."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from compiler.card import Card
from compiler.endpoint import Endpoint, Endpoints
from compiler.families import Family
from compiler.json_text import json_bytes
from compiler.program import Prompt, rewrite
from compiler.registry import TaskView
from compiler.task import Contract
from proxy.call import Call
from proxy.decide import Decision

Route = Literal["original", "compiled", "fallback", "cached"]


class Attempt(NamedTuple):
    """One upstream call; without a `body` the client's goes on as it streams in.

    With a `contract` its answer is checked before the first byte leaves, and must come within the candidate's
    deadline; without one whatever the upstream says goes to the client.
    """

    route: Route
    endpoint: Endpoint
    model: str
    body: bytes
    client_key: bool
    rewritten: bool = False
    contract: Contract | None = None
    incumbent: bool = False
    hide_usage: bool = False


class Planner:
    """A `task:` model without an incumbent is answered by `production[0]`, and by `production[-1]`, the strongest of
    the cheap ones, where that failed."""

    def __init__(self, endpoints: Endpoints, production: tuple[str, ...], families: Mapping[str, Family]) -> None:
        self._endpoints = endpoints
        self._production = production
        self._families = families

    def attempts(self, call: Call, decision: Decision) -> list[Attempt]:
        """One attempt for an original; for a card the compiled one, then what answers if that fails."""
        if decision.card is None or decision.view is None:
            return [self._original(call, decision.view, failing=decision.reason == "breaker_open")]
        compiled = self._compiled(call, decision.card, decision.view)
        if not self._may_call(compiled):
            return [self._original(call, decision.view)]
        return [compiled, self._original(call, decision.view, route="fallback", failing=True)]

    def stands_alone(self, call: Call, decision: Decision) -> bool:
        """Whether no other model could answer if the card's fails."""
        view, card = decision.view, decision.card
        if view is None or card is None:
            return False
        return card.model == ((view.task.incumbent or self._production[-1]) if call.virtual else call.model)

    def _may_call(self, attempt: Attempt) -> bool:
        return attempt.endpoint.ours or attempt.client_key

    def _compiled(self, call: Call, card: Card, view: TaskView) -> Attempt:
        return self._run("compiled", call, view, card.program, card.model, contract=card.contract)

    def _original(
        self, call: Call, view: TaskView | None, *, route: Route = "original", failing: bool = False
    ) -> Attempt:
        """`failing`: the card's model is."""
        if call.virtual and view:
            model = view.task.incumbent or self._production[-1 if failing else 0]
            incumbent = view.task.incumbent is not None
            return self._run(route, call, view, Prompt(view.task.instructions), model, incumbent=incumbent)
        endpoint, bare = self._endpoints.resolve(call.model)
        rewritten = call.rewritten or bare != call.model
        body = json_bytes({**call.body, "model": bare}) if rewritten else call.raw
        client_key = call.own_key and (endpoint is self._endpoints.first or bare != call.model)
        return Attempt(route, endpoint, bare, body, client_key, rewritten, incumbent=True)

    def _run(
        self,
        route: Route,
        call: Call,
        view: TaskView,
        prompt: Prompt,
        model: str,
        *,
        contract: Contract | None = None,
        incumbent: bool = False,
    ) -> Attempt:
        endpoint, bare = self._endpoints.resolve(model)
        family = Family.of(model, self._families)
        body = rewrite(call.body, prompt, bare, family, replaces=view.task.system)
        if call.stream:
            body["stream_options"] = {**_options(call.body), "include_usage": True}
        addressed = self._endpoints.first if call.virtual else self._endpoints.resolve(call.model)[0]
        return Attempt(
            route=route,
            endpoint=endpoint,
            model=bare,
            body=json_bytes(body),
            client_key=call.own_key and endpoint is addressed,
            rewritten=True,
            contract=contract,
            incumbent=incumbent,
            hide_usage=call.stream and not call.wants_usage,
        )


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    options = body.get("stream_options")
    return dict(options) if isinstance(options, dict) else {}
