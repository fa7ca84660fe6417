"""The clients: each on a connection of its own, one request after the other, as fast as they are answered.

What became of a request is one byte, and only what should not have happened is kept in words.
"""

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from bench.soak.traffic import INCUMBENT, Plan, Traffic, numbered

(UNASKED, ORIGINAL, COMPILED, FALLBACK, HTTP_500, HTTP_429, HTTP_502, HTTP_504, BROKEN, HUNG_UP, DIED, WRONG, SILENT,
 CLOSED, OTHER) = range(15)  # fmt: skip
NAMES = (
    *("unasked", "original", "compiled", "fallback", "500", "429", "502", "504", "broken off", "hung up"),
    *("died with its worker", "wrong answer", "no end", "closed unanswered", "another status"),
)
ANSWERED = frozenset((ORIGINAL, COMPILED, FALLBACK, HTTP_500, HTTP_429))

ROUTE = re.compile(rb"\r\nx-cuecard-route: (\w+)", re.I)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
STATUSES = {b"500": HTTP_500, b"429": HTTP_429, b"502": HTTP_502, b"504": HTTP_504}
ROUTES = {b"original": ORIGINAL, b"compiled": COMPILED, b"fallback": FALLBACK}
PER_CONNECTION = 500  # requests; then a new one, so that a replaced worker gets its share
PATIENCE = 30.0  # seconds for one request
HANG_UP_AFTER = 0.1
RETRY = 0.02
KEPT = 500  # unexpected outcomes that are kept in words


class Loss(NamedTuple):
    """A connection that ended in the middle of a request."""

    number: int
    port: int  # the client's
    at: float  # time.monotonic()
    opened: float
    answer_began: bool


@dataclass
class Load:
    traffic: Traffic
    requests: int
    port: int
    outcomes: bytearray = field(init=False)
    asked: int = 0
    done: int = 0
    refused: int = 0  # connections; tried again
    losses: list[Loss] = field(default_factory=list)
    oddities: list[tuple[int, str]] = field(default_factory=list)
    lines: set["Line"] = field(default_factory=set)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.outcomes = bytearray(self.requests)

    async def run(self, clients: int, until: float) -> None:
        """Until all is asked, or the loop's clock says `until`; what is under way then is waited for."""
        loop = asyncio.get_running_loop()
        timer = loop.call_at(until, self.stop)
        watching = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._client() for _ in range(clients)))
        timer.cancel()
        watching.cancel()

    def stop(self) -> None:
        self.stopping = True

    def take(self) -> int | None:
        if self.stopping or self.asked >= self.requests:
            return None
        self.asked += 1
        return self.asked - 1

    def enter(self, number: int, outcome: int, words: str = "") -> None:
        self.outcomes[number] = outcome
        self.done += 1
        if words and len(self.oddities) < KEPT:
            self.oddities.append((number, words))

    async def _client(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.stopping and self.asked < self.requests:
            line = Line(self)
            try:
                await loop.create_connection(lambda line=line: line, "127.0.0.1", self.port)  # type: ignore[misc]
            except OSError:
                self.refused += 1
                await asyncio.sleep(RETRY)
                continue
            await line.ended

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            before = time.monotonic() - PATIENCE
            for line in list(self.lines):
                if line.number >= 0 and line.since < before:
                    line.give_up()


class Line(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = bytearray()
        self._left = PER_CONNECTION
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._plan: Plan | None = None
        self._body = 0  # where it begins; 0: the head is not here
        self._size = -1  # of head and body; -1: chunked
        self.number = -1
        self.port = 0
        self.opened = self.since = time.monotonic()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self.port = transport.get_extra_info("sockname")[1]
        self._load.lines.add(self)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.lines.discard(self)
        if self.number >= 0:
            began = self._body > 0
            self._load.losses.append(Loss(self.number, self.port, time.monotonic(), self.opened, began))
            self._load.enter(self.number, BROKEN if began else CLOSED)
        self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self.number < 0:
            return
        if not self._body and not self._head():
            return
        if self._plan and self._plan.fault == "hang_midway":
            self._hang_up(self.number)
        elif len(self._buffer) >= self._size >= 0 or (self._size < 0 and self._buffer.endswith(b"0\r\n\r\n")):
            self._whole()

    def give_up(self) -> None:
        self._load.enter(self.number, SILENT, f"no end after {PATIENCE:.0f} s: {bytes(self._buffer[:300])!r}")
        self._close()

    def _next(self) -> None:
        load = self._load
        number = load.take() if self._left else None
        if number is None:
            self._close()
            return
        self._left -= 1
        self.number, self.since = number, time.monotonic()
        self._plan = plan = load.traffic.plan(number)
        request = numbered(load.traffic.asked[plan.kind.name, plan.variant], number)
        if plan.fault == "hang_upload":
            request = request[: -len(request) // 3]
        if plan.fault in ("hang_upload", "hang_before"):
            self._loop.call_later(HANG_UP_AFTER, self._hang_up, number)
        if self._transport:
            self._transport.write(request)

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._body = end + 4
        length = LENGTH.search(self._buffer, 0, end + 2)
        self._size = self._body + int(length[1]) if length else -1
        return True

    def _whole(self) -> None:
        plan, number = self._plan, self.number
        assert plan
        status = bytes(self._buffer[9:12])
        outcome = STATUSES.get(status, OTHER)
        words = ""
        if status == b"200":
            outcome, words = self._checked(plan)
        elif outcome == OTHER:
            words = bytes(self._buffer[:500]).decode("latin-1")
        self._load.enter(number, outcome, words)
        self.number, self._body = -1, 0
        self._buffer.clear()
        self._next()

    def _checked(self, plan: Plan) -> tuple[int, str]:
        """By its route, if it is to the last byte what the upstream answers on that route."""
        found = ROUTE.search(self._buffer, 0, self._body)
        outcome = ROUTES.get(bytes(found[1]), OTHER) if found else OTHER
        if outcome == OTHER:
            return OTHER, bytes(self._buffer[: self._body]).decode("latin-1")
        arm = 0 if outcome == COMPILED else INCUMBENT
        answer = self._load.traffic.answers.get((plan.kind.name, plan.variant, arm))
        body = bytes(self._buffer[self._body :])
        if self._size < 0:
            body = b"".join(_unchunked(body))
        if answer and body == numbered(answer.shown, self.number):
            return outcome, ""
        return WRONG, f"{NAMES[outcome]}: {body[:2_000]!r}"

    def _hang_up(self, number: int) -> None:
        if self.number == number:
            self._load.enter(number, HUNG_UP)
            self._close(reset=bool(number & 1))

    def _close(self, *, reset: bool = False) -> None:
        self.number = -1
        if self._transport:
            self._transport.abort() if reset else self._transport.close()


def _unchunked(data: bytes) -> Iterator[bytes]:
    at = 0
    while (end := data.find(b"\r\n", at)) > 0 and (size := int(data[at:end], 16)):
        yield data[end + 2 : end + 2 + size]
        at = end + 4 + size
