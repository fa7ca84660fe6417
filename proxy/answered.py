"""The worker's side of feedback: which answers were given under which ids, and what users say of them, to the learner
over a socket. There it is kept (`proxy/feedback_server.py`).

A frame is a 64-bit number, two 32-bit lengths, and so many bytes of JSON and of an answer's body; a reply is a number,
a length and JSON. A reply settles all frames up to its number. What the learner did not settle before it died is sent
again to the next: to keep the same twice is to keep it once.
"""

import asyncio
import logging
import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any, NamedTuple

import orjson

from compiler.answers import HASHED, Answered, Arm
from proxy.call import Call
from proxy.decide import Decision
from proxy.exchange import Exchange
from proxy.learner_socket import emptied, linked
from proxy.metrics import Metrics

log = logging.getLogger("cuecard.feedback")

SOCKET = "feedback.sock"
HEAD = struct.Struct(">QII")
REPLY = struct.Struct(">QI")
MAX_BODY = 64 * 2**10  # bytes of an answer that an expected one can be held against
MAX_ID = 200  # characters
MAX_WAITING = 20_000
MAX_WAITING_BYTES = 8 * 2**20

DROPS = ("answer_queue", "answer_store", "answer_room")
"""Why feedback can't find an answer: values of `cuecard_observations_dropped_total{reason}`."""


class Kept(NamedTuple):
    """An answer that the client has. `other`: the id in its body. `body`: empty where only a judge could compare it."""

    tenant: str
    id: str
    other: str
    answered: Answered
    streamed: bool
    encoding: str
    body: bytes = b""

    def told(self) -> bytes:
        *before, answered, streamed, encoding, _ = self
        return orjson.dumps([*before, [*answered], streamed, encoding])


class Word(NamedTuple):
    """What a user says of an answer: one of `score` and `expected`."""

    tenant: str
    id: str
    score: float | None
    expected: str | None


Said = Kept | Word


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, Said]:
    """Raises IncompleteReadError where the worker has gone."""
    number, *sizes = HEAD.unpack(await reader.readexactly(HEAD.size))
    told, body = [await reader.readexactly(size) for size in sizes]
    fields = orjson.loads(told)
    if len(fields) == len(Word._fields):
        return number, Word(*fields)
    tenant, id_, other, answered, streamed, encoding = fields
    return number, Kept(tenant, id_, other, Answered(*answered), streamed, encoding, body)


@dataclass(slots=True)
class _Waiting:
    told: bytes
    body: bytes = b""
    reply: asyncio.Future[dict[str, Any]] | None = None

    @property
    def size(self) -> int:
        return len(self.told) + len(self.body)

    def frame(self, number: int) -> tuple[bytes, ...]:
        return HEAD.pack(number, len(self.told), len(self.body)), self.told, self.body


class AnswerClient:
    def __init__(self, path: Path, metrics: Metrics) -> None:
        self._path = path
        self._metrics = metrics
        self._waiting: dict[int, _Waiting] = {}  # in the order of their numbers
        self._unsent: deque[int] = deque()
        self._size = 0
        self._next = 0
        self._connected = False
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def remember(self, call: Call, decision: Decision, exchange: Exchange) -> None:
        """On the request path, once the client has its answer. Never waits."""
        if call.unrecorded:
            return
        try:
            kept = _kept(call, decision, exchange)
            if not self._send(_Waiting(kept.told(), kept.body)):
                self._metrics.count(self._metrics.dropped, "answer_queue")
        except Exception:  # boundary: a bug in remembering must not take an answer from a client
            log.exception("request %s is not remembered", call.id)
            self._metrics.count(self._metrics.dropped, "answer_queue")

    async def say(self, word: Word, seconds: float) -> dict[str, Any] | None:
        """What the learner answers; None where none does, in so many seconds."""
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        number = self._next
        if not self._send(_Waiting(orjson.dumps([*word]), reply=reply)):
            return None
        try:
            async with asyncio.timeout(seconds):
                return await reply
        except TimeoutError:
            return None
        finally:
            self._forget(number)

    async def run(self) -> None:
        while True:
            try:
                async with linked(self._path, self._write) as reader:
                    self._connected, self._unsent = True, deque(self._waiting)
                    self._wake.set()
                    while True:
                        number, length = REPLY.unpack(await reader.readexactly(REPLY.size))
                        self._settle(number, orjson.loads(await reader.readexactly(length)))
            except (OSError, asyncio.IncompleteReadError):
                log.info("the learner closed the feedback socket; what it did not keep is sent again")
            finally:
                self._connected = False

    async def drain(self, seconds: float) -> None:
        """Wait until the learner has everything, but not longer than that, and not for one that isn't there."""
        await emptied(self._empty, seconds if self._connected else 0)
        if self._waiting:
            self._metrics.count(self._metrics.dropped, "answer_queue", by=len(self._waiting))

    def _send(self, waiting: _Waiting) -> bool:
        """False: there is no room."""
        if len(self._waiting) >= MAX_WAITING or self._size + waiting.size > MAX_WAITING_BYTES:
            return False
        self._waiting[self._next] = waiting
        self._unsent.append(self._next)
        self._size += waiting.size
        self._next += 1
        self._empty.clear()
        self._wake.set()
        return True

    async def _write(self, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the learner ended
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._unsent:
                    number = self._unsent.popleft()
                    if number in self._waiting:
                        writer.writelines(self._waiting[number].frame(number))
                        await writer.drain()

    def _settle(self, number: int, reply: dict[str, Any]) -> None:
        last = self._waiting.get(number)
        if last and last.reply and not last.reply.done():
            last.reply.set_result(reply)
        while self._waiting and (first := next(iter(self._waiting))) <= number:
            self._forget(first)

    def _forget(self, number: int) -> None:
        if waiting := self._waiting.pop(number, None):
            self._size -= waiting.size
        if not self._waiting:
            self._empty.set()


def _kept(call: Call, decision: Decision, exchange: Exchange) -> Kept:
    view, route = decision.view, exchange.attempt.route
    card = view.compiled if view else None
    contract = card.contract if card else view.task.contract if view else None
    arm = _arm(call, decision, route) if card else ""
    kind = contract.kind if contract else ""
    answered = Answered(time(), decision.variant or "", card.version if card else 0, route, arm, kind)
    comparable = kind in HASHED and exchange.size <= MAX_BODY
    body = b"".join(exchange.chunks) if comparable else b""
    other = exchange.id if len(exchange.id) <= MAX_ID else ""
    return Kept(call.tenant, call.id, other, answered, exchange.streamed, exchange.encoding, body)


def _arm(call: Call, decision: Decision, route: str) -> Arm:
    """Only answers that chance gave to one of the two can be compared."""
    if call.virtual or decision.view is None or decision.view.task.trust != "proven":
        return ""
    if route == "compiled":
        return "card"
    return "control" if decision.reason == "control" else ""
