"""An upstream that falls silent, through the whole proxy."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.entry import Entry
from proxy.logs import RequestLog
from tests.fake_upstream import Fault
from tests.proxy.gateway import Proxy

PATIENCE = 10.0
SHORT = {"upstream": "200ms"}
PAUSE = 0.06  # seconds, well below that
PAUSES = 7  # more together than is allowed at once


@pytest.fixture
async def ended(monkeypatch) -> asyncio.Queue[Entry]:
    """Each request that ended, as the log is told of it."""
    found: asyncio.Queue[Entry] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def note(self: RequestLog, batch: list[Entry]) -> None:
        for entry in batch:
            if entry.ends and entry.part != "call":
                loop.call_soon_threadsafe(found.put_nowait, entry)

    monkeypatch.setattr(RequestLog, "note", note)
    return found


async def _next(ended: asyncio.Queue[Entry]) -> Entry:
    return await asyncio.wait_for(ended.get(), PATIENCE)


async def _ask(stream: Any, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """One request on a connection that stays."""
    reader, writer = stream
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    async with asyncio.timeout(PATIENCE):
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(answer.split()[1]), json.loads(await reader.readexactly(length))


async def _still_serves(proxy: Proxy, chat) -> None:
    async with await proxy.chat(chat(model="fake-mini")) as answer:
        assert (await answer.json())["choices"][0]["message"]["content"] == "echo: so happy"
    assert not proxy.gateway.watch._open


async def test_an_upstream_that_stalls_before_its_head_is_a_timeout_in_openais_shape(run, fake, chat, ended):
    proxy = await run(timeouts=SHORT)
    fake.queue("fake-mini", Fault.stall())
    stream = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        status, answer = await _ask(stream, chat(model="fake-mini"))
        assert status == 504
        assert (answer["error"]["type"], answer["error"]["code"]) == ("server_error", "upstream_timeout")
        assert answer["error"].keys() == {"message", "type", "param", "code"}
        await fake.wait_until(lambda: fake.calls[0].hung_up)
        assert (await _next(ended)).failed == "timeout"
        status, answer = await _ask(stream, chat(model="fake-mini"))  # the same connection
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "echo: so happy")
        assert ((await _next(ended)).failed, len(fake.calls)) == ("", 2)
    finally:
        stream[1].close()
    await _still_serves(proxy, chat)


async def test_a_stream_that_falls_silent_is_broken_off(run, fake, chat, ended):
    proxy = await run(timeouts=SHORT)
    fake.queue("fake-mini", Fault.slow("one two three"))
    fake.step(2)
    got = b""
    async with await proxy.chat(chat(model="fake-mini", stream=True)) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            async with asyncio.timeout(PATIENCE):
                async for chunk in answer.content.iter_any():
                    got += chunk
    assert b"one" in got
    assert b"[DONE]" not in got
    await fake.wait_until(lambda: fake.calls[0].hung_up)
    entry = await _next(ended)
    assert (entry.failed, entry.status, entry.counted) == ("timeout", 200, True)
    await _still_serves(proxy, chat)


async def test_a_stream_whose_pauses_are_shorter_goes_on(run, fake, chat, ended):
    proxy = await run(timeouts=SHORT)
    fake.queue("fake-mini", Fault.slow("one two three four five"))
    got = b""
    async with await proxy.chat(chat(model="fake-mini", stream=True)) as answer:
        for _ in range(PAUSES):
            fake.step()
            await asyncio.sleep(PAUSE)
        async with asyncio.timeout(PATIENCE):
            fake.step(100)
            got = await answer.read()
    assert got.endswith(b"data: [DONE]\n\n")
    assert (await _next(ended)).failed == ""


@pytest.fixture
async def trickling() -> AsyncIterator[str]:
    """An upstream whose whole answer comes in pieces, with pauses."""
    body = json.dumps({"model": "m", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            size = len(body) // PAUSES + 1
            for at in range(0, len(body), size):
                await asyncio.sleep(PAUSE)
                writer.write(body[at : at + size])
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    server.close()


async def test_a_whole_answer_that_comes_in_pieces_is_not_silence(trickling, run, chat):
    proxy = await run(timeouts=SHORT, upstreams={"slow": {"base_url": trickling, "api_key": "sk-ours"}})
    async with await proxy.chat(chat(model="m")) as answer:
        assert (answer.status, (await answer.json()).get("model")) == (200, "m")
