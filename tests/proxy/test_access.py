"""Who may call: over real sockets, with the headers that a browser, a stranger or a broken client sends."""

import asyncio
import json
from typing import Any

import pytest
from yarl import URL

from tests.proxy.gateway import Proxy

KEY = "shop-key-1"
KEYS = {"keys": [{"key": KEY, "tenant": "shop"}, {"key": "other-key-2", "tenant": "other"}]}
ADMIN = {"admin_token": "admin-token-1"}
CHAT = {"model": "fake-mini", "messages": [{"role": "user", "content": "hi"}]}
PATIENCE = 10.0


async def _ask(
    proxy: Proxy, path: str = "/v1/chat/completions", method: str = "POST", body: Any = CHAT, **headers: str
) -> tuple[int, dict[str, Any]]:
    """`path` goes out as it is written."""
    data = {} if method == "GET" else {"data": json.dumps(body)}
    named = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    async with proxy.http.request(method, URL(proxy.url + path, encoded=True), headers=named, **data) as answer:
        return answer.status, await answer.json(content_type=None)


async def _sent(proxy: Proxy, *lines: bytes) -> tuple[int, bytes, bytes]:
    """Request line and headers to the byte; a POST has a chat for its body. Status, head and body of the answer."""
    body = json.dumps(CHAT).encode() if lines[0].startswith(b"POST") else b""
    length = (b"Content-Length: %d" % len(body),) if body else ()
    end = () if any(line.startswith(b"Connection:") for line in lines) else (b"Connection: close",)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"\r\n".join((*lines, *end, *length, b"", body)))
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
            size = [line.partition(b":")[2] for line in head.splitlines() if line.lower().startswith(b"content-length")]
            return int(head.split()[1]), head, await reader.readexactly(int(size[0]))
    finally:
        writer.close()


async def _raw(proxy: Proxy, *fields: bytes) -> tuple[int, dict[str, Any]]:
    line = b"POST /v1/chat/completions HTTP/1.1"
    status, _, body = await _sent(proxy, line, *fields, b"Content-Type: application/json")
    return status, json.loads(body)


def _refused(answer: tuple[int, dict[str, Any]], status: int, code: str | None) -> None:
    assert answer[0] == status
    error = answer[1]["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "localhost.evil.example"},
    {"Host": "localhost@evil.example:8080"},
    {"Host": "0.0.0.0:8080"},
    {"Host": "127.1"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"},
    {"Sec_Fetch_Site": "cross-site"},
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
async def test_a_foreign_host_or_origin_is_refused(run, fake, foreign):
    proxy = await run()
    for path in ("/v1/chat/completions", "/v1/files", "/v1/realtime", "/admin/off", "/elsewhere"):
        _refused(await _ask(proxy, path, **foreign), 403, "forbidden")
    for path in ("/v1/files", "/v1/models", "/v1/models/task:x", "/admin/tasks", "/admin/report"):
        _refused(await _ask(proxy, path, "GET", **foreign), 403, "forbidden")
    assert not fake.calls


FORM, TEXT, PARTS = (
    b"application/x-www-form-urlencoded",
    b"text/plain;charset=UTF-8",
    b"multipart/form-data; boundary=b",
)
IMAGE = (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: no-cors", b"Sec-Fetch-Dest: image")
LINK = (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: document")
SOCKET = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: a2V5a2V5")
PAGE = b"Origin: https://evil.example"
BROWSER_REQUESTS: dict[str, tuple[bytes, ...]] = {
    "an image": (b"GET /v1/files/f/content HTTP/1.1", *IMAGE),
    "a link, or a form that GETs": (b"GET /v1/responses/r?stream=true HTTP/1.1", *LINK),
    "an iframe of a sandbox": (b"POST /v1/responses HTTP/1.1", b"Origin: null", b"Content-Type: " + FORM),
    "a form that POSTs text": (b"POST /v1/chat/completions HTTP/1.1", PAGE, b"Content-Type: " + TEXT),
    "a form that POSTs fields": (b"POST /v1/embeddings HTTP/1.1", PAGE, b"Content-Type: " + FORM),
    "a form that POSTs a file": (b"POST /v1/files HTTP/1.1", PAGE, b"Content-Type: " + PARTS),
    "a form that edits an image": (b"POST /v1/images/edits HTTP/1.1", PAGE, b"Content-Type: " + PARTS),
    "fetch in mode no-cors": (b"POST /v1/responses HTTP/1.1", PAGE, b"Content-Type: " + TEXT),
    "fetch without a type": (b"POST /v1/chat/completions HTTP/1.1", PAGE),
    "sendBeacon": (b"POST /v1/audio/speech HTTP/1.1", PAGE, b"Content-Type: " + TEXT),
    "a preflight": (
        *(b"OPTIONS /v1/chat/completions HTTP/1.1", PAGE, b"Access-Control-Request-Method: POST"),
        *(b"Access-Control-Request-Headers: content-type", b"Access-Control-Request-Private-Network: true"),
    ),
    "a preflighted request all the same": (
        b"POST /v1/chat/completions HTTP/1.1",
        PAGE,
        b"Content-Type: application/json",
    ),
    "a DELETE": (b"DELETE /v1/files/f HTTP/1.1", PAGE),
    "a WebSocket": (b"GET /v1/realtime?model=m HTTP/1.1", PAGE, *SOCKET),
    "a WebSocket of a sandbox": (b"GET /v1/realtime HTTP/1.1", b"Origin: null", *SOCKET),
    "a form that switches everything off": (b"POST /admin/off HTTP/1.1", PAGE, b"Content-Type: " + FORM),
    "a name that was bound to us": (
        *(b"POST /v1/chat/completions HTTP/1.1", b"Host: evil.example:8080", b"Origin: http://evil.example:8080"),
        *(b"Sec-Fetch-Site: same-origin", b"Content-Type: application/json"),
    ),
    "a GET to a name that was bound to us": (
        *(b"GET /admin/tasks HTTP/1.1", b"Host: evil.example:8080", b"Sec-Fetch-Site: same-origin"),
    ),
}


@pytest.mark.parametrize("lines", BROWSER_REQUESTS.values(), ids=BROWSER_REQUESTS)
async def test_no_page_of_another_origin_gets_through_whatever_it_sends(run, fake, lines):
    proxy = await run()
    host = () if any(line.startswith(b"Host:") for line in lines) else (b"Host: 127.0.0.1:8080",)
    status, head, body = await _sent(proxy, lines[0], *host, *lines[1:])
    _refused((status, json.loads(body)), 403, "forbidden")
    assert b"access-control-" not in head.lower()
    assert not fake.calls


@pytest.mark.parametrize("site", ["none", "same-origin", "same-site"])
async def test_what_a_person_types_or_a_local_page_asks_for_is_served(run, site):
    """Of an address or of `localhost`, only pages of the very same host are the same site."""
    assert (await _ask(await run(), "/v1/files", "GET", Sec_Fetch_Site=site))[0] == 200


@pytest.mark.parametrize("broken", [b"Host: [", b"Host: [::1", b"Host: localhost\r\nOrigin: http://["], ids=repr)
async def test_a_host_or_origin_that_is_no_address_is_refused(run, fake, broken):
    _refused(await _raw(await run(), broken), 403, "forbidden")
    assert not fake.calls


@pytest.mark.parametrize(
    "local",
    [
        {},
        {"Host": "localhost"},
        {"Host": "[::1]:8080"},
        {"Host": "127.0.0.2:8080"},
        {"Host": "LOCALHOST:1"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1:5173"},
        {"Origin": "http://[::1]"},
    ],
    ids=str,
)
async def test_pages_and_programs_of_this_machine_may_call(run, local):
    assert (await _ask(await run(), **local))[0] == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/completion%73", "/v1/%63hat/completions"])
async def test_a_chat_request_that_any_page_could_send_is_refused(run, fake, path):
    proxy = await run()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "text/plain; application/json"):
        _refused(await _ask(proxy, path, Content_Type=kind), 400, None)
    assert not fake.calls


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_may_be_called_in_its_several_ways(run, kind):
    assert (await _ask(await run(), Content_Type=kind))[0] == 200


@pytest.mark.parametrize("path", ["/admin/tasks", "/%61dmin/tasks", "/admin/task%73"])
async def test_admin_needs_its_token_where_one_is_set(run, path):
    proxy = await run(auth={**ADMIN, **KEYS})
    for given in ({}, {"Authorization": f"Bearer {KEY}"}, {"X_Cuecard_Key": KEY}, {"Authorization": "Bearer "}):
        _refused(await _ask(proxy, path, "GET", **given), 403, "forbidden")
    assert (await _ask(proxy, path, "GET", Authorization="Bearer admin-token-1"))[0] == 200


async def test_admin_needs_no_token_on_loopback_where_none_is_set(run):
    assert (await _ask(await run(), "/admin/tasks", "GET"))[0] == 200


async def test_admin_is_closed_where_others_can_reach_it_and_no_token_is_set(run):
    proxy = await run(listen={"host": "0.0.0.0"})
    _refused(await _ask(proxy, "/admin/tasks", "GET"), 403, "forbidden")
    assert (await _ask(proxy, Host="cuecard.internal"))[0] == 200


@pytest.mark.parametrize(
    "given",
    [{}, {"Authorization": "Bearer wrong-key"}, {"X_Cuecard_Key": "wrong-key"}, {"Authorization": "Bearer shop-key-"}],
    ids=str,
)
async def test_without_a_key_of_ours_nobody_is_served(run, fake, given):
    proxy = await run(auth=KEYS)
    for path in ("/v1/chat/completions", "/v1/files", "/v1/models/fake-mini"):
        _refused(await _ask(proxy, path, **given), 401, "invalid_api_key")
    assert not fake.calls


@pytest.mark.parametrize(
    "given",
    [{"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer  {KEY}"}, {"X_Cuecard_Key": KEY}],
    ids=str,
)
async def test_a_key_of_ours_is_taken_in_either_header_and_goes_no_further(run, fake, given):
    proxy = await run(auth=KEYS)
    assert (await _ask(proxy, **given))[0] == 200
    assert fake.calls[0].header("authorization") == "Bearer sk-ours"
    assert KEY.encode() not in b" ".join(value for _, value in fake.calls[0].headers)


@pytest.mark.parametrize("ours", [True, False], ids=["our key upstream", "none"])
async def test_a_browsers_websocket_key_is_taken_and_goes_no_further(run, fake, ours):
    upstream = {"base_url": fake.url, **({"api_key": "sk-ours"} if ours else {})}
    proxy = await run(auth=KEYS, upstreams={"fake": upstream})
    protocols = ("realtime", f"openai-insecure-api-key.{KEY}")
    async with proxy.http.ws_connect(f"{proxy.url}/v1/realtime", protocols=protocols) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=PATIENCE) == "hello"
    assert fake.calls[0].header("sec-websocket-protocol") == "realtime"
    assert fake.calls[0].header("authorization") == ("Bearer sk-ours" if ours else None)
    assert KEY.encode() not in b" ".join(value for _, value in fake.calls[0].headers)


async def test_a_browsers_wrong_websocket_key_is_refused(run, fake):
    given = {"Sec_WebSocket_Protocol": "realtime, openai-insecure-api-key.wrong-key"}
    _refused(await _ask(await run(auth=KEYS), "/v1/realtime", "GET", **given), 401, "invalid_api_key")
    assert not fake.calls


@pytest.mark.parametrize("field", [b"Authorization: Bearer \xff\xfe", b"X-Cuecard-Key: \xe9", b"Authorization: \xff"])
async def test_a_key_that_is_no_text_is_a_wrong_key(run, fake, field):
    _refused(await _raw(await run(auth=KEYS), b"Host: localhost", field), 401, "invalid_api_key")
    assert not fake.calls


async def test_a_clients_own_key_that_is_no_text_goes_to_the_upstream_it_is_for(run, fake):
    proxy = await run(upstreams={"theirs": {"base_url": fake.url}})
    status, _ = await _raw(proxy, b"Host: localhost", b"Authorization: Bearer \xff")
    assert status == 200
    assert (b"Authorization", b"Bearer \xff") in fake.calls[0].headers


async def test_health_and_metrics_need_no_key(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))  # where the supervisor has it set
    proxy = await run(auth={**KEYS, **ADMIN})
    for path in ("/health/live", "/health/ready", "/metrics"):
        async with proxy.http.get(proxy.url + path) as answer:
            assert answer.status == 200
