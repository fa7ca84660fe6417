"""A client's chat request as it came in: its bytes, and what they say."""

import time
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self

import orjson
from aiohttp import web

from proxy import headers
from proxy.access import Caller
from proxy.errors import BadRequestError, TooLargeError

now = time.perf_counter
VIRTUAL = "task:"
_PROCESS = uuid.uuid4().hex[:20]  # a number of one's own for each request would be a system call each
_NUMBERS = count(0x1000_0000)
MAX_BODY = 64 * 2**20  # bytes of a chat request; other paths have no limit


@dataclass(slots=True)
class Call:
    id: str
    started: float  # time.perf_counter()
    path: str
    headers: headers.RawHeaders
    raw: bytes = b""  # of a chat request; what else there is streams by
    encoding: str = ""  # of `raw`
    body: dict[str, Any] = field(default_factory=dict)
    tenant: str = "default"
    own_key: bool = True  # its bearer may go to the upstream it addressed
    bypass: bool = False
    named: str | None = None  # the task it was given by model, header or metadata
    virtual: bool = False  # named by its model: there is no model of the app's own
    rewritten: bool = field(default=False)  # `body` differs from `raw`: a routing key was taken out of it

    @classmethod
    def of(cls, request: web.Request, started: float, caller: Caller) -> Self:
        return cls(
            id=f"cue-{_PROCESS}{next(_NUMBERS):x}",
            started=started,
            path=request.raw_path,
            headers=request.raw_headers,
            tenant=caller.tenant,
            own_key=caller.own_key,
            bypass=request.headers.get(headers.BYPASS) == "1",
        )

    @property
    def model(self) -> str:
        model = self.body.get("model")
        return model if isinstance(model, str) else ""

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        options = self.body.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True


async def read_call(request: web.Request, started: float, caller: Caller) -> Call:
    """Raises BadRequestError where the body is no JSON object, as OpenAI does."""
    raw = await request.read()
    call = Call.of(request, started, caller)
    call.raw, call.encoding = raw, request.headers.get(headers.CONTENT_ENCODING, "").lower()
    call.body = _parse(raw, call.encoding)
    _name(call, request.headers.get(headers.TASK))
    return call


def _parse(raw: bytes, encoding: str) -> dict[str, Any]:
    try:
        text = _decompressed(raw, encoding)
        body = orjson.loads(text)
    except (orjson.JSONDecodeError, zlib.error) as error:
        raise BadRequestError(
            f"We could not parse the JSON body of your request: {error}", code="invalid_json"
        ) from None
    if not isinstance(body, dict):
        raise BadRequestError("The JSON body of your request must be an object.", code="invalid_json")
    return body


def _decompressed(raw: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "deflate"):
        raise BadRequestError(f"Content-Encoding {encoding!r} can't be read here: send gzip or none")
    unpacker = zlib.decompressobj(wbits=47 if encoding == "gzip" else 15)
    text = unpacker.decompress(raw, MAX_BODY)
    if unpacker.unconsumed_tail:
        raise TooLargeError(f"a chat request may have at most {MAX_BODY // 2**20} MiB")
    return text


def _name(call: Call, header: str | None) -> None:
    """`task:` model, then header, then metadata.task, which is ours and is taken out of the body."""
    metadata = call.body.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("task"), str):
        call.named = metadata["task"]
        rest = {key: value for key, value in metadata.items() if key != "task"}
        call.body = {key: value for key, value in call.body.items() if key != "metadata"}
        if rest:
            call.body["metadata"] = rest
        call.rewritten = True
    call.named = header or call.named
    if call.model.startswith(VIRTUAL):
        call.named, call.virtual = call.model.removeprefix(VIRTUAL), True
