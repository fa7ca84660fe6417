"""Where one message ends and the next begins: on both sides the same, whatever is tried."""

import asyncio

import pytest

from tests.proxy.sockets import CHAT, CLOSE, JSON, OK, RawClient, answer, chat, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET, POST = b"GET /v1/files", b"POST /v1/files"
CHUNKED = b"Transfer-Encoding: chunked"
NEXT = request(b"GET /v1/next")
HIDDEN = request(b"GET /v1/hidden")
LINES = {"chat": (CHAT, JSON), "passthrough": (POST, b"X-Y: z")}


@pytest.fixture(params=LINES.values(), ids=LINES)
def line(request):
    return request.param


def number_of(index: int) -> bytes:
    return answer(b"200 OK", body=b"%d" % index)


# One after another


async def test_requests_in_turn_use_one_connection_on_either_side(client, upstream):
    for asked in (chat(), NEXT, request(POST, body=b"x"), chat(b'{"model":"m","stream":true}'), request(b"HEAD /v1/x")):
        await client.ask(asked, to_head=asked.startswith(b"HEAD"))
    assert len({r.connection for r in upstream.requests}) == 1
    assert len(upstream.requests) == 5


async def test_requests_sent_at_once_are_answered_in_order(client, upstream):
    upstream.answers(*map(number_of, range(6)))
    client.write(NEXT + request(POST, body=b"\r\n") + chat() + request(b"PUT /v1/files", body=b"") + NEXT)
    assert [(await client.answer()).body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    assert [r.start.split()[0] for r in upstream.requests] == [b"GET", b"POST", b"POST", b"PUT", b"GET"]


async def test_a_request_in_pieces_is_one_request(client, upstream):
    for byte in chat(b"{}"):
        client.write(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.answer()).status == 200
    assert len(upstream.requests) == 1


async def test_a_client_that_asks_for_the_end_gets_it_after_its_answer(client, upstream):
    assert (await client.ask(request(GET, b"Connection: close"))).values(b"connection") == [b"close"]
    assert await client.rest() == b""
    assert len(upstream.requests) == 1


async def test_an_old_client_gets_an_answer_that_ends_with_the_connection(client, upstream):
    upstream.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    reply = await client.ask(request(GET).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (reply.body, reply.values(b"transfer-encoding")) == (b"ok", [])
    assert (await upstream.request()).start.endswith(b"HTTP/1.1")


# Trailers


async def test_a_trailer_of_a_request_reaches_nobody_and_nothing_follows_it(client, upstream, line):
    """aiohttp's parser gives a trailer to the next request of the connection, another client's behind a load balancer:
    so there is no next one. It can't be passed on either: the parser doesn't show it."""
    client.write(request(*line, CHUNKED) + b"2\r\n{}\r\n0\r\nX-Cuecard-Key: stolen\r\nX-T: 1\r\n\r\n" + NEXT)
    reply = await client.answer()
    assert (reply.status, reply.values(b"connection")) == (200, [b"close"])
    assert await client.rest() == b""
    assert [r.body for r in upstream.requests] == [b"{}"]
    assert b"X-T" not in upstream.bytes


@pytest.mark.parametrize("path", [b"/health/live", b"/nowhere", b"/metrics"])
async def test_nothing_follows_a_request_in_chunks_wherever_it_goes(client, path):
    client.write(request(b"GET " + path, CHUNKED) + b"0\r\nX-T: 1\r\n\r\n" + NEXT)
    assert (await client.answer()).values(b"connection") == [b"close"]
    assert await client.rest() == b""


async def test_a_trailer_of_an_answer_is_dropped_and_not_the_next_answers(client, upstream):
    trailed = b"HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"
    upstream.answers(trailed, OK, trailed, OK)
    for asked in (NEXT, NEXT, chat(), chat()):
        reply = await client.ask(asked)
        assert reply.body == b"ok"
        assert (reply.trailers, reply.values(b"x-t"), reply.values(b"trailer")) == ([], [], [])
    assert len({r.connection for r in upstream.requests}) == 1


# What two readers could read differently

SMUGGLED = {
    "length and chunks": request(POST, b"Content-Length: 5", CHUNKED) + b"0\r\n\r\n" + HIDDEN,
    "chunks and length": request(POST, CHUNKED, b"Content-Length: 5") + b"0\r\n\r\n" + HIDDEN,
    "chat with both": request(CHAT, JSON, CHUNKED, b"Content-Length: 2") + b"2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": request(POST, b"Content-Length: 5", b"Content-Length: 6") + b"hello!",
    "the same length twice": request(POST, b"Content-Length: 5", b"Content-Length: 5") + b"hello",
    "a list of lengths": request(POST, b"Content-Length: 5, 5") + b"hello",
    "a length with a sign": request(POST, b"Content-Length: +5") + b"hello",
    "a negative length": request(POST, b"Content-Length: -5") + b"hello",
    "a hexadecimal length": request(POST, b"Content-Length: 0x5") + b"hello",
    "no length": request(POST, b"Content-Length: ") + b"hello",
    "an endless length": request(POST, b"Content-Length: " + b"9" * 40) + b"hello",
    "a space before the colon": request(POST, b"Content-Length : 5") + b"hello",
    "a folded header": request(GET, b"X-A: 1\r\n 2"),
    "a folded length": request(GET, b"X-A: 1\r\n\tContent-Length: 2"),
    "bare line feeds": request(GET).replace(b"\r\n", b"\n"),
    "a bare line feed in a header": request(GET, b"X-A: 1\nContent-Length: 3"),
    "a bare carriage return": request(GET, b"X-A: 1\rX-B: 2"),
    "a zero byte": request(GET, b"X-A: a\0b"),
    "a name with a space": request(GET, b"X A: 1"),
    "no name": request(GET, b": 1"),
    "unknown coding": request(POST, b"Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "a coding before chunks": request(POST, b"Transfer-Encoding: gzip, chunked") + b"2\r\nxx\r\n0\r\n\r\n",
    "a coding after chunks": request(POST, b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "chunks twice": request(POST, CHUNKED, CHUNKED) + b"0\r\n\r\n",
    "chunks and a control character": request(POST, b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "chunks from an old client": request(POST, CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
    "a chunk's size with a bare line feed": request(POST, CHUNKED) + b"2\nhi\n0\n\n",
    "a line feed in a chunk's extension": request(POST, CHUNKED) + b"2;a\nb\r\nhi\r\n0\r\n\r\n",
    "too big a chunk": request(POST, CHUNKED) + b"f" * 17 + b"\r\nhi\r\n0\r\n\r\n",
    "a hexadecimal mark": request(POST, CHUNKED) + b"0x2\r\nhi\r\n0\r\n\r\n",
    "a chunk longer than it says": request(POST, CHUNKED) + b"2\r\nhi!!0\r\n\r\n",
    "a trailer that is a length": request(POST, CHUNKED) + b"0\r\nContent-Length: 5\r\n\r\nhello",
    "no host": b"GET /v1/files HTTP/1.1\r\n\r\n",
    "two hosts": request(GET, b"Host: elsewhere"),
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40 + b"\r\n\r\n",
    "an unknown method": request(b"FROB /v1/files"),
}


@pytest.mark.parametrize("smuggled", SMUGGLED.values(), ids=SMUGGLED)
async def test_a_request_of_doubtful_length_is_refused_and_nothing_goes_upstream(client, upstream, smuggled):
    client.write(smuggled)
    reply = await client.answer()
    assert 400 <= reply.status < 500
    assert await client.rest() == b""
    assert upstream.bytes == b""


async def test_a_request_that_turns_out_wrong_is_not_taken_for_a_whole_one(client, upstream):
    """Its head had gone on; the upstream's connection ends before the body does."""
    client.write(request(POST, CHUNKED) + b"2\r\nhi\r\n")
    await upstream.received(b"hi")
    reply = await client.ask(b"no size\r\n" + HIDDEN)
    assert (reply.status, reply.values(b"connection")) == (400, [b"close"])
    assert await client.rest() == b""
    await upstream.hung_up()
    assert upstream.requests == []
    assert b"hidden" not in upstream.bytes


async def test_a_request_that_turns_out_wrong_amid_its_answer_ends_both(client, upstream):
    upstream.answers_heads([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", asyncio.Event()])
    client.write(request(POST, CHUNKED) + b"2\r\nhi\r\n")
    assert (await client.head()).status == 200
    assert await client.read(4) == b"half"
    client.write(b"no size\r\n")
    await upstream.hung_up()
    assert await client.rest() == b""


async def test_a_chat_request_that_turns_out_wrong_is_refused(client, upstream):
    client.write(request(CHAT, JSON, CHUNKED, b"Expect: 100-continue"))
    assert (await client.head()).start == b"HTTP/1.1 100 Continue"
    assert (await client.ask(b"2\r\n{}\r\nno size\r\n")).status == 400
    assert upstream.bytes == b""


@pytest.mark.parametrize(
    "framing", [(CHUNKED, b"2\r\nhi\r\n"), (b"Content-Length: 5", b"hi")], ids=["chunks", "length"]
)
async def test_a_client_that_leaves_amid_its_upload_ends_the_upstreams_connection(client, upstream, framing):
    client.write(request(POST, framing[0]))
    client.write(framing[1])
    await upstream.received(b"\r\n\r\n")
    client.close()
    await upstream.hung_up()
    assert upstream.requests == []


async def test_an_answer_that_comes_before_the_upload_is_over_is_shown_at_once(client, upstream, raw_proxy):
    """And what the client still sends is not the upstream's next request."""
    upstream.answers_heads(answer(b"413 Content Too Large", b"X-Why: size", body=b"too big"))
    client.write(request(POST, b"Content-Length: 1000000") + b"x" * 10)
    reply = await client.answer()
    assert (reply.status, reply.body, reply.values(b"x-why")) == (413, b"too big", [b"size"])
    await upstream.hung_up()
    upstream.answers(OK)
    other = await RawClient.open(raw_proxy.port)
    assert (await other.ask(NEXT)).body == b"ok"
    other.close()


# Answers that are not whole


@pytest.mark.parametrize(
    "head", [b"Content-Length: 9\r\n\r\nhalf", CHUNKED + b"\r\n\r\n4\r\nhalf\r\n"], ids=["length", "chunks"]
)
async def test_an_answer_cut_short_does_not_look_whole(client, upstream, head):
    upstream.answers([b"HTTP/1.1 200 OK\r\n" + head, CLOSE])
    client.write(request(GET))
    rest = await client.rest()
    assert not rest.endswith(b"0\r\n\r\n")
    assert b"half" not in rest or b"Content-Length: 9" in rest or b"chunked" in rest


async def test_what_an_upstream_sends_unasked_reaches_nobody(client, upstream):
    upstream.answers(OK + answer(b"200 OK", body=b"unasked"), OK)
    assert [(await client.ask(asked)).body for asked in (NEXT, NEXT)] == [b"ok", b"ok"]


async def test_a_websocket_that_nobody_asked_for_is_a_bad_gateway(client, upstream, line):
    upstream.answers(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x00")
    assert (await client.ask(request(*line, body=b"{}"))).status == 502


@pytest.mark.parametrize("wanted", [b"h2c", b"HTTP/2.0, h2c", b"tls/1.0"])
async def test_another_protocol_is_not_asked_for(client, upstream, wanted):
    fields = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + wanted, b"HTTP2-Settings: AA")
    assert (await client.ask(request(GET, *fields))).status == 200
    assert (await upstream.request()).carried == []
    assert (await client.ask(NEXT)).body == b"ok"
