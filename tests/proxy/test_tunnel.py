"""WebSocket tunnels over real sockets, on asyncio's loop and on the one that serves."""

import asyncio
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
import uvloop
from aiohttp import WSMsgType, web
from aiohttp.base_protocol import BaseProtocol

from compiler.endpoint import Endpoint
from proxy import headers, tunnel
from proxy.errors import ProxyError, translate
from proxy.upstream import READ_BUFFER, Upstream
from proxy.wire import BadAnswerError, Wire

PATIENCE = 10.0
ALL_BYTES = bytes(range(256))  # as frames: reserved bits, unknown opcodes, wrong masking
SMALL = 2**14  # a socket buffer
READ = 2**18  # what a loop reads at once
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: abc\r\n\r\n"
)
ASK = (
    b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request):
    return lambda scenario: request.param(asyncio.wait_for(scenario, PATIENCE))


def _small(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    sock.setblocking(False)
    return sock


def _listening() -> socket.socket:
    sock = _small(socket.socket())
    sock.bind(("127.0.0.1", 0))
    return sock


@dataclass
class Proxy:
    port: int
    connector: aiohttp.TCPConnector
    runner: web.AppRunner
    protocols: list[BaseProtocol] = field(default_factory=list)
    """The client's and the upstream's, of each tunnel."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/realtime"

    async def connect(self) -> Stream:
        sock = _small(socket.socket())
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return await asyncio.open_connection(sock=sock, limit=SMALL)

    def pooled(self) -> int:
        return len(self.connector._conns) + len(self.connector._acquired)


@asynccontextmanager
async def proxied(port: int, *, cancellation: bool = True) -> AsyncIterator[Proxy]:
    """A server that does with an upgrade what passthrough does."""
    endpoint = Endpoint("raw", f"http://127.0.0.1:{port}/v1")
    connector = aiohttp.TCPConnector(limit=0, socket_factory=lambda info: _small(socket.socket(*info[:3])))

    async def handle(request: web.Request) -> web.StreamResponse:
        sent = headers.to_upstream(request.raw_headers, endpoint, client_key=True)
        sent.update(tunnel.upgrade_headers(request))
        data = request.content if request.can_read_body else None
        try:
            answer = await upstream.send(request.method, endpoint, request.raw_path, sent, data)
        except BadAnswerError as error:
            return translate(error, "raw").response()
        async with answer:
            shown = headers.to_client(answer.raw_headers)
            if answer.status == 101:
                if answer.connection:
                    proxy.protocols += [request.protocol, answer.connection.protocol]
                try:
                    return await tunnel.tunnel(request, answer, shown)
                except ProxyError as error:
                    return error.response()
            return web.Response(status=answer.status, headers=shown, body=await answer.read())

    app = web.Application()
    app.router.add_route("*", "/v1/{path:.*}", handle)
    runner = web.AppRunner(app, handler_cancellation=cancellation, access_log=None, shutdown_timeout=0.01)
    async with connector:
        upstream = Upstream(Wire(connector, connect_seconds=PATIENCE, read_buffer=READ_BUFFER))
        await runner.setup()
        listening = _listening()
        proxy = Proxy(listening.getsockname()[1], connector, runner)
        await web.SockSite(runner, listening).start()
        try:
            yield proxy
        finally:
            await runner.cleanup()


@asynccontextmanager
async def raw(*, cancellation: bool = True, first: bytes = b"") -> AsyncIterator[tuple[Proxy, Stream, Stream, bytes]]:
    """A tunnel between two plain sockets: proxy, client, upstream, and the head that the upstream got. `first`: what
    either side sends in one piece with its head."""
    accepted: asyncio.Queue[Stream] = asyncio.Queue()
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(lambda r, w: accepted.put_nowait((r, w)), sock=_listening(), limit=SMALL)
        stack.callback(server.close)
        proxy = await stack.enter_async_context(proxied(server.sockets[0].getsockname()[1], cancellation=cancellation))
        client = await proxy.connect()
        stack.callback(client[1].close)
        client[1].write(ASK + first)
        upstream = await accepted.get()
        stack.callback(upstream[1].close)
        head = await upstream[0].readuntil(b"\r\n\r\n")
        upstream[1].write(SWITCH + first)
        yield proxy, client, upstream, head


async def _opened(client: Stream) -> bytes:
    head = await client[0].readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    return head.lower()


@asynccontextmanager
async def sockets(
    serve: Callable[[web.WebSocketResponse], Awaitable[None]], **options: object
) -> AsyncIterator[tuple[aiohttp.ClientSession, Proxy]]:
    """aiohttp's own WebSocket at both ends."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(max_msg_size=0, **options)
        await ws.prepare(request)
        await serve(ws)
        return ws

    app = web.Application()
    app.router.add_get("/v1/realtime", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    listening = _listening()
    await web.SockSite(runner, listening).start()
    try:
        async with proxied(listening.getsockname()[1]) as proxy, aiohttp.ClientSession() as session:
            yield session, proxy
    finally:
        await runner.cleanup()


async def _echo(ws: web.WebSocketResponse) -> None:
    async for message in ws:
        await (ws.send_str if message.type is WSMsgType.TEXT else ws.send_bytes)(message.data)


@pytest.mark.parametrize("compress", [0, 15])
def test_messages_of_every_size_pass(run, compress):
    async def scenario():
        big = os.urandom(2_500_000).hex()
        async with (
            sockets(_echo, compress=bool(compress)) as (session, proxy),
            session.ws_connect(proxy.url, compress=compress, max_msg_size=0) as ws,
        ):
            assert ws.compress == compress
            for text in ("", "hello", big):
                await ws.send_str(text)
                assert await ws.receive_str() == text
            await ws.send_bytes(ALL_BYTES)
            assert await ws.receive_bytes() == ALL_BYTES

    run(scenario())


def test_the_ends_agree_on_a_subprotocol(run):
    async def scenario():
        async with (
            sockets(_echo, protocols=("realtime",)) as (session, proxy),
            session.ws_connect(proxy.url, protocols=("other", "realtime")) as ws,
        ):
            assert ws.protocol == "realtime"

    run(scenario())


def test_pings_and_pongs_are_the_ends_own(run):
    async def scenario():
        seen = []

        async def serve(ws):
            seen.append(await ws.receive())
            await ws.pong(b"answer")
            await ws.ping(b"question")
            seen.append(await ws.receive())

        async with (
            sockets(serve, autoping=False) as (session, proxy),
            session.ws_connect(proxy.url, autoping=False) as ws,
        ):
            await ws.ping(b"ask")
            assert (await ws.receive())[:2] == (WSMsgType.PONG, b"answer")
            assert (await ws.receive())[:2] == (WSMsgType.PING, b"question")
            await ws.pong(b"reply")
            assert (await ws.receive()).type is WSMsgType.CLOSE
        assert [tuple(message[:2]) for message in seen] == [(WSMsgType.PING, b"ask"), (WSMsgType.PONG, b"reply")]

    run(scenario())


def test_the_clients_close_code_and_reason_arrive(run):
    async def scenario():
        closing = asyncio.get_running_loop().create_future()

        async def serve(ws):
            closing.set_result(await ws.receive())

        async with sockets(serve) as (session, proxy), session.ws_connect(proxy.url) as ws:
            await ws.close(code=4001, message=b"enough")
            assert (await closing)[:3] == (WSMsgType.CLOSE, 4001, "enough")

    run(scenario())


def test_the_upstreams_close_code_and_reason_arrive(run):
    async def scenario():
        async def serve(ws):
            await ws.close(code=4002, message=b"session expired")

        async with sockets(serve) as (session, proxy), session.ws_connect(proxy.url) as ws:
            assert (await ws.receive())[:3] == (WSMsgType.CLOSE, 4002, "session expired")

    run(scenario())


def test_fifty_at_once_and_none_goes_to_the_pool(run):
    async def scenario():
        async with sockets(_echo) as (session, proxy):
            everyone = asyncio.Barrier(50)

            async def one(number: int) -> None:
                async with session.ws_connect(proxy.url) as ws:
                    await everyone.wait()
                    for turn in range(5):
                        await ws.send_str(f"{number} {turn}")
                        assert await ws.receive_str() == f"{number} {turn}"

            await asyncio.gather(*map(one, range(50)))
            assert len(proxy.protocols) == 100
            while proxy.pooled():
                await asyncio.sleep(0)

    run(scenario())


def test_both_heads_are_what_the_other_side_sent(run):
    async def scenario():
        async with raw() as (_, client, _, asked):
            shown = await _opened(client)
            assert asked.startswith(b"GET /v1/realtime?model=m HTTP/1.1\r\n")
            for line in (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="):
                assert asked.count(line + b"\r\n") == 1
            for line in (b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-accept: abc"):
                assert shown.count(line + b"\r\n") == 1
            assert b"content-" not in shown
            assert b"transfer-encoding" not in shown

    run(scenario())


@pytest.mark.parametrize("first", [ALL_BYTES, ALL_BYTES * 1_000], ids=["in the same segment", "in several"])
def test_what_comes_with_a_head_is_not_lost(run, first):
    async def scenario():
        async with raw(first=first) as (_, client, upstream, _):
            await _opened(client)
            for reader, writer in ((client[0], upstream[1]), (upstream[0], client[1])):
                writer.write(b"then")
                assert await reader.readexactly(len(first) + 4) == first + b"then"

    run(scenario())


def test_an_idle_tunnel_has_no_timeout(run):
    async def scenario():
        async with raw() as (proxy, client, upstream, _):
            await _opened(client)
            upstream[1].write(ALL_BYTES)
            assert await client[0].readexactly(256) == ALL_BYTES
            assert proxy.protocols[1].read_timeout is None
            assert proxy.protocols[1]._read_timeout_handle is None

    run(scenario())


@pytest.mark.parametrize("cancellation", [True, False])
@pytest.mark.parametrize("gone", ["client", "upstream"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_end_of_one_side_ends_the_other(run, cancellation, gone, how):
    async def scenario():
        async with raw(cancellation=cancellation) as (proxy, client, upstream, _):
            await _opened(client)
            leaving, staying = (client, upstream) if gone == "client" else (upstream, client)
            leaving[1].write(b"last words")
            assert await staying[0].readexactly(10) == b"last words"
            if how == "reset":
                sock = leaving[1].get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            leaving[1].close()
            assert await staying[0].read() == b""
            while proxy.pooled():
                await asyncio.sleep(0)

    run(scenario())


def test_what_was_sent_before_the_end_arrives(run):
    async def scenario():
        async with raw() as (_, client, upstream, _):
            await _opened(client)
            upstream[1].write(ALL_BYTES * 1_000)
            upstream[1].close()
            assert await client[0].read() == ALL_BYTES * 1_000

    run(scenario())


def test_an_upstream_that_ends_at_once_ends_the_client(run):
    async def scenario():
        async with raw(first=b"bye") as (_, client, upstream, _):
            upstream[1].close()
            await _opened(client)
            assert await client[0].read() == b"bye"

    run(scenario())


@pytest.mark.parametrize("cancellation", [True, False])
def test_shutdown_ends_both_sides(run, cancellation):
    async def scenario():
        async with raw(cancellation=cancellation) as (proxy, client, upstream, _):
            await _opened(client)
            await proxy.runner.cleanup()
            assert await client[0].read() == await upstream[0].read() == b""

    run(scenario())


async def _flood(proxy: Proxy, sender: asyncio.StreamWriter, pieces: list[bytes]) -> tuple[asyncio.Task[None], int]:
    """Sends until nobody takes any more: the task that still sends, and how many pieces were taken."""
    taken = 0

    async def send() -> None:
        nonlocal taken
        for piece in pieces:
            sender.write(piece)
            await sender.drain()
            taken += 1

    sender.transport.set_write_buffer_limits(0)
    sending = asyncio.create_task(send())
    turns, before = 0, -1
    while turns < 500 and not sending.done():  # everything full: nothing changes until somebody reads
        await asyncio.sleep(0)
        paused = any(protocol._reading_paused for protocol in proxy.protocols)
        turns, before = (turns + 1 if paused and taken == before else 0), taken
    return sending, taken


@pytest.mark.parametrize("slow", ["client", "upstream"])
def test_a_side_that_does_not_read_blocks_the_other_and_loses_nothing(run, monkeypatch, slow):
    held = []
    original = tunnel._Pipe.feed_data

    def feed_data(pipe, data):
        result = original(pipe, data)
        held.append(pipe._sink.transport.get_write_buffer_size())
        return result

    monkeypatch.setattr(tunnel._Pipe, "feed_data", feed_data)

    async def scenario():
        async with raw() as (proxy, client, upstream, _):
            await _opened(client)
            reading, sending = (client, upstream) if slow == "client" else (upstream, client)
            pieces = [bytes([number]) * 2**16 for number in range(256)]
            task, taken = await _flood(proxy, sending[1], pieces)
            assert not task.done()
            assert taken * 2**16 < 4 * 2**20
            digest = hashlib.sha256()
            for _ in pieces:
                digest.update(await reading[0].readexactly(2**16))
            await task
            assert digest.digest() == hashlib.sha256(b"".join(pieces)).digest()
            assert max(held) <= 2**16 + 2 * READ

    run(scenario())


def test_a_blocked_direction_does_not_block_the_other(run):
    async def scenario():
        async with raw() as (proxy, client, upstream, _):
            await _opened(client)
            task, _ = await _flood(proxy, upstream[1], [bytes(2**16)] * 256)
            client[1].write(b"stop")
            assert await upstream[0].readexactly(4) == b"stop"
            task.cancel()

    run(scenario())


def test_a_client_that_leaves_unread_what_it_was_sent_ends_the_upstream(run):
    async def scenario():
        async with raw() as (proxy, client, upstream, _):
            await _opened(client)
            task, _ = await _flood(proxy, upstream[1], [bytes(2**16)] * 256)
            client[1].transport.abort()
            with pytest.raises(ConnectionError):
                await task

    run(scenario())


def test_after_the_end_a_client_that_does_not_read_is_not_waited_for(run, monkeypatch):
    monkeypatch.setattr(tunnel, "LINGER", 0)

    async def scenario():
        async with raw() as (proxy, client, upstream, _):
            await _opened(client)
            task, _ = await _flood(proxy, upstream[1], [bytes(2**16)] * 256)
            transport = proxy.protocols[0].transport
            assert transport.get_write_buffer_size()
            await proxy.runner.cleanup()
            with pytest.raises(ConnectionError):
                await task
            while transport.get_write_buffer_size():
                await asyncio.sleep(0)

    run(scenario())


def test_a_refused_upgrade_is_the_upstreams_answer(run):
    async def scenario():
        async def refuse(request: web.Request) -> web.Response:
            return web.json_response({"error": {"code": "invalid_api_key"}}, status=401)

        app = web.Application()
        app.router.add_get("/v1/realtime", refuse)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        listening = _listening()
        await web.SockSite(runner, listening).start()
        async with proxied(listening.getsockname()[1]) as proxy, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(proxy.url)
            assert refused.value.status == 401
            asking = {"Connection": "Upgrade", "Upgrade": "websocket"}
            async with session.get(proxy.url, headers=asking) as answer:
                assert await answer.json() == {"error": {"code": "invalid_api_key"}}
        await runner.cleanup()

    run(scenario())


@pytest.mark.parametrize(
    "ask",
    [
        ASK.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        ASK.replace(b"keep-alive, Upgrade", b"keep-alive"),
        ASK.replace(b"HTTP/1.1", b"HTTP/1.0"),
        ASK.replace(b"GET", b"POST"),
        ASK.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n{}"),
    ],
    ids=["another protocol", "not in Connection", "HTTP/1.0", "POST", "a body"],
)
def test_what_is_no_websocket_is_not_asked_for_and_not_switched(run, ask):
    async def scenario():
        asked = asyncio.get_running_loop().create_future()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set_result((await reader.readuntil(b"\r\n\r\n")).lower())
            writer.write(SWITCH)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(answer, sock=_listening())
        async with proxied(server.sockets[0].getsockname()[1]) as proxy:
            reader, writer = await proxy.connect()
            writer.write(ask)
            assert b" 502 " in await reader.readuntil(b"\r\n\r\n")
            assert b"upgrade:" not in await asked
            writer.close()
        server.close()

    run(scenario())
