"""Each default of aiohttp that would break a proxy, by itself: every test fails if its default comes back."""

import asyncio
import gzip

import pytest

from tests.proxy.sockets import CHAT, CLOSE, JSON, OK, RawClient, answer, chat, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET = request(b"GET /v1/files")
ASKING = {"chat": chat(), "passthrough": GET}
OVER_8190 = b"x" * 20_000


@pytest.fixture(params=ASKING.values(), ids=ASKING)
def asking(request):
    return request.param


@pytest.fixture
def minutes_pass(raw_proxy):
    """The loop's clock, put forward at once: what would be due by then is due now."""
    loop = asyncio.get_event_loop()
    began = loop.time

    def put_forward(minutes: float) -> None:
        loop.time = lambda: began() + minutes * 60

    yield put_forward
    del loop.time


# The server


@pytest.mark.parametrize("line", [CHAT, b"POST /v1/files"], ids=["chat", "passthrough"])
async def test_a_body_of_more_than_1_mib_is_taken(client, upstream, line):
    """client_max_size=1 MiB"""
    body = b'{"model":"m","x":"' + b"x " * 2**20 + b'"}'
    assert (await client.ask(request(line, JSON, body=body))).status == 200
    assert (await upstream.request()).body == body


@pytest.mark.parametrize("line", [CHAT, b"POST /v1/files"], ids=["chat", "passthrough"])
async def test_a_packed_request_stays_packed(client, upstream, line):
    """auto_decompress=True, of the server"""
    packed = gzip.compress(b'{"model":"m"}')
    await client.ask(request(line, JSON, b"Content-Encoding: gzip", body=packed))
    received = await upstream.request()
    assert (received.body, received.values(b"content-encoding")) == (packed, [b"gzip"])


async def test_a_client_that_hangs_up_ends_its_upstream_call(client, upstream, asking):
    """handler_cancellation=False"""
    upstream.answers([asyncio.Event()])
    client.write(asking)
    await upstream.request()
    client.close()
    await upstream.hung_up()


@pytest.mark.parametrize("asked", [request(b"GET /v1/files?x=" + OVER_8190), chat(b"{}", b"X-Long: " + OVER_8190)])
async def test_a_request_line_and_a_header_of_more_than_8190_bytes_are_taken(client, upstream, asked):
    """max_line_size and max_field_size=8190, of the server"""
    assert (await client.ask(asked)).status == 200
    assert OVER_8190 in (await upstream.request()).head


async def test_as_many_headers_as_a_gateway_adds_are_taken(client, upstream):
    """max_headers=128, of the server"""
    assert (await client.ask(request(b"GET /v1/files", *(b"X-%d: 1" % n for n in range(200))))).status == 200
    assert len((await upstream.request()).carried) == 200


async def test_the_answer_names_no_server_and_no_type_that_the_upstream_did_not(client, upstream, asking):
    """Server: Python/… aiohttp/…, Content-Type: application/octet-stream"""
    reply = await client.ask(asking)
    assert (reply.values(b"server"), reply.values(b"content-type")) == ([], [])


# The client


@pytest.mark.parametrize("target", [b"/v1/a%2Fb%20c/%7e?q=%41+%2b&r=a+b", b"/v1/a?", b"/v1/a#b", b"/v1/a/../b"])
async def test_a_path_is_not_quoted_anew(client, upstream, target):
    """yarl's requoting"""
    await client.ask(request(b"GET " + target))
    assert (await upstream.request()).target == target


@pytest.mark.parametrize("asked", [chat(), GET, request(b"POST /v1/files", body=b"x"), request(b"DELETE /v1/files/f")])
async def test_no_header_is_added_to_a_request(client, upstream, asked):
    """Accept, Accept-Encoding, User-Agent, Content-Type: application/octet-stream, Content-Length: 0"""
    await client.ask(asked)
    told = {b"host", b"content-length", b"content-type"} & {
        line.partition(b":")[0].lower() for line in asked.split(b"\r\n")
    }
    assert {name.lower() for name, _ in (await upstream.request()).fields} == told


async def test_headers_that_differ_in_case_are_not_made_one(client, upstream):
    await client.ask(request(b"GET /v1/files", b"X-A: 1", b"x-a: 2"))
    assert (await upstream.request()).carried == [(b"X-A", b"1"), (b"x-a", b"2")]


async def test_a_packed_answer_stays_packed(client, upstream, asking):
    """auto_decompress=True, of the client"""
    packed = gzip.compress(b"{}")
    upstream.answers(answer(b"200 OK", b"Content-Encoding: gzip", body=packed))
    reply = await client.ask(asking)
    assert (reply.body, reply.values(b"content-encoding")) == (packed, [b"gzip"])


@pytest.mark.parametrize(
    "reply",
    [
        answer(b"200 OK", b"X-Long: " + OVER_8190),
        answer(b"200 " + OVER_8190),
        answer(b"200 OK", *(b"X-%d: 1" % n for n in range(200))),
    ],
    ids=["header", "status line", "headers"],
)
async def test_an_answers_head_of_more_than_8190_bytes_is_taken(client, upstream, asking, reply):
    """max_line_size and max_field_size=8190, max_headers=128, of the client"""
    upstream.answers(reply)
    shown = await client.ask(asking)
    assert shown.status == 200
    assert len(shown.head) >= len(reply) - 100


async def test_no_cookie_is_kept(client, upstream, asking):
    """CookieJar"""
    upstream.answers(answer(b"200 OK", b"Set-Cookie: a=secret; Path=/"))
    for _ in range(2):
        assert (await client.ask(asking)).values(b"set-cookie") == [b"a=secret; Path=/"]
    assert [r.values(b"cookie") for r in upstream.requests] == [[], []]


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 Again", b"308 Again"])
async def test_no_redirect_is_followed(client, upstream, asking, status):
    """allow_redirects=True"""
    upstream.answers(answer(status, b"Location: /v1/elsewhere"), OK)
    reply = await client.ask(asking)
    assert (reply.start, reply.values(b"location")) == (b"HTTP/1.1 " + status, [b"/v1/elsewhere"])
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("begun", [0, len(OK) - 1], ids=["silent", "amid"])
async def test_an_answer_may_take_longer_than_5_minutes(client, upstream, asking, begun, minutes_pass):
    """ClientTimeout(total=300), and no other clock: silence has its own setting, timeouts.upstream"""
    go_on = asyncio.Event()
    upstream.answers([OK[:begun], go_on, OK[begun:]])
    client.write(asking)
    await upstream.request()
    reading = asyncio.ensure_future(client.reader.readuntil(b"\r\n"))
    minutes_pass(50)
    for _ in range(5):
        await asyncio.sleep(0)  # turns of the loop: what is due runs
    go_on.set()
    assert await reading == b"HTTP/1.1 200 OK\r\n"
    assert (await client.reader.readuntil(b"\r\n\r\n")).lower().count(b"\r\ncontent-length: 2\r\n") == 1
    assert await client.reader.readexactly(2) == b"ok"


async def test_more_than_100_requests_are_under_way_at_once(upstream, raw_proxy, asking):
    """TCPConnector(limit=100)"""
    all_here = asyncio.Event()
    upstream.answers([all_here, OK])
    clients = [await RawClient.open(raw_proxy.port) for _ in range(120)]
    for one in clients:
        one.write(asking)
    for _ in clients:
        await upstream.request()
    all_here.set()
    assert [(await one.answer()).body for one in clients] == [b"ok"] * 120
    for one in clients:
        one.close()


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"POST"])
async def test_what_may_change_something_is_sent_once_though_its_connection_ended(client, upstream, method):
    """aiohttp tries what it calls idempotent again on another connection: a file deleted twice is a 404."""
    upstream.answers(OK, [CLOSE], OK)
    asked = request(method + b" /v1/files/f")
    assert (await client.ask(GET)).status == 200
    kept = upstream.connections
    assert (await client.ask(asked, to_head=True)).status == 502
    assert [r.start.split()[0] for r in upstream.requests] == [b"GET", method]
    assert upstream.connections == kept


@pytest.mark.parametrize("asked", [request(b"GET /v1/files/f"), request(b"OPTIONS /v1/files/f"), chat()])
async def test_what_changes_nothing_is_sent_once_more_if_the_kept_connection_ended(client, upstream, asked):
    upstream.answers(OK, [CLOSE], OK)
    assert (await client.ask(GET)).status == 200
    assert (await client.ask(asked)).status == 200
    assert len(upstream.requests) == 3
