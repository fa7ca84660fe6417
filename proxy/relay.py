"""Bring an upstream's answer to the client: as it comes, or checked first."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import aiohttp
from aiohttp import StreamReader, web

from compiler.task import Contract
from proxy import headers, sse
from proxy.call import Call, now
from proxy.check import Breach, check, hold
from proxy.decide import Decision
from proxy.errors import translate
from proxy.exchange import Exchange
from proxy.gateway import Gateway
from proxy.meter import Ended
from proxy.reply import Reply
from proxy.tunnel import tunnel, upgrade_headers
from proxy.upstream import Answer

log = logging.getLogger("cuecard.relay")

USAGE_SECONDS = 1.0  # that a rejected stream has to say what it cost
UPSTREAM_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)
NOT_ITS_FAULT = frozenset((400, 413, 422))  # statuses that are about the request, not about the model
UNBEGUN = {"client_gone": 499, "timeout": 504}  # what the client gets, or would have got, where no answer has begun
ITS_FAULT = frozenset(("timeout", "deadline", "unreachable", "malformed", "stream_error", "broke_off"))
Filter = Callable[[bytes], bytes]


class Relay:
    """One client's request on its way through one or more upstream calls."""

    def __init__(self, gateway: Gateway, request: web.Request, call: Call, decision: Decision) -> None:
        self._gateway = gateway
        self._request = request
        self._call = call
        self._decision = decision
        self._waited = 0.0  # seconds spent on upstream calls before the present one
        self._overhead = 0.0
        self._first_byte: float | None = None
        self._tried: tuple[str, ...] = ()
        self._begun = False  # the client has been sent something

    async def try_compiled(self, exchange: Exchange) -> web.StreamResponse | None:
        """The compiled answer if it comes in time and keeps its contract; None, with nothing sent, if it doesn't."""
        answered = False
        self._gateway.watch.begin(exchange, self._gateway.deadlines.of(self._decision.task or ""))
        try:
            response = await self._compiled(exchange)
            answered = True
            return response
        except Breach as reason:
            exchange.failed = str(reason)
        except UPSTREAM_ERRORS as error:
            exchange.failed = self._who_left("unreachable")
            if self._begun or exchange.failed == "client_gone":
                raise translate(error, exchange.attempt.endpoint.name) from None
        except asyncio.CancelledError:
            if not _was_watched(exchange):
                exchange.failed = "client_gone"
                raise
            exchange.failed = "deadline" if exchange.late else "timeout"
        except Exception:  # boundary: a bug in checking an answer is no reason not to answer
            exchange.failed = "internal_error"
            if self._begun:
                raise
            log.exception("request %s: the current model answers", self._call.id)
        finally:
            self._gateway.watch.end(exchange)
            self._note(exchange)
            if not exchange.heard_out:
                self._meter(exchange, answered=answered and not exchange.failed, shown=answered)
        self._waited += exchange.seconds
        self._tried += (f"{exchange.attempt.model}: {exchange.failed}",)
        return None

    async def relay(self, exchange: Exchange) -> web.StreamResponse:
        """Whatever the upstream answers. Raises ProxyError if no answer came."""
        self._gateway.watch.begin(exchange)
        try:
            answer = await self._send(exchange)
            async with answer:
                if exchange.attempt.body and not exchange.streamed:
                    return await self._answer(exchange, answer, await _read(exchange, answer))
                if answer.status == 101:
                    self._gateway.watch.end(exchange)  # a WebSocket may be silent as long as it likes
                    self._begun = True
                    with self._gateway.tunnelling():
                        return await tunnel(self._request, answer, self._headers(exchange, answer))
                return await self._stream(exchange, answer)
        except UPSTREAM_ERRORS as error:
            exchange.failed = self._who_left("unreachable")
            raise translate(error, exchange.attempt.endpoint.name) from None
        except asyncio.CancelledError:
            if not _was_watched(exchange):
                exchange.failed = "client_gone"
                raise
            exchange.failed = "timeout"
            raise translate(TimeoutError(), exchange.attempt.endpoint.name) from None
        finally:
            self._gateway.watch.end(exchange)
            self._meter(exchange, answered=not exchange.failed)

    async def _send(self, exchange: Exchange) -> Answer:
        attempt = exchange.attempt
        sent = headers.to_upstream(self._call.headers, attempt.endpoint, client_key=attempt.client_key)
        if attempt.rewritten:  # what we parse and change must come as it is
            for name in (headers.CONTENT_ENCODING, headers.ACCEPT_ENCODING):
                sent.popall(name, None)
            sent[headers.CONTENT_TYPE] = "application/json"
        with exchange:
            if attempt.body:
                send = self._gateway.upstream.send
                answer = await send("POST", attempt.endpoint, self._call.path, sent, attempt.body, exchange.leaves)
            else:
                answer = await self._send_on(exchange, sent)
        exchange.head(answer)
        return answer

    async def _send_on(self, exchange: Exchange, sent: headers.Headers) -> Answer:
        """The client's own request, its body as it comes in."""
        request, data = self._request, None
        sent.update(upgrade_headers(request))
        if request.content_length is not None:
            sent[headers.CONTENT_LENGTH] = str(request.content_length)
        if request.can_read_body:
            data = _heard(exchange, request.content)
        upstream = self._gateway.upstream
        endpoint, leaves = exchange.attempt.endpoint, exchange.leaves
        return await upstream.send(request.method, endpoint, self._call.path, sent, data, leaves)

    async def _compiled(self, exchange: Exchange) -> web.StreamResponse:
        contract = exchange.attempt.contract or Contract()
        answer = await self._send(exchange)
        try:
            if exchange.status != 200:
                raise Breach(f"http_{exchange.status // 100}xx")
            if not exchange.streamed:
                body = await _read(exchange, answer)
                check(exchange.json(), contract)
                self._gateway.watch.settled(exchange)
                return await self._answer(exchange, answer, body)
            held = await hold(exchange, answer, contract)
            self._gateway.watch.settled(exchange)
            return await self._stream(exchange, answer, held)
        except Breach as reason:
            if exchange.streamed and exchange.status == 200:
                exchange.failed, exchange.heard_out = str(reason), True
                self._gateway.later(self._hear_out(exchange, answer))
            raise
        finally:
            if not exchange.heard_out:
                answer.close()

    async def _hear_out(self, exchange: Exchange, answer: Answer) -> None:
        """Off the path: the usage comes after the end of a stream, also of one that is not served."""
        try:
            with suppress(*UPSTREAM_ERRORS):
                async with asyncio.timeout(USAGE_SECONDS):
                    async for chunk in answer.content.iter_any():
                        exchange.keep(chunk)
        finally:
            answer.close()
            self._meter(exchange, answered=False)

    async def _answer(self, exchange: Exchange, answer: Answer, body: bytes) -> web.StreamResponse:
        cost, baseline = self._gateway.meter.quote(self._call, self._decision, exchange)
        shown = self._headers(exchange, answer)
        if cost is not None:
            shown[headers.COST] = f"{cost:.9f}"
        if baseline is not None:
            shown[headers.BASELINE] = f"{baseline:.9f}"
        response = Reply(answer.status, answer.reason, shown)
        exchange.heard = now()
        self._begun = True
        try:
            await response.whole(self._request, body)
        except asyncio.CancelledError:
            if not _was_watched(exchange):
                raise
            self._break_off(exchange, "client_stalled")
        return response

    async def _stream(self, exchange: Exchange, answer: Answer, held: bytes = b"") -> web.StreamResponse:
        """What was `held` back, then the rest as it comes."""
        shown = self._headers(exchange, answer)
        if not exchange.attempt.rewritten and headers.CONTENT_LENGTH in answer.headers:
            shown[headers.CONTENT_LENGTH] = answer.headers[headers.CONTENT_LENGTH]
        hide_usage = exchange.attempt.hide_usage and exchange.streamed and not exchange.encoding
        shorten: Filter | None = sse.WithoutUsage() if hide_usage else None
        response = Reply(answer.status, answer.reason, shown)
        self._begun = True
        await response.prepare(self._request)
        try:
            if held:
                await self._write(exchange, response, held, shorten)
            async for chunk in answer.content.iter_any():
                exchange.keep(chunk)
                exchange.heard = now()
                await self._write(exchange, response, chunk, shorten)
                exchange.heard = now()
            if shorten:
                await self._write(exchange, response, b"", shorten)
            await response.write_eof()
        except UPSTREAM_ERRORS:
            self._break_off(exchange, self._who_left("broke_off"))
        except asyncio.CancelledError:
            if not _was_watched(exchange):
                raise
            stalled = self._request.protocol.writing_paused  # a client that takes nothing keeps an upstream waiting
            self._break_off(exchange, "client_stalled" if stalled else "timeout")
        return response

    def _break_off(self, exchange: Exchange, why: str) -> None:
        """The client must see that what it has is not the whole."""
        exchange.failed = why
        if self._request.transport:
            self._request.transport.abort()

    async def _write(
        self, exchange: Exchange, response: web.StreamResponse, chunk: bytes, shorten: Filter | None
    ) -> None:
        if shorten:
            chunk = shorten(chunk)
        if not chunk:
            return
        if self._first_byte is None and exchange.streamed:
            self._first_byte = now() - self._call.started
        await response.write(chunk)

    def _who_left(self, upstream_did: str) -> str:
        """A write to a client that has gone raises what a broken upstream raises."""
        transport = self._request.transport
        return "client_gone" if transport is None or transport.is_closing() else upstream_did

    def _headers(self, exchange: Exchange, answer: Answer) -> headers.Headers:
        """The upstream's, and ours."""
        attempt, decision = exchange.attempt, self._decision
        self._overhead = max(0.0, now() - self._call.started - self._waited - exchange.seconds)
        shown = headers.to_client(answer.raw_headers)
        shown[headers.ROUTE] = attempt.route
        if model := exchange.model or attempt.model:
            shown[headers.MODEL] = model
        shown[headers.OVERHEAD] = f"{self._overhead * 1_000:.2f}"
        shown[headers.REQUEST_ID] = self._call.id
        if decision.variant:
            shown[headers.TASK] = decision.variant
        if decision.card and attempt.route == "compiled":
            shown[headers.CARD] = decision.card.label
        return shown

    def _meter(self, exchange: Exchange, answered: bool, *, shown: bool = False) -> None:
        """`shown`: the client has at least the beginning, so that nobody else answers."""
        gateway, call, decision = self._gateway, self._call, self._decision
        ended = None
        if shown or answered or exchange.attempt.contract is None or exchange.failed == "client_gone":
            code = exchange.status if self._begun else UNBEGUN.get(exchange.failed, 502)
            ended = Ended(code, self._overhead, self._tried, self._first_byte)
        gateway.meter.finish(call, decision, exchange, answered=answered, ended=ended)
        gateway.capture.offer(call, decision, exchange)
        if answered and decision.task and exchange.status == 200:
            gateway.answers.remember(call, decision, exchange)
            if exchange.attempt.incumbent:
                gateway.deadlines.record(decision.task, exchange.seconds)

    def _note(self, exchange: Exchange) -> None:
        """For the card's circuit breaker; an answer that only breaks the contract is an answer."""
        card, failed = self._decision.card, exchange.failed
        if card is None or failed in ("client_gone", "internal_error") or exchange.status in NOT_ITS_FAULT:
            return
        self._gateway.breakers.note(card.label, card.model, failed=exchange.status != 200 or failed in ITS_FAULT)


def _was_watched(exchange: Exchange) -> bool:
    """Whether the watch cancelled us, and not the client that left; the cancellation is then dealt with."""
    task, watched = asyncio.current_task(), exchange.silent or exchange.late
    if watched and task:
        return task.uncancel() == 0  # else the client has left as well
    return watched


async def _heard(exchange: Exchange, upload: StreamReader) -> AsyncIterator[bytes]:
    async for chunk in upload.iter_any():
        exchange.heard = now()
        yield chunk


async def _read(exchange: Exchange, answer: Answer) -> bytes:
    content = answer.content
    if content.is_eof():  # all of it came with its head
        body = content.read_nowait()
    else:
        pieces = []
        with exchange:
            async for piece in content.iter_any():
                exchange.heard = now()
                pieces.append(piece)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    exchange.keep(body)
    return body
