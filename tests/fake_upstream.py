"""The one fake model server: OpenAI's HTTP surface on a real loopback socket, in this process or in its own.

async with FakeUpstream() as fake:
    fake.answers["fake-nano"] = "positive"            # or a callable(request_json) -> str | dict | Fault
    fake.queue("fake-nano", Fault.respond(500), "ok")  # taken first, one a call
    ... call fake.url ...
    await fake.wait_for(2)
    assert fake.totals()["fake-nano"]["calls"] == 1

`answers` and `queue` are keyed by the requested model for chat, by the path ("/v1/files") for everything else; "*" is
any. It records every request, and it is the judge of what was billed: it counts tokens by itself.
"""

import argparse
import asyncio
import base64
import gzip
import hashlib
import json
import os
import re
import struct
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import tiktoken
from aiohttp import web

from compiler.tokens import default_folder, install_vocabularies

CREATED = 1_750_000_000
PATIENCE = 10.0  # seconds until a wait that nothing fulfils fails the test


@dataclass(frozen=True)
class Fault:
    """How a call goes wrong or slowly; `answer` is what a call that goes on then answers (None: the default)."""

    kind: str
    answer: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    after: int = 0

    @classmethod
    def respond(cls, status: int, headers: dict[str, str] | None = None, body: Any = None) -> Self:
        """`body`: bytes or text as they are, anything else as JSON; None: an error object of OpenAI's shape."""
        return cls("respond", status=status, headers=headers or {}, body=body)

    @classmethod
    def stall(cls, answer: Any = None) -> Self:
        """Nothing is sent until `fake.release` is set."""
        return cls("stall", answer)

    @classmethod
    def disconnect(cls) -> Self:
        """The connection ends before the first byte of the answer."""
        return cls("disconnect")

    @classmethod
    def cut(cls, after: int, answer: Any = None) -> Self:
        """The connection ends after `after` events of a stream (the first one holds the role only)."""
        return cls("cut", answer, after=after)

    @classmethod
    def slow(cls, answer: Any = None) -> Self:
        """Each event of a stream waits for one `fake.step()`."""
        return cls("slow", answer)


Answer = str | dict[str, Any] | Fault
"""A dict is the assistant's message; `finish_reason`, `model` and `usage` in it belong to the completion around it."""


@dataclass
class Call:
    method: str
    path: str  # raw, with the query, as it was on the wire
    headers: list[tuple[bytes, bytes]]
    body: bytes
    json: Any
    at: float
    status: int = 0  # 0: no answer was begun
    answer: str = ""  # the text that was written
    input: int = 0  # tokens billed
    output: int = 0
    usage: dict[str, Any] | None = None  # as the answer reported it; None where it reported none
    hung_up: bool = False  # by the client, before the end
    done: bool = False

    @property
    def model(self) -> str:
        return str(self.json.get("model", "")) if isinstance(self.json, dict) else ""

    @property
    def billed(self) -> bool:
        return 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        return next((v.decode("latin-1") for k, v in self.headers if k.lower() == name.lower().encode()), None)


class FakeUpstream:
    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self.answers: dict[str, Answer | Callable[[Any], Answer]] = {}
        self.models = ["fake-strong", "fake-mini", "fake-nano"]
        self.snapshots: dict[str, str] = {}  # requested model -> the `model` of the answer
        self.headers: dict[str, str] = {}  # on every answer
        self.seconds: dict[str, float] = {}  # that a model takes for an answer, as real ones do
        self.keys: set[str] | None = None  # None: any key or none will do
        self.cached_tokens = 0  # of each prompt, as reported
        self.reports_usage = True
        self.release = asyncio.Event()
        self._queues: dict[str, deque[Answer]] = defaultdict(deque)
        self._steps = asyncio.Semaphore(0)
        self._changes = asyncio.Condition()
        self._encoding: tiktoken.Encoding | None = None

    async def __aenter__(self) -> Self:
        await self.start(0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.release.set()
        await self._runner.cleanup()

    async def start(self, port: int) -> None:
        server = web.Server(
            self._handle,
            handler_cancellation=True,
            auto_decompress=False,
            max_line_size=2**16,
            max_field_size=2**16,
            access_log=None,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    # What a test says and asks

    def queue(self, key: str, *answers: Answer) -> None:
        self._queues[key].extend(answers)

    def step(self, events: int = 1) -> None:
        for _ in range(events):
            self._steps.release()

    async def wait_for(self, n_calls: int, model: str | None = None) -> None:
        """Until `n_calls` have arrived (to `model`), answered or not."""
        await self.wait_until(lambda: len(self.calls if model is None else self.calls_to(model)) >= n_calls)

    async def wait_until(self, predicate: Callable[[], bool]) -> None:
        """`predicate` is asked whenever a call arrives, begins its answer, or ends."""
        async with asyncio.timeout(PATIENCE), self._changes:
            await self._changes.wait_for(predicate)

    def calls_to(self, model: str) -> list[Call]:
        return [call for call in self.calls if call.model == model]

    def totals(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for call in self.calls:
            if call.billed and call.model:
                sums = found.setdefault(call.model, {"calls": 0, "input": 0, "output": 0})
                sums["calls"] += 1
                sums["input"] += call.input
                sums["output"] += call.output
        return found

    def tokens(self, text: str) -> int:
        return len(self._encode(text))

    def prompt_tokens(self, request: dict[str, Any]) -> int:
        total = 3
        for message in request.get("messages") or ():
            total += 3 + self.tokens(str(message.get("role", "")))
            total += sum(self.tokens(text) for text in _texts(message))
        return total

    # The server

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/_fake/"):
            return await self._control(request)
        body = await request.content.read()
        call = Call(
            request.method, request.raw_path, list(request.raw_headers), body, _json(request, body), time.time()
        )
        self.calls.append(call)
        await self._changed()
        try:
            return await self._answer(request, call)
        except (asyncio.CancelledError, ConnectionError):
            call.hung_up = True
            raise
        finally:
            call.done = True
            await self._changed()

    async def _changed(self) -> None:
        async with self._changes:
            self._changes.notify_all()

    async def _answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        if self.keys is not None and (call.header("authorization") or "").removeprefix("Bearer ") not in self.keys:
            return self._respond(call, 401, _error("Incorrect API key provided", "invalid_api_key"))
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._websocket(request, call)
        chat = request.path == "/v1/chat/completions" and request.method == "POST"
        answer = self._next(call.model if chat else request.path, call.json)
        if isinstance(answer, Fault):
            fault, answer = answer, answer.answer
            if fault.kind == "respond":
                body = _error(f"fake {fault.status}", None) if fault.body is None else fault.body
                return self._respond(call, fault.status, body, fault.headers)
            if fault.kind == "disconnect":
                return _hang_up(request)
            if fault.kind == "stall":
                await self.release.wait()
        else:
            fault = None
        if chat:
            return await self._chat(request, call, answer, fault)
        return self._other(request, call, answer)

    def _next(self, key: str, data: Any) -> Any:
        for name in (key, "*"):
            if self._queues[name]:
                return self._queues[name].popleft()
        answer = self.answers.get(key, self.answers.get("*"))
        return answer(data) if callable(answer) else answer

    def _respond(self, call: Call, status: int, body: Any, headers: dict[str, str] | None = None) -> web.Response:
        call.status = status
        if isinstance(body, dict) and isinstance(body.get("usage"), dict):
            call.usage = body["usage"]
        raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        kind = {} if isinstance(body, bytes | str) else {"Content-Type": "application/json"}
        number = {"x-request-id": f"req_fake_{len(self.calls)}"}
        return web.Response(status=status, body=raw, headers={**kind, **number, **self.headers, **(headers or {})})

    async def _chat(self, request: web.BaseRequest, call: Call, answer: Any, fault: Fault | None) -> web.StreamResponse:
        data = call.json
        if not isinstance(data, dict) or not data.get("model") or not isinstance(data.get("messages"), list):
            return self._respond(call, 400, _error("you must provide `model` and `messages`", None))
        await asyncio.sleep(self.seconds.get(call.model, 0.0))
        message = {"content": answer} if isinstance(answer, str) else dict(answer or {"content": _echo(data)})
        head = {
            "id": f"chatcmpl-fake-{len(self.calls)}",
            "created": CREATED,
            "model": message.pop("model", self.snapshots.get(call.model, call.model)),
        }
        if tier := message.pop("service_tier", data.get("service_tier")):
            head["service_tier"] = tier
        usage = message.pop("usage", None)
        finish = message.pop("finish_reason", None) or ("tool_calls" if message.get("tool_calls") else "stop")
        text, cut = self._capped(message.get("content"), data)
        message = {"role": "assistant", **message, "content": text}
        finish = "length" if cut else finish
        call.input = self.prompt_tokens(data)
        if data.get("stream"):
            return await self._stream(request, call, head, message, finish, usage, fault)
        choices = data.get("n") or 1
        call.answer = text or ""
        call.output = choices * sum(self.tokens(t) for t in _texts(message))
        completion = {
            **head,
            "object": "chat.completion",
            "choices": [
                {"index": i, "message": message, "finish_reason": finish, "logprobs": None} for i in range(choices)
            ],
        }
        if self.reports_usage:
            completion["usage"] = call.usage = usage or self._usage(call)
        return self._respond(call, 200, completion)

    async def _stream(
        self,
        request: web.BaseRequest,
        call: Call,
        head: dict[str, Any],
        message: dict[str, Any],
        finish: str,
        usage: Any,
        fault: Fault | None,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", **self.headers})
        await response.prepare(request)
        call.status = 200
        await self._changed()
        asked = self.reports_usage and (call.json.get("stream_options") or {}).get("include_usage")
        indices = range(call.json.get("n") or 1)
        sent = 0
        for delta, reason in _deltas(message, finish):
            for index in indices:
                if fault and fault.kind == "cut" and sent >= fault.after:
                    return _hang_up(request)
                if fault and fault.kind == "slow":
                    await self._steps.acquire()
                choice = {"index": index, "delta": delta, "finish_reason": reason, "logprobs": None}
                await _event(response, {**head, **_CHUNK, "choices": [choice], **({"usage": None} if asked else {})})
                sent += 1
                if index == 0:
                    call.answer += delta.get("content") or ""
                extra = [] if "content" in delta else _texts(delta)
                call.output = len(indices) * self.tokens(call.answer) + sum(self.tokens(t) for t in extra)
            await self._changed()
        if asked:
            if fault and fault.kind == "slow":
                await self._steps.acquire()
            call.usage = usage or self._usage(call)
            await _event(response, {**head, **_CHUNK, "choices": [], "usage": call.usage})
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    def _usage(self, call: Call) -> dict[str, Any]:
        return {
            "prompt_tokens": call.input,
            "completion_tokens": call.output,
            "total_tokens": call.input + call.output,
            "prompt_tokens_details": {"cached_tokens": min(self.cached_tokens, call.input)},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }

    def _other(self, request: web.BaseRequest, call: Call, answer: Any) -> web.Response:
        if answer is not None:
            return self._respond(call, 200, answer)
        if request.path == "/v1/models" and request.method == "GET":
            listed = [{"id": m, "object": "model", "created": CREATED, "owned_by": "fake"} for m in self.models]
            return self._respond(call, 200, {"object": "list", "data": listed})
        if request.path == "/v1/embeddings" and request.method == "POST" and isinstance(call.json, dict):
            return self._respond(call, 200, self._embeddings(call))
        echo = {
            "method": call.method,
            "path": call.path,
            "query": request.query_string,
            "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in call.headers],
            "length": len(call.body),
            "sha256": hashlib.sha256(call.body).hexdigest(),
        }
        return self._respond(call, 200 if request.path.startswith("/v1/") else 404, echo)

    def _embeddings(self, call: Call) -> dict[str, Any]:
        inputs = call.json.get("input")
        texts = [inputs] if isinstance(inputs, str) else list(inputs or ())
        call.input = sum(self.tokens(str(text)) for text in texts)
        rows = []
        for index, text in enumerate(texts):
            vector = [byte / 255 for byte in hashlib.sha256(str(text).encode()).digest()[:8]]
            packed = base64.b64encode(struct.pack("<8f", *vector)).decode()
            in_base64 = call.json.get("encoding_format") == "base64"
            rows.append({"object": "embedding", "index": index, "embedding": packed if in_base64 else vector})
        usage = {"prompt_tokens": call.input, "total_tokens": call.input}
        return {"object": "list", "data": rows, "model": call.model, "usage": usage}

    async def _websocket(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("realtime",))
        await socket.prepare(request)
        call.status = 101
        async for message in socket:
            if message.type is web.WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is web.WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    async def _control(self, request: web.BaseRequest) -> web.Response:
        """For tests in other processes: GET /_fake/log, POST /_fake/answers {model: text, message, or fault's fields};
        a list is a queue. A POST also sets `release` and gives as many steps as the query's `release`, `steps` say."""
        if request.path == "/_fake/log":
            shown = [
                {**c.__dict__, "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in c.headers]}
                for c in self.calls
            ]
            return web.json_response(
                {"calls": [{**c, "body": c["body"].decode("utf-8", "replace")} for c in shown], "totals": self.totals()}
            )
        for key, answer in (json.loads(await request.content.read() or b"{}")).items():
            if isinstance(answer, list):
                self.queue(key, *map(_read_answer, answer))
            else:
                self.answers[key] = _read_answer(answer)
        if request.query.get("release"):
            self.release.set()
        self.step(int(request.query.get("steps", 0)))
        return web.json_response({})

    # Tokens

    def _encode(self, text: str) -> list[int]:
        if self._encoding is None:
            os.environ["TIKTOKEN_CACHE_DIR"] = str(install_vocabularies(default_folder()))
            self._encoding = tiktoken.get_encoding("o200k_base")
        return self._encoding.encode_ordinary(text)

    def _capped(self, text: str | None, data: dict[str, Any]) -> tuple[str | None, bool]:
        cap = data.get("max_completion_tokens") or data.get("max_tokens")
        if not text or not cap or len(found := self._encode(text)) <= cap:
            return text, False
        assert self._encoding
        return self._encoding.decode(found[:cap]), True


_CHUNK = {"object": "chat.completion.chunk"}


async def _event(response: web.StreamResponse, data: Any) -> None:
    await response.write(b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n")


def _deltas(message: dict[str, Any], finish: str) -> list[tuple[dict[str, Any], str | None]]:
    rest = {k: v for k, v in message.items() if k not in ("role", "content") and v is not None}
    if "tool_calls" in rest:
        rest["tool_calls"] = [{"index": i, **call} for i, call in enumerate(rest["tool_calls"])]
    pieces = re.findall(r"\s*\S{1,12}|\s+", message["content"] or "")
    return [
        ({"role": "assistant", "content": "" if message["content"] is not None else None}, None),
        *[({"content": piece}, None) for piece in pieces],
        *([(rest, None)] if rest else []),
        ({}, finish),
    ]


def _hang_up(request: web.BaseRequest) -> web.StreamResponse:
    assert request.transport
    request.transport.close()
    return web.Response()


def _texts(message: dict[str, Any]) -> list[str]:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    found = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        found += [str(function.get("name") or ""), str(function.get("arguments") or "")]
    return found


def _echo(request: dict[str, Any]) -> str:
    texts = [text for message in request["messages"] if isinstance(message, dict) for text in _texts(message)]
    return f"echo: {texts[-1] if texts else ''}"


def _error(message: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "fake_error", "param": None, "code": code}}


def _json(request: web.BaseRequest, body: bytes) -> Any:
    try:
        return json.loads(gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body)
    except (ValueError, OSError, EOFError):
        return None


def _read_answer(data: Any) -> Answer:
    return Fault(**data) if isinstance(data, dict) and "kind" in data else data


async def _main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0)
    fake = FakeUpstream()
    await fake.start(options.parse_args().port)
    sys.stdout.write(f"{fake.url}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
