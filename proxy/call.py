"""A client's chat request as it came in: its bytes, and what they say."""

import asyncio
import json
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
from proxy.errors import BadRequestError, ClientTooSlowError, TooLargeError

now = time.perf_counter
VIRTUAL = "task:"
_PROCESS = uuid.uuid4().hex[:20]  # a number of one's own for each request would be a system call each
_NUMBERS = count(0x1000_0000)
MAX_BODY = 64 * 2**20  # bytes of a chat request; other paths have no limit


@dataclass(slots=True, repr=False)  # it holds the client's key and what was said
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
    unrecorded: str = ""  # why nothing of it may be kept
    named: str | None = None  # the task it was given by model, header or metadata
    virtual: bool = False  # named by its model: there is no model of the app's own
    rewritten: bool = field(default=False)  # `body` differs from `raw`: a routing key was taken out of it

    @classmethod
    def of(cls, request: web.Request, started: float, caller: Caller) -> Self:
        return cls(
            id=f"cue-{_PROCESS}{next(_NUMBERS):x}",
            started=started,
            path=headers.origin_form(request.raw_path),
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


async def read_call(request: web.Request, started: float, caller: Caller, patience: float) -> Call:
    """Raises BadRequestError where the body is no JSON object, as OpenAI does, and ClientTooSlowError where nothing
    more of it came for `patience` seconds."""
    if (request.content_length or 0) > MAX_BODY:  # said before it is sent
        raise too_large()
    content = request.content
    raw = content.read_nowait() if content.is_eof() else await _read_in_pieces(request, patience)
    call = Call.of(request, started, caller)
    call.raw, call.encoding = raw, request.headers.get(headers.CONTENT_ENCODING, "").lower()
    call.body = _parse(raw, call.encoding)
    return call


async def _read_in_pieces(request: web.Request, patience: float) -> bytes:
    read = bytearray()
    try:
        async with asyncio.timeout(patience) as timer:
            async for piece in request.content.iter_any():
                read += piece
                if len(read) > MAX_BODY:
                    raise too_large()
                timer.reschedule(asyncio.get_running_loop().time() + patience)
    except TimeoutError:
        raise ClientTooSlowError(f"nothing more of the request came for {patience:.0f} s") from None
    return bytes(read)


def too_large() -> TooLargeError:
    return TooLargeError(f"a request that is read here may have {MAX_BODY // 2**20} MiB at most")


def _parse(raw: bytes, encoding: str) -> dict[str, Any]:
    try:
        body = _loaded(_decompressed(raw, encoding))
    except (ValueError, RecursionError, zlib.error) as error:
        raise BadRequestError(
            f"We could not parse the JSON body of your request: {error}", code="invalid_json"
        ) from None
    if not isinstance(body, dict):
        raise BadRequestError("The JSON body of your request must be an object.", code="invalid_json")
    return body


def _loaded(text: bytes) -> Any:
    """orjson refuses what others take: half a surrogate pair, deep nesting, NaN. Whether it is wrong is the upstream's
    to say."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        body = json.loads(text)
        metadata = body.get("metadata") if isinstance(body, dict) else None
        for named in (body, metadata):  # what names a model or a task is text: it stands in headers, labels, the log
            if isinstance(named, dict):
                f"{named.get('model')} {named.get('task')}".encode()
        return body


def _decompressed(raw: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "deflate"):
        raise BadRequestError(f"Content-Encoding {encoding!r} can't be read here: send gzip or none")
    unpacker = zlib.decompressobj(wbits=47 if encoding == "gzip" else 15)
    text = unpacker.decompress(raw, MAX_BODY)
    if unpacker.unconsumed_tail:
        raise too_large()
    return text


def name_task(call: Call, header: str | None) -> None:
    """Which task the call names: `task:` model, then header, then metadata.task, which is ours and is taken out of the
    body."""
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
