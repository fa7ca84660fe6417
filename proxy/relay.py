"""Bring an upstream's answer to the client: as it comes, or checked first."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import orjson
from aiohttp import StreamReader, web

from compiler.score import breach
from compiler.task import Contract
from proxy import headers, sse
from proxy.call import Call, now
from proxy.decide import Decision
from proxy.errors import translate
from proxy.exchange import Exchange
from proxy.gateway import Gateway

HELD_CHARS = 1_024  # of a streamed answer that is not a label: about 256 tokens
UPSTREAM_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)


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
        self._overhead = 0.0

    async def try_compiled(self, exchange: Exchange) -> web.StreamResponse | None:
        """The compiled answer if it comes in time and keeps its contract; None, with nothing sent, if it doesn't."""
        answered = False
        try:
            response = await self._compiled(exchange)
            answered = True
            return response
        except Breach as reason:
            exchange.failed = str(reason)
        except UPSTREAM_ERRORS:
            exchange.failed = "unreachable"
        except asyncio.CancelledError:
            exchange.failed = "client_gone"
            raise
        finally:
            self._meter(exchange, answered)
        self._waited += exchange.seconds
        metrics = self._gateway.meter.metrics
        metrics.fallbacks.labels(metrics.task(self._decision.task or ""), exchange.failed).inc()
        return None

    async def relay(self, exchange: Exchange) -> web.StreamResponse:
        """Whatever the upstream answers. Raises ProxyError if no answer came."""
        try:
            answer = await self._send(exchange)
            async with answer:
                if exchange.attempt.body and not exchange.streamed:
                    return await self._answer(exchange, answer, await _read(exchange, answer))
                chunks = _kept(exchange, answer)
                if exchange.attempt.hide_usage and not exchange.encoding:
                    chunks = _without_usage(chunks)
                return await self._stream(exchange, answer, chunks)
        except UPSTREAM_ERRORS as error:
            exchange.failed = self._who_left("unreachable")
            raise translate(error, exchange.attempt.endpoint.name) from None
        except asyncio.CancelledError:
            exchange.failed = "client_gone"
            raise
        finally:
            self._meter(exchange, answered=not exchange.failed)

    async def _send(self, exchange: Exchange) -> aiohttp.ClientResponse:
        attempt = exchange.attempt
        sent = headers.to_upstream(self._call.headers, attempt.endpoint, client_key=attempt.client_key)
        if attempt.rewritten:  # what we parse and change must come as it is
            for name in ("Content-Encoding", "Accept-Encoding"):
                sent.popall(name, None)
            sent["Content-Type"] = "application/json"
        request = self._request
        data: bytes | StreamReader | None = attempt.body or None
        if data is None and request.can_read_body:
            data = request.content
            if request.content_length is not None:
                sent["Content-Length"] = str(request.content_length)
        exchange.sent = True
        with exchange.waiting():
            try:
                answer = await self._gateway.upstream.send(
                    request.method, attempt.endpoint, self._call.path, sent, data
                )
            except aiohttp.ClientConnectorError:
                exchange.sent = False
                raise
        exchange.head(answer)
        return answer

    async def _compiled(self, exchange: Exchange) -> web.StreamResponse:
        contract = exchange.attempt.contract or Contract()
        deadline = self._gateway.deadlines.of(self._decision.task or "")
        async with asyncio.timeout(deadline) as timer:
            try:
                answer = await self._send(exchange)
                if exchange.status != 200:
                    answer.close()
                    raise Breach(f"http_{exchange.status // 100}xx")
                if not exchange.streamed:
                    async with answer:
                        body = await _read(exchange, answer)
                    _check(body, contract)
                    return await self._answer(exchange, answer, body)
                chunks = sse.events(_kept(exchange, answer))
                with exchange.waiting():
                    held = await _hold(chunks, contract)
            except (asyncio.CancelledError, TimeoutError):
                if timer.expired():
                    raise Breach("deadline") from None
                raise
            timer.reschedule(None)
            async with answer:
                shown = _chain(held, chunks)
                if exchange.attempt.hide_usage:
                    shown = _without_usage(shown)
                return await self._stream(exchange, answer, shown)

    async def _answer(self, exchange: Exchange, answer: aiohttp.ClientResponse, body: bytes) -> web.StreamResponse:
        exchange.read()
        shown = headers.to_client(answer.raw_headers)
        shown.update(self._headers(exchange))
        if exchange.usage:
            cost, baseline = self._gateway.meter.price(self._call, self._decision, exchange, exchange.usage)
            for name, usd in ((headers.COST, cost), (headers.BASELINE, baseline)):
                if usd is not None:
                    shown[name] = f"{usd:.9f}"
        response = web.Response(status=answer.status, reason=answer.reason, headers=shown, body=body)
        await response.prepare(self._request)
        await response.write_eof()
        return response

    async def _stream(
        self, exchange: Exchange, answer: aiohttp.ClientResponse, chunks: AsyncIterator[bytes]
    ) -> web.StreamResponse:
        shown = headers.to_client(answer.raw_headers)
        if not exchange.attempt.rewritten and "Content-Length" in answer.headers:
            shown["Content-Length"] = answer.headers["Content-Length"]
        shown.update(self._headers(exchange))
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=shown)
        await response.prepare(self._request)
        first = True
        try:
            async for chunk in chunks:
                if first and exchange.streamed:
                    self._first_byte(exchange)
                    first = False
                await response.write(chunk)
            await response.write_eof()
        except UPSTREAM_ERRORS:
            exchange.failed = self._who_left("broke_off")
            if self._request.transport:
                self._request.transport.abort()  # the client must see that this is not the end
        return response

    def _who_left(self, upstream_did: str) -> str:
        """A write to a client that has gone raises what a broken upstream raises."""
        transport = self._request.transport
        return "client_gone" if transport is None or transport.is_closing() else upstream_did

    def _first_byte(self, exchange: Exchange) -> None:
        meter = self._gateway.meter
        labels = (exchange.attempt.route, meter.label(exchange))
        meter.metrics.first_token.labels(*labels).observe(now() - self._call.started)

    def _headers(self, exchange: Exchange) -> dict[str, str]:
        attempt, decision = exchange.attempt, self._decision
        self._overhead = max(0.0, now() - self._call.started - self._waited - exchange.seconds)
        shown = {
            headers.ROUTE: attempt.route,
            headers.OVERHEAD: f"{self._overhead * 1_000:.2f}",
            headers.REQUEST_ID: self._call.id,
        }
        if model := exchange.model or attempt.model:
            shown[headers.MODEL] = model
        if decision.task:
            shown[headers.TASK] = decision.task
        if decision.card and attempt.route == "compiled":
            shown[headers.CARD] = decision.card.label
        return shown

    def _meter(self, exchange: Exchange, answered: bool) -> None:
        gateway, call, decision = self._gateway, self._call, self._decision
        gateway.meter.finish(call, decision, exchange, answered=answered)
        final = answered or exchange.attempt.contract is None or exchange.failed == "client_gone"
        if final:
            code = exchange.status or (499 if exchange.failed == "client_gone" else 502)
            gateway.meter.request(call, decision, exchange, code, self._overhead)
        if answered and exchange.attempt.incumbent and decision.task and exchange.status == 200:
            gateway.deadlines.record(decision.task, exchange.seconds)


async def _read(exchange: Exchange, answer: aiohttp.ClientResponse) -> bytes:
    with exchange.waiting():
        body = await answer.read()
    exchange.keep(body)
    return body


async def _kept(exchange: Exchange, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for chunk in answer.content.iter_any():
        exchange.keep(chunk)
        yield chunk


async def _chain(held: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield b"".join(held)
    async for event in rest:
        yield event


async def _without_usage(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The client did not ask for the usage event, so it does not see it."""
    async for event in sse.events(chunks):
        if b'"usage"' in event and (value := sse.parsed(event)) and value.get("choices") == [] and value.get("usage"):
            continue
        yield event


def _check(body: bytes, contract: Contract) -> None:
    try:
        choice = orjson.loads(body)["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        raise Breach("malformed") from None
    _check_text(text, message, choice.get("finish_reason"), contract)


def _check_text(text: object, message: object, finish: object, contract: Contract) -> None:
    if isinstance(message, dict) and (message.get("refusal") or message.get("tool_calls")):
        raise Breach("refusal" if message.get("refusal") else "tool_calls")
    if not isinstance(text, str):
        raise Breach("malformed")
    if problem := breach(text, finish if isinstance(finish, str) else None, contract):
        raise Breach(problem)


async def _hold(chunks: AsyncIterator[bytes], contract: Contract) -> list[bytes]:
    """Events up to the point where the answer may be shown: a label whole, JSON up to HELD_CHARS, text at once."""
    held: list[bytes] = []
    text = ""
    async for event in chunks:
        held.append(event)
        value = sse.parsed(event)
        if value is None:
            continue
        if value.get("error"):
            raise Breach("stream_error")
        delta = sse.delta_of(value)
        text += delta.get("content") or ""
        finish = next((c.get("finish_reason") for c in value.get("choices") or ()), None)
        if finish or delta.get("refusal") or delta.get("tool_calls"):
            _check_text(text, delta, finish, contract)
            return held
        if text.strip() and (contract.kind == "text" or (contract.kind == "json" and len(text) > HELD_CHARS)):
            return held
    raise Breach("broke_off")
