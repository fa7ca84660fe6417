"""An upstream that answers at once with canned bytes: `python -m bench.upstream PORT`.

A stream's events leave in writes of their own, one for each turn of the loop, as a model's tokens do; asked for the
model `paced` they leave PACE seconds apart. Raw sockets, so that the proxy before it is what is measured.
"""

import asyncio
import json
import re
import sys
from typing import cast

import uvloop

EVENTS = 50  # of a stream, without the one that carries usage and without [DONE]
PACE = 0.01  # seconds: a fast model's 100 tokens a second
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: *(\d+)", re.I)
STREAMS = re.compile(rb'"stream" *: *true')
ASKS_USAGE = re.compile(rb'"include_usage" *: *true')
USAGE = {"prompt_tokens": 50, "completion_tokens": EVENTS, "total_tokens": 50 + EVENTS}
COMMON = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "instant"}


def _answer() -> bytes:
    message = {"role": "assistant", "content": "good"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({**COMMON, "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _event(data: str) -> bytes:
    event = f"data: {data}\n\n"
    return f"{len(event):x}\r\n{event}\r\n".encode()


def _chunk(choices: list[dict[str, object]], **more: object) -> bytes:
    return _event(json.dumps({**COMMON, "object": "chat.completion.chunk", "choices": choices, **more}))


def _stream() -> list[bytes]:
    deltas: list[dict[str, object]] = [{"content": f"word{number} "} for number in range(EVENTS - 2)]
    deltas = [{"role": "assistant", "content": ""}, *deltas]
    events = [_chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    return [*events, _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])]


ANSWER = _answer()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = _stream()
USAGE_EVENT = _chunk([], usage=USAGE)
STREAM_END = _event("[DONE]") + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        if (request := _whole(self._received)) is None or self._transport is None:
            return
        self._received = b""
        if not STREAMS.search(request):
            self._transport.write(ANSWER)
            return
        events = [*STREAM, USAGE_EVENT] if ASKS_USAGE.search(request) else STREAM
        self._transport.write(STREAM_HEAD)
        self._next([*events, STREAM_END], 0, PACE if b'"paced"' in request else 0.0)

    def _next(self, events: list[bytes], number: int, pace: float) -> None:
        """uvloop sends at the end of a turn what was written in it: one event for each turn."""
        if self._transport is None:
            return
        self._transport.write(events[number])
        if number + 1 == len(events):
            return
        if pace and number + 2 < len(events):
            self._loop.call_later(pace, self._next, events, number + 1, pace)
        else:
            self._loop.call_soon(self._next, events, number + 1, pace)


def _whole(received: bytes) -> bytes | None:
    """The request's body once it is here. No contender pipelines, so that what is here is one request."""
    end = received.find(HEAD_END)
    if end < 0:
        return None
    length = LENGTH.search(received, 0, end)
    if length is None:  # chunked
        return received if received.endswith(b"0\r\n\r\n") else None
    body = received[end + len(HEAD_END) :]
    return body if len(body) >= int(length[1]) else None


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1_024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
