"""What a client says reaches the upstream, and what that answers reaches the client, as if nobody were between."""

import asyncio
import gzip
import json
import zlib

import brotli
import pytest

from proxy import headers
from tests.proxy.sockets import CHAT, CLOSE, JSON, OK, RawClient, answer, chat, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS = {name.lower().encode() for name in headers.RESPONSE_HEADERS}
EVENTS = [b'data: {"choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % n for n in range(3)]
BODIES = {
    "unknown fields": b'{"model":"m","messages":[],"brand_new":{"x":[null,true,1.50]},"also-new":""}',
    "odd whitespace": b' \r\n{ "model" :\t"m",\n\n "messages":[ ] } \n ',
    "duplicate keys": b'{"model":"a","model":"m","messages":[],"messages":[{"role":"user","content":"x"}]}',
    "big numbers": b'{"model":"m","messages":[],"seed":123456789012345678901234567890,"x":1e400,"y":-0.0,"z":1E+2}',
    "escapes": b'{"model":"m","messages":[{"role":"user","content":"\\u00e9\\/\\u0000\\ud83d\\ude00 \xc3\xa9"}]}',
    "half a surrogate pair": b'{"model":"m","messages":[{"role":"user","content":"\\ud83d"}]}',
    "no number": b'{"model":"m","messages":[],"temperature":NaN}',
    "deep": b'{"model":"m","messages":[],"x":' + b"[" * 500 + b"]" * 500 + b"}",
    "no messages": b'{"model":"m"}',
    "nothing": b"{}",
    "long": b'{"model":"m","messages":[{"role":"user","content":"' + b"x " * 100_000 + b'"}]}',
}
FIELDS = [
    (b"x-lower", b"1"),
    (b"X-Twice", b"a"),
    (b"Authorization", b"Bearer sk-client"),
    (b"X-TWICE", b"b"),
    (b"X-Twice", b"a"),
    (b"X-Empty", b""),
    (b"X-Inner", b'a,  b;c="d, e"\tf'),
    (b"X-Latin", b"caf\xe9 \xff"),
    (b"X-Utf", "żółw".encode()),
    (b"Cookie", b"a=1; b=2"),
    (b"Accept-Encoding", b"zstd;q=0.1, br"),
    (b"Origin", b"http://localhost:3000"),
    (b"Accept", b""),
    (b"X!#$%&'*+-.^_`|~", b"1"),
]
LINES = [b"%s: %s" % f for f in FIELDS]
TARGETS = {
    "an encoded slash": b"/v1/files/a%2Fb%2f",
    "an encoded space": b"/v1/files/a%20b",
    "a plus": b"/v1/files/a+b?q=c+d",
    "needless encoding": b"/v1/%66iles/%7Ex?%61=%41",
    "no valid encoding": b"/v1/files/%zz%4?%",
    "double slashes": b"/v1//files///x",
    "dots": b"/v1/a/../b/./c/..",
    "unusual characters": b"/v1/files/;x=1,(a)*!'[]{}|^`\"<>\\~@:$&",
    "an empty query": b"/v1/files?",
    "an odd query": b'/v1/files?a=1&a=2&&=&b&c=/?:@[]{}|^`"<>\\',
    "a fragment": b"/v1/files/x?y#z",
    "nothing more": b"/v1/",
    "a long query": b"/v1/files?x=" + b"y" * 20_000,
}


def lines(*events: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)


def added(message) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in message.carried if name.lower() not in OURS and name != b"Date"]


# What a client says


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_chat_body_arrives_byte_for_byte(client, upstream, body, stream):
    if stream:
        body = body.replace(b"{", b'{"stream": true, ', 1).replace(b", }", b"}")
    assert (await client.ask(chat(body))).status == 200
    assert (await upstream.request()).body == body


@pytest.mark.parametrize("body", [b"", b"\x00\r\n\r\n\xff", bytes(range(256)) * 4_000, *list(BODIES.values())[:4]])
async def test_any_other_body_arrives_byte_for_byte(client, upstream, body):
    assert (await client.ask(request(b"PUT /v1/files", b"Content-Type: x/y", body=body))).status == 200
    assert (await upstream.request()).body == body


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
async def test_a_packed_chat_body_stays_packed(client, upstream, packed):
    text = b'{"model":"m"}'
    body = gzip.compress(text) if packed == "gzip" else zlib.compress(text)
    await client.ask(chat(body, b"Content-Encoding: " + packed.encode()))
    received = await upstream.request()
    assert (received.body, received.values(b"content-encoding")) == (body, [packed.encode()])


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"zstd", b"x-own"])
async def test_any_other_packed_body_is_not_looked_into(client, upstream, encoding):
    await client.ask(request(b"POST /v1/embeddings", b"Content-Encoding: " + encoding, body=b"\x1f\x8b not really"))
    received = await upstream.request()
    assert (received.body, received.values(b"content-encoding")) == (b"\x1f\x8b not really", [encoding])


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (CHAT, b'{"model":"m"}'),
        (b"POST /v1/embeddings", b"{}"),
        (b"GET /v1/files", None),
        (b"DELETE /v1/files/f", None),
    ],
    ids=["chat", "with a body", "without", "delete"],
)
async def test_headers_arrive_as_they_were_and_none_is_added(client, upstream, line, body):
    kind = (JSON,) if line is CHAT else ()
    await client.ask(request(line, *kind, *LINES, body=body))
    received = await upstream.request()
    assert received.carried == [*([(b"Content-Type", b"application/json")] if kind else []), *FIELDS]
    assert received.values(b"host") == [b"localhost:%d" % upstream.port]
    assert received.values(b"content-length") == ([] if body is None else [b"%d" % len(body)])
    assert received.values(b"transfer-encoding") == []


async def test_a_length_of_nothing_is_told_where_the_client_told_it(client, upstream):
    for fields, told in (((b"Content-Length: 0",), [b"0"]), ((), [])):
        await client.ask(request(b"POST /v1/batches/b/cancel", *fields))
        assert (await upstream.request()).values(b"content-length") == told


@pytest.mark.parametrize("line", [CHAT, b"POST /v1/files"], ids=["chat", "passthrough"])
async def test_what_belongs_to_the_connection_or_to_cuecard_is_gone(client, upstream, line):
    hop = [b"Connection: keep-alive, X-Mine, x-other", b"X-Mine: 1", b"X-OTHER: 2", b"Keep-Alive: timeout=5"]
    hop += [b"TE: trailers", b"Trailer: X-T", b"Proxy-Authorization: Basic x", b"Proxy-Connection: keep-alive"]
    ours = [b"%s: 1" % name.encode() for name in headers.REQUEST_HEADERS if name != headers.TASK]
    await client.ask(request(line, JSON, *hop, *ours, b"x-cuecard-anything: 1", b"X-Kept: 1", body=b"{}"))
    assert (await upstream.request()).carried == [(b"Content-Type", b"application/json"), (b"X-Kept", b"1")]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
async def test_path_and_query_arrive_as_the_client_wrote_them(client, upstream, target):
    await client.ask(request(b"GET " + target))
    assert (await upstream.request()).target == target


@pytest.mark.parametrize("query", [b"?", b"?a=%2F+b%20&a", b"?api-version=2026-01-01"])
async def test_a_chat_query_arrives_as_the_client_wrote_it(client, upstream, query):
    await client.ask(request(CHAT + query, JSON, body=b"{}"))
    assert (await upstream.request()).target == b"/v1/chat/completions" + query


@pytest.mark.parametrize("target", [b"http://localhost/v1/files/a%2Fb?", b"/%76%31/files/a%2Fb?"])
async def test_v1_is_known_however_it_is_written(client, upstream, target):
    """As a client writes it that takes us for its HTTP proxy, and as one that encodes needlessly."""
    await client.ask(request(b"GET " + target))
    assert (await upstream.request()).target == b"/v1/files/a%2Fb?"


async def test_bytes_that_no_url_may_hold_are_refused(client, upstream):
    """A limit of aiohttp's parser: other servers let them through. Every SDK encodes them."""
    assert (await client.ask(request(b"GET /v1/files/caf\xc3\xa9"))).status == 400
    assert upstream.bytes == b""


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"QUERY", b"PROPFIND"])
async def test_any_method_goes_on(client, upstream, method):
    await client.ask(request(method + b" /v1/files"))
    assert (await upstream.request()).start == method + b" /v1/files HTTP/1.1"


@pytest.mark.parametrize("line", [CHAT, b"POST /v1/files"], ids=["chat", "passthrough"])
async def test_a_client_that_waits_for_100_is_told_to_go_on(client, upstream, line):
    client.write(request(line, JSON, b"Expect: 100-continue", b"Content-Length: 2"))
    assert (await client.head()).start == b"HTTP/1.1 100 Continue"
    assert (await client.ask(b"{}")).status == 200
    received = await upstream.request()
    assert (received.body, received.values(b"expect")) == (b"{}", [])


async def test_an_upload_goes_on_chunk_by_chunk(client, upstream):
    """The upstream has the first before the client sends the second."""
    client.write(request(b"POST /v1/files", b"Transfer-Encoding: chunked") + lines(b"first"))
    await upstream.received(b"first")
    client.write(lines(b"second"))
    await upstream.received(b"second")
    assert (await client.ask(b"0\r\n\r\n")).status == 200
    received = await upstream.request()
    assert received.body == b"firstsecond"
    assert received.values(b"content-length") == []


async def test_a_chat_request_in_chunks_arrives_whole(client, upstream):
    body = BODIES["odd whitespace"]
    await client.ask(request(CHAT, JSON, b"Transfer-Encoding: chunked") + lines(body[:9], body[9:]) + b"0\r\n\r\n")
    received = await upstream.request()
    assert (received.body, received.values(b"content-length")) == (body, [b"%d" % len(body)])


# What the upstream answers

ASKING = {"chat": chat(), "passthrough": request(b"GET /v1/files")}


@pytest.fixture(params=ASKING.values(), ids=ASKING)
def asking(request):
    return request.param


async def test_headers_return_as_they_were_and_only_documented_ones_are_added(client, upstream, asking):
    fields = [f for f in FIELDS if f[0] != b"Accept"]
    upstream.answers(answer(b"200 OK", *(b"%s: %s" % f for f in fields), body=b"\x00\xff"))
    reply = await client.ask(asking)
    assert added(reply) == fields
    assert reply.body == b"\x00\xff"
    assert {name.lower() for name, _ in reply.carried if name.lower().startswith(b"x-cuecard")} <= OURS


async def test_another_paths_answer_has_three_headers_of_ours(client):
    reply = await client.ask(request(b"GET /v1/files"))
    assert [name for name, _ in reply.carried if name.lower() in OURS] == [
        name.encode() for name in (headers.ROUTE, headers.OVERHEAD, headers.REQUEST_ID)
    ]


async def test_of_aiohttp_nothing_is_seen_but_the_date_that_http_wants(client, upstream, asking):
    reply = await client.ask(asking)
    assert added(reply) == []
    assert len(reply.values(b"date")) == 1


async def test_the_upstreams_own_name_date_and_type_stay(client, upstream, asking):
    fields = [(b"Server", b"x/1"), (b"date", b"Tue, 03 Mar 2026 12:00:00 GMT"), (b"content-type", b"a/b")]
    upstream.answers(answer(b"200 OK", *(b"%s: %s" % f for f in fields)))
    reply = await client.ask(asking)
    assert added(reply) == fields


async def test_cuecards_own_answers_name_cuecard_and_not_its_server(client):
    for asked in (request(b"GET /nowhere"), request(CHAT, JSON, body=b"{"), request(b"GET /health/live")):
        assert (await client.ask(asked)).values(b"server") == [b"cuecard"]


async def test_what_belongs_to_the_upstreams_connection_is_gone(client, upstream, asking):
    hop = [b"Connection: keep-alive, X-Mine", b"X-Mine: 1", b"Keep-Alive: timeout=5", b"Proxy-Authenticate: Basic"]
    upstream.answers(answer(b"200 OK", *hop, b"X-Cuecard-Route: forged", b"x-cuecard-other: 1", b"X-Kept: 1"))
    reply = await client.ask(asking)
    assert added(reply) == [(b"X-Kept", b"1")]
    assert reply.values(b"x-cuecard-route") == [b"original"]


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_a_packed_answer_stays_packed(client, upstream, asking, encoding):
    text = b'{"model":"m","choices":[]}'
    packed = gzip.compress(text) if encoding == "gzip" else brotli.compress(text)
    upstream.answers(answer(b"200 OK", b"Content-Encoding: " + encoding.encode(), b"Vary: accept", body=packed))
    reply = await client.ask(asking)
    assert reply.body == packed
    assert added(reply) == [(b"Content-Encoding", encoding.encode()), (b"Vary", b"accept")]


async def test_a_packed_stream_stays_packed(client, upstream):
    packed = gzip.compress(b"".join(EVENTS))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
    upstream.answers(head + b"Transfer-Encoding: chunked\r\n\r\n" + lines(packed[:20], packed[20:]) + b"0\r\n\r\n")
    reply = await client.ask(chat(b'{"model":"m","stream":true}'))
    assert reply.body == packed
    assert reply.values(b"content-encoding") == [b"gzip"]


@pytest.mark.parametrize("asked", [chat(b'{"model":"m","stream":true}'), request(b"POST /v1/responses", body=b"{}")])
async def test_each_event_is_seen_before_the_upstream_sends_the_next(client, upstream, asked):
    seen = [asyncio.Event() for _ in EVENTS]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    steps = [step for event, waited in zip(EVENTS, seen, strict=True) for step in (lines(event), waited)]
    upstream.answers([head, *steps, b"0\r\n\r\n"])
    client.write(asked)
    assert (await client.head()).values(b"content-type") == [b"text/event-stream"]
    for event, waited in zip(EVENTS, seen, strict=True):
        assert await client.read(len(lines(event))) == lines(event)
        waited.set()
    assert await client.read(5) == b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (b"429 Too Many Requests", [b"Retry-After: 7", b"retry-after-ms: 7000", b"x-ratelimit-remaining-tokens: 0"]),
        (b"400 Bad Request", [b"x-request-id: req_1", b"openai-processing-ms: 3"]),
        (b"401 Unauthorized", [b"WWW-Authenticate: Bearer", b"www-authenticate: Basic"]),
        (b"500 It Broke", []),
        (b"503 ", [b"Retry-After: Tue, 03 Mar 2026 12:00:00 GMT"]),
        (b"418 I'm a t\xc3\xa9apot", []),
        (b"599 Its \town", []),
        (b"302 Found", [b"Location: /v1/elsewhere"]),
        (b"307 Temporary Redirect", [b"Location: http://127.0.0.1:9/v1/elsewhere"]),
        (b"202 Accepted", [b"Set-Cookie: a=1; Path=/", b"set-cookie: b=2", b"Set-Cookie: a=1"]),
        (b"206 Partial Content", [b"Content-Range: bytes 0-1/9", b"Accept-Ranges: bytes"]),
    ],
)
async def test_status_reason_headers_and_body_return_whatever_the_status(client, upstream, asking, status, fields):
    upstream.answers(answer(status, *fields, body=b'{"error":1}'))
    reply = await client.ask(asking)
    assert reply.start == b"HTTP/1.1 " + status
    assert [b"%s: %s" % f for f in added(reply)] == fields
    assert reply.body == b'{"error":1}'
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_an_answer_that_has_no_body_has_none_here(client, upstream, asking, status):
    upstream.answers(b"HTTP/1.1 " + status + b'\r\nETag: "x"\r\n\r\n', OK)
    reply = await client.ask(asking)
    assert (reply.start, added(reply)) == (b"HTTP/1.1 " + status, [(b"ETag", b'"x"')])
    assert (reply.values(b"content-length"), reply.values(b"transfer-encoding")) == ([], [])
    assert (await client.ask(asking)).body == b"ok"


@pytest.mark.parametrize("told", [[b"Content-Length: 99"], [b"Transfer-Encoding: chunked"], []])
async def test_a_head_request_is_answered_with_the_head(client, upstream, told):
    upstream.answers(b"\r\n".join([b"HTTP/1.1 200 OK", *told, b"", b""]), OK)
    reply = await client.ask(request(b"HEAD /v1/files/f/content"), to_head=True)
    assert reply.values(b"content-length") == ([b"99"] if b"99" in b"".join(told) else [])
    assert (await client.ask(request(b"GET /v1/files"))).body == b"ok"
    assert [r.start.split()[0] for r in upstream.requests] == [b"HEAD", b"GET"]


async def test_early_hints_do_not_take_the_answers_place(client, upstream, asking):
    """They are dropped: aiohttp has no way to send one."""
    upstream.answers(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)
    reply = await client.ask(asking)
    assert (reply.status, added(reply), reply.body) == (200, [], b"ok")


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", answer(b"200 OK")[:-2]])
async def test_an_answer_that_ends_with_its_connection_comes_whole(client, upstream, asking, head):
    head = head.replace(b"Content-Length: 0\r\n", b"Connection: close\r\n\r\n")
    upstream.answers([head, b"half and ", b"half", CLOSE], OK)
    assert (await client.ask(asking)).body == b"half and half"
    assert (await client.ask(asking)).body == b"ok"


async def test_a_length_the_upstream_tells_is_told_on(client, upstream):
    upstream.answers(answer(b"200 OK", body=b"x" * 1_000))
    reply = await client.ask(request(b"GET /v1/files/f/content"))
    assert (reply.values(b"content-length"), reply.values(b"transfer-encoding")) == ([b"1000"], [])


async def test_a_cookie_that_one_client_was_given_is_not_sent_for_another(client, upstream, raw_proxy, asking):
    upstream.answers(answer(b"200 OK", b"Set-Cookie: session=secret; Path=/"))
    assert (await client.ask(asking)).values(b"set-cookie") == [b"session=secret; Path=/"]
    other = await RawClient.open(raw_proxy.port)
    await other.ask(asking)
    other.close()
    assert b"secret" not in upstream.bytes


async def test_a_model_of_any_name_breaks_no_header(client, upstream):
    """It is shown in a header; a line break in it must not begin another."""
    for name in ("a\r\nX-Forged: 1", "żółw", "\x00", "x" * 5_000):
        reply = await client.ask(chat(json.dumps({"model": name}).encode()))
        assert reply.status == 200
        assert reply.values(b"x-forged") == []


async def test_what_orjson_cannot_write_is_rewritten_too(client, upstream):
    body = b'{"model":"raw/m","x":"\\ud800","y":' + b"[" * 300 + b"]" * 300 + b"}"
    assert (await client.ask(chat(body))).status == 200
    assert json.loads((await upstream.request()).body) == {**json.loads(body), "model": "m"}


async def test_a_model_that_is_no_text_is_a_bad_request(client, upstream):
    for body in (b'{"model":"\\ud800"}', b'{"model":"task:\\ud800"}', b'{"model":"m","metadata":{"task":"\\ud800"}}'):
        reply = await client.ask(chat(body))
        assert reply.status == 400
        assert json.loads(reply.body)["error"]["type"] == "invalid_request_error"
    assert upstream.bytes == b""


async def test_a_client_that_leaves_ends_the_upstream_call(client, upstream, asking):
    upstream.answers([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", asyncio.Event()])
    client.write(asking)
    await upstream.request()
    client.close()
    await upstream.hung_up()
