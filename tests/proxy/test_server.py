"""What is no HTTP, or too much of it: refused in OpenAI's shape, and no word of it is repeated, to anyone."""

import asyncio
import json
import logging

import pytest

from tests.proxy.gateway import Proxy

KEY = b"sk-canary-0123456789"
GET = b"GET /v1/files HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
MANY = b"".join(b"X-%d: %s\r\n" % (number, KEY) for number in range(300))
PATIENCE = 10.0

NO_HTTP = {
    "a NUL in a header's name": GET + b"Authori\x00zation: Bearer " + KEY + b"\r\n\r\n",
    "a NUL in a key": GET + b"Authorization: Bearer " + KEY + b"\x00\r\n\r\n",
    "a bare line feed in a key": GET + b"Authorization: Bearer \n" + KEY + b"\r\n\r\n",
    "a key on a line of its own": GET + b"Authorization: Bearer\r\n " + KEY + b"\r\n\r\n",
    "a header without a colon": GET + b"Authorization Bearer " + KEY + b"\r\n\r\n",
    "nothing but a key": KEY + b"\r\n\r\n",
    "a method that is none": b"G@T /v1/files?api_key=" + KEY + b" HTTP/1.1\r\n\r\n",
    "a length that is a key": POST + b"Content-Length: " + KEY + b"\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\nApi-Key: " + KEY + b"\r\n\r\n",
    "a chunk that is a key": POST + b"Transfer-Encoding: chunked\r\n\r\n" + KEY + b"\r\n",
    "an address that is none": b"GET http://[" + KEY + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00" + KEY,
}
TOO_MUCH = {
    "a header of 80 kB": GET + b"Authorization: Bearer " + KEY * 4_000 + b"\r\n\r\n",
    "a header's name of 80 kB": GET + KEY * 4_000 + b": x\r\n\r\n",
    "an address of 80 kB": b"GET /v1/files?api_key=" + KEY * 4_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "300 headers": GET + MANY + b"\r\n",
}


async def _answer(proxy: Proxy, sent: bytes) -> bytes:
    """Until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(sent)
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()


def _error(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert f"X-Cuecard-Error: {error['code']}".encode() in head
    return int(head.split()[1]), error["code"]


REFUSED = {
    **{name: (sent, (400, "invalid_http")) for name, sent in NO_HTTP.items()},
    **{name: (sent, (431, "headers_too_large")) for name, sent in TOO_MUCH.items()},
}


@pytest.mark.parametrize(("sent", "error"), REFUSED.values(), ids=REFUSED)
async def test_what_is_no_http_or_too_much_of_it_is_refused_without_a_word_of_it(run, fake, caplog, sent, error):
    caplog.set_level(logging.DEBUG)
    answer = await _answer(await run(), sent)
    assert _error(answer) == error
    assert b"canary" not in answer
    assert "canary" not in caplog.text
    assert not fake.calls


async def test_a_key_of_60_kb_and_100_headers_are_no_trouble(run, fake):
    proxy = await run(upstreams={"theirs": {"base_url": fake.url}})
    key = "Bearer " + "k" * 60_000
    async with proxy.http.get(
        f"{proxy.url}/v1/files", headers={"Authorization": key, **{f"X-{n}": "1" for n in range(100)}}
    ) as answer:
        assert answer.status == 200
    assert fake.calls[0].header("authorization") == key


async def test_a_chat_of_more_than_may_be_is_refused_before_it_is_sent(run, fake):
    proxy = await run()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(POST + b"Content-Length: 99999999999\r\n\r\n{")
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.split()[1] == b"413"
    assert not fake.calls


async def test_an_error_that_escapes_is_an_internal_error_in_openais_shape(run, caplog, monkeypatch):
    def broken(*given: object) -> None:
        raise RuntimeError(KEY.decode())

    monkeypatch.setattr("proxy.app.translate", broken)
    monkeypatch.setattr("proxy.app.Access.api", broken)
    answer = await _answer(await run(), GET + b"Authorization: Bearer " + KEY + b"\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"500"
    assert json.loads(body)["error"]["code"] == "internal_error"
    assert b"canary" not in answer
    assert [r.name for r in caplog.records if "canary" in r.getMessage()] == []


async def test_a_whole_url_for_a_path_goes_to_the_upstream_and_nowhere_else(run, fake):
    proxy = await run()
    await _answer(
        proxy,
        b"GET http://u:" + KEY + b"@evil.example/v1/files?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    assert [call.path for call in fake.calls] == ["/v1/files?a=b"]
    assert fake.calls[0].header("host") == fake.url.removeprefix("http://").removesuffix("/v1")
