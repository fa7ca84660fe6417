"""Load: clients that each send the next request when the last one is answered, over raw sockets and keep-alive.

It reads no more of an answer than where it begins, how many events it has and where it ends, so that one core is
enough to load any contender.
"""

import asyncio
import re
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: *(\d+)", re.I)
EVENT = b"data:"
LAST_CHUNK = b"0\r\n\r\n"
GRACE = 30.0  # seconds that the last answers may take


class LoadError(Exception):
    """A contender answered what it must not, or nothing."""


@dataclass(frozen=True)
class Load:
    """What one measurement saw. Seconds."""

    elapsed: float
    latencies: list[float] = field(repr=False)  # whole answers
    first_bytes: list[float] = field(repr=False)  # first event of streams, first byte of others
    events: int

    @property
    def requests(self) -> int:
        return len(self.latencies)

    @property
    def per_second(self) -> float:
        return self.requests / self.elapsed

    @property
    def events_per_second(self) -> float:
        return self.events / self.elapsed

    @property
    def p50(self) -> float:
        return statistics.median(self.latencies)

    @property
    def p99(self) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]

    @property
    def first_byte(self) -> float:
        return statistics.median(self.first_bytes)


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    fixed = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": len(body)}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**fixed, **headers}.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Client(asyncio.Protocol):
    """One connection. `expects`: what each answer's head must say."""

    def __init__(self, requests: Iterator[bytes], until: float, expects: bytes, streams: bool) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.first_bytes: list[float] = []
        self.events = 0
        self.last_answer = b""
        self._requests, self._until, self._expects, self._streams = requests, until, expects, streams
        self._begun = 0.0
        self._transport: asyncio.Transport | None = None
        self._reset()

    def _reset(self) -> None:
        self._received = b""
        self._in_body = False
        self._remaining: int | None = None  # bytes of the body still to come; None: chunked
        self._tail = b""
        self._is_first = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was closed ({exc}) after {self._received[:300]!r}")

    def _send(self) -> None:
        assert self._transport
        self._reset()
        request = next(self._requests)
        self._begun = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._in_body:
            self._body(data)
            return
        self._received += data
        end = self._received.find(HEAD_END)
        if end >= 0:
            self._head(self._received[:end])
            self._in_body = True
            self._body(self._received[end + len(HEAD_END) :])

    def _head(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 200") or self._expects not in head:
            self._fail(f"answered {self._received[:600]!r}")
        length = LENGTH.search(head)
        self._remaining = int(length[1]) if length else None

    def _body(self, data: bytes) -> None:
        seen = self._tail + data
        if self._streams:
            self.events += seen.count(EVENT)
        if self._is_first and (EVENT in seen if self._streams else data):
            self._is_first = False
            self.first_bytes.append(time.perf_counter() - self._begun)
        self._tail = seen[-(len(EVENT) - 1) :]
        if self._remaining is not None:
            self._remaining -= len(data)
            if self._remaining <= 0:
                self._answered()
        elif seen.endswith(LAST_CHUNK):
            self._answered()

    def _answered(self) -> None:
        now = time.perf_counter()
        self.latencies.append(now - self._begun)
        if now < self._until and not self.done.done():
            self._send()
            return
        if not self.done.done():
            self.done.set_result(None)
        if self._transport:
            self._transport.close()

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(LoadError(why))
        self.close()

    def close(self) -> None:
        if self._transport:
            self._transport.abort()


async def load(
    port: int,
    requests: Iterator[bytes],
    concurrency: int,
    seconds: float,
    *,
    streams: bool = False,
    expects: bytes = b"",
) -> Load:
    """Clients take the next of `requests`, which never end. Raises LoadError where an answer is not 200 or lacks
    `expects` in its head."""
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    clients: list[_Client] = []
    try:
        async with asyncio.timeout(seconds + GRACE):
            for _ in range(concurrency):
                _, client = await loop.create_connection(
                    lambda: _Client(requests, begun + seconds, expects, streams), "127.0.0.1", port
                )
                clients.append(client)
            await asyncio.gather(*(client.done for client in clients))
    except (OSError, TimeoutError) as error:
        raise LoadError(f"{type(error).__name__} {error}") from None
    finally:
        for client in clients:
            client.close()
    return Load(
        elapsed=time.perf_counter() - begun,
        latencies=[value for client in clients for value in client.latencies],
        first_bytes=[value for client in clients for value in client.first_bytes],
        events=sum(client.events for client in clients),
    )
