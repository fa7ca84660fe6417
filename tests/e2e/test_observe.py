"""Mode observe with recognition and capture at work: on the wire it is as if nobody were between."""

import asyncio
import gzip
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import yarl

from compiler.observation import Observations
from proxy import headers
from tests.conftest import PRICES
from tests.e2e.conftest import Server, serving
from tests.learned import TOXIC, learn, mails, observed, request, some
from tests.proxy.sockets import JSON, Message, RawClient, RawUpstream, answer, chat

KEY = "sk-of-the-client-0123"
TENANT = "key-" + hashlib.sha256(KEY.encode()).hexdigest()[:12]
TASK = "decide-whether-comment-toxic"
FIELDS = (
    f"Authorization: Bearer {KEY}".encode(),
    *(b"User-Agent: OpenAI/Python 2.8.0", b"accept: application/json", b"Accept-Encoding: gzip, deflate"),
    *(b"X-Stainless-Retry-Count: 0", b"OpenAI-Organization: org-1", b"X-Twice: a", b"X-TWICE: b", b"X-Latin: caf\xe9"),
)
FREE = (
    *("What is the capital of France?", "Write a poem on autumn leaves in my town", "Why does my sourdough not rise"),
    *("Translate hello into Polish", "how many legs has a spider", "Give me three names for a cat", "is 91 a prime"),
    *("Who won the world cup in 1990?", "Fix this code: print(1", "Tell me a joke about lawyers", "what's up"),
    *("Recipe for pancakes without eggs", "Explain tides to a child", "Best way to learn chess?", "Summarise Hamlet"),
    *("convert 5 miles to km", "Is it safe to eat raw dough?", "plan a weekend in Rome", "why is the sky blue"),
)
TEXT = f"{next(mails())} Größe 🎉"
RECOGNISED = request(TOXIC, TEXT)
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def free(text: str) -> dict[str, Any]:
    told = [("system", "You are a helpful assistant."), ("user", text)]
    return {"model": "fake-strong", "messages": [{"role": role, "content": content} for role, content in told]}


def odd(body: dict[str, Any]) -> bytes:
    """Spaced and escaped as no JSON library of ours would write it."""
    return b" " + json.dumps(body, indent=3).replace("/", "\\/").encode() + b"\n"


TURNS = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
REQUESTS: dict[str, tuple[bytes, tuple[bytes, ...], str, str]] = {
    "recognised": (odd(RECOGNISED), (), TASK, "observe"),
    "recognised, packed": (gzip.compress(odd(RECOGNISED)), (b"Content-Encoding: gzip",), TASK, "observe"),
    "recognised, deflated": (zlib.compress(odd(RECOGNISED)), (b"Content-Encoding: deflate",), TASK, "observe"),
    "recognised, streamed": (odd({"stream": True, **RECOGNISED}), (), TASK, "observe"),
    "recognised, to ignore": (odd(RECOGNISED), (b"X-Cuecard-Bypass: 1",), "", "bypass"),
    "unrecognised": (odd(request("{}", TEXT)), (), "", "unrecognised"),
    "unrecognised, streamed": (odd({"stream": True, **request("{}", TEXT)}), (), "", "unrecognised"),
    "free chat": (odd(free("How do I boil an egg?")), (), "", "catch_all"),
    "free chat, streamed": (odd({"stream": True, **free("How do I boil an egg?")}), (), "", "catch_all"),
    "tools": (odd({**RECOGNISED, "tools": [TOOL]}), (), "", "tools"),
    "turns": (odd({"model": "fake-strong", "messages": TURNS}), (), "", "multi_turn"),
    "an unknown parameter": (odd({**RECOGNISED, "brand_new": {"x": [1.50, None]}}), (), TASK, "unknown_parameter"),
    "parts": (odd(request("{}", TEXT) | {"messages": [{"role": "user", "content": []}]}), (), "", "unrecognised"),
}
"""Body and headers; the task that the client is told of, and the reason that is counted."""

USAGE = {"prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42}
HEAD = {"id": "chatcmpl-1", "created": 1_750_000_000, "model": "fake-strong-2026"}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
WHOLE = json.dumps({**HEAD, "object": "chat.completion", "choices": [CHOICE], "usage": USAGE}, indent=1).encode()
OTHERS = (
    b"x-request-id: req_1",
    b"openai-processing-ms: 12",
    b"Set-Cookie: a=1",
    b"set-cookie: b=2",
    b"X-Odd: caf\xe9",
)
PACKED = answer(b"200 OK", JSON, b"Content-Encoding: gzip", *OTHERS, body=gzip.compress(WHOLE))


def event(**choice: Any) -> bytes:
    chunk = {**HEAD, "object": "chat.completion.chunk", "choices": [{"index": 0, "finish_reason": None, **choice}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


EVENTS = [
    event(delta={"role": "assistant", "content": ""}),
    *(event(delta={"content": part}) for part in ("y", "es")),
    event(delta={}, finish_reason="stop") + b": a comment\n\ndata: [DONE]\n\n",
]
STREAM = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nx-request-id: req_1\r\n\r\n",
    *(b"%x\r\n%s\r\n" % (len(data), data) for data in EVENTS),
    b"0\r\n\r\n",
]


async def exchange(upstream: RawUpstream, port: int, body: bytes, fields: tuple[bytes, ...]) -> tuple[Message, Message]:
    """What came to the upstream, and what came back."""
    streamed = b'"stream": true' in body
    upstream.answers(STREAM if streamed else PACKED)
    client = await RawClient.open(port)
    shown = await client.ask(chat(body, *FIELDS, *fields))
    client.close()
    return await upstream.request(), shown


def carried(message: Message, *, ours: bool = False) -> list[tuple[bytes, bytes]]:
    """Without what belongs to the connection, and without what is ours."""
    dropped = {name.lower().encode() for name in headers.RESPONSE_HEADERS + headers.REQUEST_HEADERS} | {b"date"}
    return [(name, value) for name, value in message.carried if name.lower() not in dropped or ours]


async def counted(server: Server, reason: str) -> float:
    line = f'cuecard_original_total{{reason="{reason}"}} '
    found = [text.removeprefix(line) for text in (await server.metrics()).splitlines() if text.startswith(line)]
    return float(found[0]) if found else 0.0


async def test_recognised_or_not_a_request_and_its_answer_are_the_bytes_they_were(tmp_path: Path) -> None:
    store = tmp_path / "store"
    learn(store, *some(TOXIC, tenant=TENANT), *(observed(free(text), tenant=TENANT) for text in FREE))
    async with RawUpstream() as upstream:
        settings: dict[str, Any] = {
            "listen": {"port": 0},
            "upstreams": {"raw": {"base_url": upstream.url}},
            "prices": {name: dict(price) for name, price in PRICES.items()},
            "store": {"url": f"file:{store}"},
        }
        async with serving(tmp_path, settings) as server:
            port = yarl.URL(server.url).port
            assert port
            for kind, (body, fields, task, reason) in REQUESTS.items():
                before = await counted(server, reason)
                sent, plain = await exchange(upstream, upstream.port, body, fields)
                sent_on, shown = await exchange(upstream, port, body, fields)
                assert (sent_on.start, sent_on.body) == (sent.start, sent.body), kind
                assert carried(sent_on, ours=True) == carried(sent), kind
                assert (shown.start, shown.body) == (plain.start, plain.body), kind
                assert carried(shown) == carried(plain), kind
                told = {name.lower(): value for name, value in shown.fields}
                assert told.get(b"x-cuecard-task", b"").decode() == task, kind
                assert told[b"x-cuecard-route"] == b"original", kind
                async with asyncio.timeout(10):
                    while await counted(server, reason) < before + 1:
                        await asyncio.sleep(0.02)
            await captured(store, number=len(REQUESTS) - 2)


async def captured(store: Path, number: int) -> None:
    """All but the one that forbids it and the one without a text, with the template that they are of."""
    before = 20 + len(FREE)
    async with asyncio.timeout(10):
        with Observations(store, retention_days=14) as observations:
            while len(found := [o for _, o in observations.since()]) < before + number:
                await asyncio.sleep(0.05)
    new = found[before:]
    assert {observation.answer for observation in new} == {"yes"}
    assert {observation.tenant for observation in new} == {TENANT}
    assert len([observation for observation in new if observation.template]) >= 5
