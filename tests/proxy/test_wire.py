"""What proxy/wire.py does with aiohttp's connections, seen byte for byte from a socket that plays the upstream."""

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from proxy.wire import BadAnswerError, Outgoing, Wire, WireAnswer

PATIENCE = 10.0
CLOSE, RESET = object(), object()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NONE: CIMultiDict[str] = CIMultiDict()
Step = bytes | object | asyncio.Event
Script = Sequence[Step] | Callable[[bytes], Sequence[Step]]


class Raw:
    """Keeps the bytes of each request, and plays a script for each: bytes are sent, an event is waited for, CLOSE."""

    def __init__(self) -> None:
        self.received: list[tuple[int, bytes]] = []  # the connection's number, head and body
        self.scripts: list[Script] = []  # in turn; the last one again and again
        self.ended: list[asyncio.Event] = []  # of each connection
        self.asked = asyncio.Semaphore(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, ended = len(self.ended), asyncio.Event()
        self.ended.append(ended)
        try:
            while request := await _request(reader):
                self.received.append((number, request))
                self.asked.release()
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                for step in script(request) if callable(script) else script:
                    if step is CLOSE:
                        return
                    if step is RESET:
                        linger = struct.pack("ii", 1, 0)
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        return
                    if isinstance(step, asyncio.Event):
                        await step.wait()
                    else:
                        writer.write(step)
                        await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            ended.set()

    async def closed(self, number: int = 0) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.ended[number].wait()


async def _request(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


@pytest.fixture
async def raw() -> AsyncIterator[Raw]:
    raw = Raw()
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat/completions")
    yield raw
    server.close()
    for number in range(len(raw.ended)):
        await raw.closed(number)


@pytest.fixture
async def wire(raw: Raw) -> AsyncIterator[Wire]:
    async with aiohttp.TCPConnector(limit=0) as connector:
        yield Wire(connector, connect_seconds=PATIENCE, read_buffer=2**16)


async def _post(wire: Wire, url: URL, headers: CIMultiDict[str] = NONE, body: bytes = b"{}") -> WireAnswer:
    return await wire.send(Outgoing("POST", url.origin(), url.raw_path_qs, headers, body))


async def _body(wire: Wire, raw: Raw, body: bytes = b"{}") -> bytes:
    async with asyncio.timeout(PATIENCE), await _post(wire, raw.url, NONE, body) as answer:
        return await answer.content.read()


def _with_length(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_the_head_is_what_was_given_and_nothing_else(raw, wire):
    raw.scripts = [[OK]]
    url = URL(str(raw.url.origin()) + "/v1/a%2Fb%20c/%7Ed?q=%41&r=a+b", encoded=True)
    sent: CIMultiDict[str] = CIMultiDict([("X-One", "1"), ("x-tWo", "a"), ("x-tWo", "b")])
    sent.add("X-Name", b"caf\xe9 \xff".decode("utf-8", "surrogateescape"))
    sent.add("X-Word", "żółw")
    async with await _post(wire, url, sent, b"body") as answer:
        await answer.content.read()
    assert raw.received[0][1] == (
        b"POST /v1/a%2Fb%20c/%7Ed?q=%41&r=a+b HTTP/1.1\r\n"
        + f"Host: 127.0.0.1:{url.port}\r\nContent-Length: 4\r\n".encode()
        + b"X-One: 1\r\nx-tWo: a\r\nx-tWo: b\r\nX-Name: caf\xe9 \xff\r\n"
        + "X-Word: żółw\r\n\r\nbody".encode()
    )


@pytest.mark.parametrize("body", [b"", bytes(range(256)) * 8, b"x" * 3_000_000], ids=["none", "all bytes", "long"])
async def test_a_body_goes_out_byte_for_byte(raw, wire, body):
    raw.scripts = [[OK]]
    assert await _body(wire, raw, body) == b"ok"
    assert raw.received[0][1].partition(b"\r\n\r\n")[2] == body


async def test_calls_in_turn_use_one_connection(raw, wire):
    raw.scripts = [[OK]]
    assert [await _body(wire, raw) for _ in range(3)] == [b"ok"] * 3
    assert [number for number, _ in raw.received] == [0, 0, 0]


async def test_a_connection_that_the_upstream_ends_is_not_used_again(raw, wire):
    raw.scripts = [[_with_length(b"ok", b"Connection: close")]]
    assert [await _body(wire, raw) for _ in range(2)] == [b"ok"] * 2
    assert [number for number, _ in raw.received] == [0, 1]


async def test_an_answer_not_read_to_its_end_closes_its_connection(raw, wire):
    raw.scripts = [[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"], [OK]]
    async with await _post(wire, raw.url) as answer:
        assert await answer.content.readany() == b"half"
    await raw.closed(0)
    assert await _body(wire, raw) == b"ok"
    assert [number for number, _ in raw.received] == [0, 1]


@pytest.mark.parametrize(
    ("script", "kept"),
    [
        ([_with_length(b"abcdef")], True),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n"], True),
        ([b"HTTP/1.1 200 OK\r\n\r\nabc", b"def", CLOSE], False),
    ],
    ids=["length", "chunked", "until close"],
)
async def test_a_body_is_read_whole_however_its_end_is_told(raw, wire, script, kept):
    raw.scripts = [script, [OK]]
    assert await _body(wire, raw) == b"abcdef"
    assert await _body(wire, raw) == b"ok"
    assert [number for number, _ in raw.received] == [0, 0 if kept else 1]


async def test_a_packed_body_stays_packed(raw, wire):
    packed = gzip.compress(b"answer")
    raw.scripts = [[_with_length(packed, b"Content-Encoding: gzip")]]
    async with await _post(wire, raw.url) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert await answer.content.read() == packed


async def test_status_reason_and_headers_are_as_they_came(raw, wire):
    raw.scripts = [[_with_length(b"", b"x-Id: \xff", b"Set-Cookie: a=1", b"Set-Cookie: b=2", status=b"302 Not Here")]]
    async with await _post(wire, raw.url) as answer:
        assert (answer.status, answer.reason) == (302, "Not Here")
        assert answer.raw_headers[:3] == ((b"x-Id", b"\xff"), (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"))


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "apart"])
async def test_what_comes_before_the_answer_is_skipped(raw, wire, apart):
    early = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"]
    raw.scripts = [[*early, OK] if apart else [b"".join([*early, OK])]]
    assert [await _body(wire, raw) for _ in range(2)] == [b"ok"] * 2
    assert [number for number, _ in raw.received] == [0, 0]


async def test_an_answer_without_content_has_no_body(raw, wire):
    raw.scripts = [[b"HTTP/1.1 204 No Content\r\n\r\n"], [OK]]
    assert await _body(wire, raw) == b""
    assert await _body(wire, raw) == b"ok"
    assert [number for number, _ in raw.received] == [0, 0]


@pytest.mark.parametrize("script", [[CLOSE], [b"HTTP/1.1 200 OK\r\nContent-", CLOSE]], ids=["none", "half a head"])
async def test_a_new_connection_closed_before_the_answer_is_an_error_and_nothing_is_sent_twice(raw, wire, script):
    raw.scripts = [script, [OK]]
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await _body(wire, raw)
    assert [number for number, _ in raw.received] == [0]


async def test_a_kept_connection_closed_as_we_write_is_replaced_by_a_new_one(raw, wire):
    raw.scripts = [[OK], [CLOSE], [OK]]
    await _body(wire, raw)
    assert await _body(wire, raw) == b"ok"
    assert [number for number, _ in raw.received] == [0, 0, 1]


async def test_a_kept_connection_that_is_reset_as_we_write_is_replaced_by_a_new_one(raw, wire, monkeypatch):
    """Closed with our bytes unread, as a server does that ends what it takes for idle."""
    raw.scripts = [[OK], [RESET], [OK]]
    await _body(wire, raw)
    assert await _body(wire, raw) == b"ok"
    assert [number for number, _ in raw.received] == [0, 0, 1]


async def test_an_answer_that_nobody_asked_for_is_not_the_next_requests(raw, wire):
    raw.scripts = [[OK + b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"], [OK]]
    await _body(wire, raw)
    await asyncio.sleep(0)
    assert await _body(wire, raw) == b"ok"


async def test_what_is_closed_before_the_answer_twice_is_an_error(raw, wire):
    raw.scripts = [[OK], [CLOSE], [CLOSE], [OK]]
    await _body(wire, raw)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await _body(wire, raw)
    assert [number for number, _ in raw.received] == [0, 0, 1]


async def test_a_kept_connection_closed_after_a_while_of_work_is_an_error(raw, wire, monkeypatch):
    monkeypatch.setattr("proxy.wire.CLOSED_SECONDS", -1)
    raw.scripts = [[OK], [CLOSE], [OK]]
    await _body(wire, raw)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await _body(wire, raw)


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 9\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"],
    ids=["length", "chunked"],
)
async def test_a_body_cut_short_is_an_error(raw, wire, head):
    raw.scripts = [[b"HTTP/1.1 200 OK\r\n" + head, CLOSE], [OK]]
    with pytest.raises(aiohttp.ClientPayloadError):
        await _body(wire, raw)
    assert await _body(wire, raw) == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\0: \r\n\r\n",
    ],
    ids=["another protocol", "no length", "no header"],
)
async def test_what_is_not_http_is_a_bad_answer(raw, wire, answer):
    raw.scripts = [[answer], [OK]]
    with pytest.raises(BadAnswerError):
        await _body(wire, raw)
    await raw.closed(0)
    assert await _body(wire, raw) == b"ok"


async def test_bytes_after_an_answer_do_not_reach_the_next_call(raw, wire):
    raw.scripts = [[OK + _with_length(b"not asked for")], [OK]]
    assert await _body(wire, raw) == b"ok"
    assert await _body(wire, raw) == b"ok"
    assert [number for number, _ in raw.received] == [0, 1]


async def test_nobody_listening_is_a_connector_error(wire):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(aiohttp.ClientConnectorError):
            await _post(wire, URL(f"http://127.0.0.1:{port}/v1"))


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"], ids=["head", "body"])
async def test_a_cancelled_caller_closes_its_connection(raw, wire, begun):
    raw.scripts = [[begun], [OK]]
    reading = asyncio.create_task(_body(wire, raw))
    async with asyncio.timeout(PATIENCE):
        await raw.asked.acquire()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await raw.closed(0)
    assert await _body(wire, raw) == b"ok"


async def test_many_calls_at_once_each_get_their_own_answer(raw, wire):
    all_here = asyncio.Event()

    def echo(request: bytes) -> Sequence[Step]:
        if len(raw.received) == 100:
            all_here.set()
        return [all_here, _with_length(request.partition(b"\r\n\r\n")[2])]

    raw.scripts = [echo]
    bodies = [b'{"n": %d}' % n for n in range(100)]
    assert await asyncio.gather(*(_body(wire, raw, body) for body in bodies)) == bodies
    assert len({number for number, _ in raw.received}) == 100
