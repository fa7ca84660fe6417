"""Bring an upstream's answer to the client: as it comes, or checked first."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import orjson
from aiohttp import web

from compiler.score import breach
from proxy import headers, sse
from proxy.call import Call, now
from proxy.decide import Decision
from proxy.errors import ProxyError, translate
from proxy.exchange import Exchange
from proxy.gateway import Gateway

HELD_CHARS = 1_024  # of a streamed answer that is not a label: about 256 tokens


class Breach(Exception):
    """The compiled attempt may not be served; the message is the metric's `reason`."""


class Relay:
    """One client's request on its way through one or more upstream calls."""

    def __init__(self, gateway: Gateway, request: web.Request, call: Call, decision: Decision) -> None:
        self._gateway = gateway
        self._request = request
        self._call = call
        self._decision = decision
        self._waited = 0.0  # seconds spent on upstream calls before the present one

    async def try_compiled(self, exchange: Exchange) -> web.StreamResponse | None:
        """The compiled answer if it comes in time and keeps its contract; None, with nothing sent, if it doesn't."""
        answered = False
        try:
            response = await self._compiled(exchange)
            answered = True
            return response
        except Breach as reason:
            exchange.failed = str(reason)
        except (aiohttp.ClientError, OSError, ProxyError):
            exchange.failed = exchange.failed or "unreachable"
        except asyncio.CancelledError:
            exchange.failed = "client_gone"
            raise
        finally:
            self._gateway.meter.finish(self._call, self._decision, exchange, answered=answered)
        self._waited += exchange.seconds
        metrics = self._gateway.meter.metrics
        metrics.fallbacks.labels(metrics.task(self._decision.task or ""), exchange.failed).inc()
        return None

    async def relay(self, exchange: Exchange) -> web.StreamResponse:
        """Whatever the upstream answers. Raises ProxyError if no answer came."""
        try:
            answer = await self._send(exchange)
            try:
                if exchange.streamed and not exchange.encoding and exchange.attempt.hide_usage:
                    return await self._stream(exchange, self._without_usage(exchange, sse.events(_chunks(answer))), answer)
                if exchange.streamed:
                    return await self._stream(exchange, self._kept(exchange, _chunks(answer)), answer)
                return await self._whole(exchange, answer)
            finally:
                answer.release() if answer.content.at_eof() else answer.close()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            exchange.failed = exchange.failed or "unreachable"
            raise translate(error, exchange.attempt.endpoint.name) from None
        except asyncio.CancelledError:
            exchange.failed = "client_gone"
            raise
        finally:
            self._gateway.meter.finish(self._call, self._decision, exchange, answered=not exchange.failed)
