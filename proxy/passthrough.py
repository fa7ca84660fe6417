"""Every other path under /v1/: the first upstream's, byte for byte, streamed both ways, metered by its usage."""

from aiohttp import web

from proxy.access import CALLER
from proxy.call import Call, now
from proxy.decide import Decision
from proxy.exchange import Exchange
from proxy.gateway import GATEWAY
from proxy.paths import paid
from proxy.plan import Attempt
from proxy.relay import Relay


async def passthrough(request: web.Request) -> web.StreamResponse:
    gateway, caller = request.app[GATEWAY], request[CALLER]
    call = Call.of(request, now(), caller)
    attempt = Attempt("original", gateway.endpoints.first, "", b"", client_key=caller.own_key, incumbent=True)
    exchange = Exchange(attempt, paid(request.method, call.path))
    return await Relay(gateway, request, call, Decision(reason="not_chat")).relay(exchange)
