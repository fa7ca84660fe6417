"""The worker's side of capturing: is an answer an example, and if so its bytes to the learner, over a socket and never
over the disk. There it is read, redacted and kept (`proxy/capture_server.py`).

A frame is three 32-bit big-endian lengths and so many bytes of JSON (the fields of `Offer` before the two bodies),
request and answer. Nothing comes back. What waits when the worker dies is lost: a sample more or less.
"""

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import time
from typing import NamedTuple, Self

import orjson

from compiler.recognition.structure import CHAT, structure_key
from proxy.call import Call
from proxy.decide import Decision
from proxy.exchange import Exchange
from proxy.learner_socket import emptied, linked
from proxy.metrics import Metrics
from proxy.sampler import Sampler

log = logging.getLogger("cuecard.capture")

SOCKET = "capture.sock"
HEAD = struct.Struct(">III")
MAX_BODY = 256 * 2**10  # bytes of a request, and of an answer
MAX_STREAM = 2**20  # and of an answer while it is a stream: some 300 bytes for a word
COSTS_ONE = 16 * 2**10  # bytes: the learner needs some 10 ms for them
MAX_WAITING = 256
MAX_WAITING_BYTES = 8 * 2**20

DROPS = ("rate", "too_large", "not_text", "unfinished", "queue_full", "store", "forgotten", "capture")
"""Why an answered request was not captured: values of `cuecard_observations_dropped_total{reason}`."""


class Offer(NamedTuple):
    """One answered request as bytes. `request` is the client's, `answer` the upstream's; `usage` and `cost` as in
    Observation, None where the answer does not tell; `id` is Cuecard's own of the request."""

    time: float
    tenant: str
    structure: str
    template: str
    model: str
    streamed: bool
    request_encoding: str
    answer_encoding: str
    usage: list[int] | None
    cost: float | None
    seconds: float
    id: str
    request: bytes
    answer: bytes

    @property
    def size(self) -> int:
        return len(self.request) + len(self.answer)

    def frame(self) -> Iterable[bytes]:
        told = orjson.dumps(self[:-2])
        return HEAD.pack(len(told), len(self.request), len(self.answer)), told, self.request, self.answer

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Self:
        """Raises IncompleteReadError where the worker has gone."""
        told, request, answer = [
            await reader.readexactly(size) for size in HEAD.unpack(await reader.readexactly(HEAD.size))
        ]
        return cls._make((*orjson.loads(told), request, answer))


class Capture:
    def __init__(self, path: Path, metrics: Metrics, sampler: Sampler, *, enabled: bool = True) -> None:
        self._path = path
        self._metrics = metrics
        self._sampler = sampler
        self._enabled = enabled
        self._waiting: deque[Offer] = deque()
        self._size = 0
        self._connected = False
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def offer(self, call: Call, decision: Decision, exchange: Exchange) -> None:
        """On the request path, once the client has its answer. Never waits."""
        if not self._enabled:
            return
        try:
            if _may_be_kept(call, exchange) and (reason := self._offer(call, decision, exchange)):
                self._metrics.count(self._metrics.dropped, reason)
        except Exception:  # boundary: a bug in capturing must not take an answer from a client
            log.exception("request %s could not be offered", call.id)
            self._metrics.count(self._metrics.dropped, "capture")

    def _offer(self, call: Call, decision: Decision, exchange: Exchange) -> str | None:
        """None, or why not."""
        if len(call.raw) > MAX_BODY or exchange.size > (MAX_STREAM if exchange.streamed else MAX_BODY):
            return "too_large"
        if decision.reason == "busy" or self._sampler.dry():
            return "rate"
        call.structure = call.structure or structure_key(call.tenant, CHAT, call.body)
        call.template = call.template or decision.task or ""
        sought = decision.view is not None and decision.reason in ("control", "unproven")  # to compare a card with
        if not self._sampler.take((call.structure, call.template), _cost(call, exchange), sought=sought):
            return "rate"
        offer = _offered(call, exchange)
        if len(self._waiting) >= MAX_WAITING or self._size + offer.size > MAX_WAITING_BYTES:
            return "queue_full"
        self._waiting.append(offer)
        self._size += offer.size
        self._empty.clear()
        self._wake.set()
        return None

    async def run(self) -> None:
        while True:
            try:
                async with linked(self._path, self._send) as reader:
                    self._connected = True
                    with suppress(OSError):
                        await reader.read()  # nothing comes but the end
            finally:
                self._connected = False

    async def drain(self, seconds: float) -> None:
        """Wait until the learner has everything, but not longer than that, and not for one that isn't there."""
        await emptied(self._empty, seconds if self._connected else 0)
        if self._waiting:
            self._metrics.count(self._metrics.dropped, "queue_full", by=len(self._waiting))

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # what is drained is in the learner's socket, not in our memory
        with suppress(OSError):  # the learner ended; the one in hand is offered to the next
            while True:
                while self._waiting:
                    writer.writelines(self._waiting[0].frame())
                    await writer.drain()
                    self._size -= self._waiting.popleft().size
                self._empty.set()
                self._wake.clear()
                await self._wake.wait()


def _may_be_kept(call: Call, exchange: Exchange) -> bool:
    """Only whole answers of the app's own model, to clients who did not say no. The rest of it, that the answer can be
    read and came to its own end, is found out where it is read."""
    attempt = exchange.attempt
    whole = exchange.status == 200 and not exchange.failed
    return whole and attempt.route == "original" and attempt.incumbent and bool(attempt.body) and not call.unrecorded


def _cost(call: Call, exchange: Exchange) -> float:
    """By the length of its text, which is a small part of a stream."""
    return 1 + (len(call.raw) + exchange.size // (16 if exchange.streamed else 1)) / COSTS_ONE


def _offered(call: Call, exchange: Exchange) -> Offer:
    usage, price = exchange.usage, exchange.price
    return Offer(
        time=time(),
        tenant=call.tenant,
        structure=call.structure,
        template=call.template,
        model=exchange.model or exchange.attempt.model,
        streamed=exchange.streamed,
        request_encoding=call.encoding,
        answer_encoding=exchange.encoding,
        usage=[usage.input, usage.cached_input, usage.output, usage.reasoning] if usage else None,
        cost=price[0] if usage and price else None,
        seconds=exchange.heard - exchange.since if exchange.streamed else exchange.seconds,
        id=call.id,
        request=call.raw,
        answer=b"".join(exchange.chunks),
    )
