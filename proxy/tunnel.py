"""WebSockets under /v1/: after the upstream's 101, what either side sends passes as bytes, neither parsed nor held.

The connections stay aiohttp's; where it would put its WebSocket reader (`set_parser`), each gets a pipe to the other.
"""

import asyncio
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11, StreamWriter
from multidict import CIMultiDict

from proxy.errors import UpstreamFailedError
from proxy.reply import Reply
from proxy.upstream import Answer

LINGER = 10.0  # seconds that a side which does not read has for what was written to it before the end


def upgrade_headers(request: web.Request) -> dict[str, str]:
    """What the upstream must be sent besides the end-to-end headers; nothing unless the client asks for a WebSocket.

    Other protocols aren't asked for: aiohttp's parser would go on reading HTTP. Nor is one in a request with a body.
    """
    wanted = request.headers.get("Upgrade", "")
    websocket = request._message.upgrade and wanted.lower() == "websocket"
    if websocket and request.method == "GET" and request.version >= HttpVersion11 and not request.body_exists:
        return {"Connection": "Upgrade", "Upgrade": wanted}
    return {}


async def tunnel(request: web.Request, answer: Answer, shown: CIMultiDict[str]) -> web.StreamResponse:
    """Switches the client over as `answer`, a 101, says; then both ways until one side ends, which ends the other."""
    connection = answer.connection
    upstream = connection.protocol if connection else None
    if upstream is None or not upstream.upgraded or not upgrade_headers(request):
        answer.close()
        raise UpstreamFailedError("the upstream switched protocols unasked", code="upstream_broke_off")
    client = request.protocol
    shown.update({"Connection": "Upgrade", "Upgrade": answer.headers["Upgrade"]})
    response = Reply(answer.status, answer.reason, shown)
    response.force_close()
    ended = asyncio.Event()
    pipes: tuple[Any, Any] = (_Pipe(client, upstream, ended), _Pipe(upstream, client, ended))
    transports = [protocol.transport for protocol in (client, upstream) if protocol.transport]
    try:
        await response.prepare(request)
        upstream.read_timeout = None
        client.set_parser(pipes[0])
        upstream.set_parser(pipes[1], None)
        if client.connected and upstream.connected:  # else nobody will tell of the end
            await ended.wait()
    finally:
        for pipe in pipes:
            pipe.stop()
        for transport in transports:
            _end(transport)
        answer.close()
    return response


def _end(transport: asyncio.Transport) -> None:
    """Closes once all is written, or when it has had LINGER seconds for that."""
    transport.close()
    asyncio.get_running_loop().call_later(LINGER, transport.abort)


class _Pipe:
    """A parser to aiohttp: writes what `source` receives to `sink`, and lets `source` read no faster than that goes."""

    def __init__(self, source: BaseProtocol, sink: BaseProtocol, ended: asyncio.Event) -> None:
        self._source = source
        self._sink = sink
        self._ended = ended
        self._waiting: asyncio.Task[None] | None = None

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        transport = self._sink.transport
        if transport is None or transport.is_closing():
            self.feed_eof()
            return False, b""
        transport.write(data)
        if self._sink.writing_paused and self._waiting is None:
            self._source.pause_reading()
            self._waiting = asyncio.create_task(self._resume())
        return False, b""

    async def _resume(self) -> None:
        with suppress(ConnectionError):  # of the sink: its own pipe is told
            await StreamWriter(self._sink, asyncio.get_running_loop()).drain()
        self._waiting = None
        self._source.resume_reading()

    def feed_eof(self) -> None:
        self._ended.set()

    def stop(self) -> None:
        if self._waiting:
            self._waiting.cancel()
