"""POST /v1/chat/completions, from the request to the last byte: read, decide, plan, send, check, meter."""

import logging

from aiohttp import web

from proxy import headers
from proxy.access import CALLER
from proxy.call import Call, name_task, now, read_call
from proxy.decide import Decision
from proxy.errors import ProxyError
from proxy.exchange import Exchange
from proxy.gateway import GATEWAY, Gateway
from proxy.plan import Attempt
from proxy.relay import Relay

log = logging.getLogger("cuecard.chat")


async def chat(request: web.Request) -> web.StreamResponse:
    gateway = request.app[GATEWAY]
    call = await read_call(request, now(), request[CALLER], gateway.timeouts.client)
    decision, attempts = await _decided(gateway, call, request.headers.get(headers.TASK))
    relay = Relay(gateway, request, call, decision)
    for attempt in attempts[:-1]:
        if (response := await relay.try_compiled(Exchange(attempt))) is not None:
            return response
    return await relay.relay(Exchange(attempts[-1]))


async def _decided(gateway: Gateway, call: Call, named: str | None) -> tuple[Decision, list[Attempt]]:
    try:
        name_task(call, named)
        decision = gateway.decide(call)
        if call.virtual:
            decision = await gateway.first_card(call, decision)
        return decision, gateway.planner.attempts(call, decision)
    except ProxyError:
        raise
    except Exception:  # boundary: a bug in recognition or rewriting leaves the request as it was
        if call.virtual:
            raise
        log.exception("request %s is passed on as it came", call.id)
        decision = Decision(reason="internal_error")
        return decision, gateway.planner.attempts(call, decision)
