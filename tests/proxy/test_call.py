import contextlib
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import proxy.call
from proxy import headers
from proxy.access import Caller
from proxy.call import Call, name_task, read_call
from proxy.errors import BadRequestError, ProxyError, TooLargeError

Send = Callable[..., Awaitable[Call]]


@pytest.fixture
async def send() -> AsyncIterator[Send]:
    """Send a body over a socket; the call that is read from it, or the error."""
    read: list[Call | ProxyError] = []

    async def handle(request: web.Request) -> web.Response:
        try:
            call = await read_call(request, 1.0, Caller("shop"), patience=10)
            name_task(call, request.headers.get(headers.TASK))
            read.append(call)
        except ProxyError as error:
            read.append(error)
        return web.Response()

    app = web.Application(client_max_size=2**19)
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/chat/completions?a=%2F"
    async with aiohttp.ClientSession() as session:

        async def send(body: Any, extra: dict[str, str] | None = None) -> Call:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            with contextlib.suppress(aiohttp.ClientError):  # the server may hang up on a body that is too large
                async with session.post(url, data=raw, headers=extra):
                    pass
            found = read.pop()
            if isinstance(found, ProxyError):
                raise found
            return found

        yield send
    await runner.cleanup()


async def test_a_call_is_its_bytes_and_what_they_say(send, chat):
    raw = json.dumps(chat(stream=True, stream_options={"include_usage": True})).encode() + b" \n"
    call = await send(raw)
    assert (call.raw, call.body, call.rewritten) == (raw, json.loads(raw), False)
    assert (call.model, call.stream, call.wants_usage) == ("gpt-big", True, True)
    assert (call.tenant, call.started, call.named, call.virtual) == ("shop", 1.0, None, False)
    assert not call.bypass
    assert call.id.startswith("cue-")


async def test_every_call_has_an_id_of_its_own(send, chat):
    assert (await send(chat())).id != (await send(chat())).id


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": }', b"\xff", b"[1]", b"null", b'"text"', b"NaN", b"[" * 5_000])
async def test_a_body_that_is_no_json_object_is_a_bad_request(send, body):
    with pytest.raises(BadRequestError) as caught:
        await send(body)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
async def test_a_compressed_body_is_read_and_kept_as_it_came(send, chat, encoding, pack):
    packed = pack(json.dumps(chat()).encode())
    call = await send(packed, {"Content-Encoding": encoding})
    assert (call.raw, call.body) == (packed, chat())


@pytest.mark.parametrize("packed", [b"{}", gzip.compress(b'{"model": "m"}', mtime=0)[:-12], b""])
async def test_a_body_that_is_not_compressed_as_it_says_is_a_bad_request(send, packed):
    with pytest.raises(BadRequestError):
        await send(packed, {"Content-Encoding": "gzip"})


async def test_a_compression_that_cannot_be_read_is_named(send):
    with pytest.raises(BadRequestError, match="Content-Encoding 'br' can't be read here"):
        await send(b"{}", {"Content-Encoding": "br"})


async def test_a_small_body_that_unpacks_to_a_huge_one_is_too_large(send, monkeypatch):
    monkeypatch.setattr(proxy.call, "MAX_BODY", 2**20)
    with pytest.raises(TooLargeError):
        await send(gzip.compress(b" " * 2**22, mtime=0), {"Content-Encoding": "gzip"})


async def test_the_task_is_taken_out_of_metadata(send, chat):
    call = await send(chat(metadata={"task": "mood", "user": "7"}, seed=1))
    assert (call.named, call.rewritten) == ("mood", True)
    assert call.body == chat(metadata={"user": "7"}, seed=1)


async def test_metadata_that_held_only_the_task_is_dropped(send, chat):
    call = await send(chat(metadata={"task": "mood"}))
    assert call.body == chat()


@pytest.mark.parametrize("metadata", [{}, None, {"task": 5}, {"other": "x"}, "task", ["task"]])
async def test_metadata_that_names_no_task_stays(send, chat, metadata):
    call = await send(chat(metadata=metadata))
    assert (call.named, call.rewritten, call.body) == (None, False, chat(metadata=metadata))


async def test_the_header_comes_before_metadata_and_the_model_before_both(send, chat):
    metadata, header = {"task": "by-metadata"}, {"X-Cuecard-Task": "by-header"}
    call = await send(chat(metadata=metadata), header)
    assert (call.named, call.virtual, call.body) == ("by-header", False, chat())
    call = await send(chat(metadata=metadata, model="task:by-model"), header)
    assert (call.named, call.virtual) == ("by-model", True)
    call = await send(chat(), header)
    assert (call.named, call.rewritten) == ("by-header", False)


async def test_a_bypass_is_asked_for_with_1(send, chat):
    assert (await send(chat(), {"X-Cuecard-Bypass": "1"})).bypass
    assert not (await send(chat(), {"X-Cuecard-Bypass": "0"})).bypass


@pytest.mark.parametrize(
    "body", [{}, {"model": 5, "stream": "yes", "stream_options": []}, {"model": None, "stream_options": None}]
)
async def test_odd_fields_read_as_absent(send, body):
    call = await send(body)
    assert (call.model, call.stream, call.wants_usage) == ("", False, False)


@pytest.mark.parametrize(
    ("given", "more", "why"),
    [
        ({}, {}, ""),
        ({}, {"store": True}, ""),
        ({}, {"store": None}, ""),
        ({"X-Cuecard-No-Store": "0"}, {}, ""),
        ({"X-Cuecard-No-Store": "false"}, {}, ""),
        ({"X-Cuecard-No-Store": "1"}, {}, "no_store"),
        ({"X-Cuecard-No-Store": "yes, please"}, {}, "no_store"),
        ({}, {"store": False}, "store_false"),
        ({"X-Cuecard-No-Store": "1"}, {"store": False}, "no_store"),
        ({"X-Cuecard-Bypass": "1", "X-Cuecard-No-Store": "1"}, {"store": False}, "bypass"),
    ],
)
async def test_a_call_says_whether_it_may_be_kept_and_what_forbids_it(send, chat, given, more, why):
    assert (await send(chat(**more), given)).unrecorded == why
