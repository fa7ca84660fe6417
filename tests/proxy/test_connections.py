"""Clients' connections: slow ones, silent ones, and all of them when the worker is told to stop."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import pytest

from proxy.connections import close_silent, drain
from proxy.reply import STOPPING
from tests.fake_upstream import Fault
from tests.proxy.gateway import Proxy

PATIENCE = 10.0
SHORT = {"client": "100ms"}
HEAD = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Client(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[bytes, bytes]:
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return head, await self.reader.readexactly(length)

    async def ended(self) -> bool:
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                return await self.reader.read() == b""
        return True


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    try:
        yield client
    finally:
        client.writer.close()


def request_for(body: bytes, length: int | None = None) -> bytes:
    return f"{HEAD}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


@pytest.fixture
async def closing(run) -> AsyncIterator[Callable[[], Awaitable[Proxy]]]:
    """A proxy that closes connections which ask nothing for 100 ms."""
    tasks: list[asyncio.Task[None]] = []

    async def start() -> Proxy:
        proxy: Proxy = await run()
        tasks.append(asyncio.create_task(close_silent(proxy.runner.server, 0.1)))
        return proxy

    yield start
    for task in tasks:
        task.cancel()


async def stop(proxy: Proxy) -> None:
    """As a worker does: the listener is closed elsewhere."""
    proxy.runner.app[STOPPING].set()
    await drain(proxy.runner.server, lambda: proxy.metrics.requests_now, PATIENCE)


@pytest.mark.parametrize("sent", [b"", b"GET /v1/models HT", HEAD.encode()])
async def test_a_connection_that_never_finishes_its_first_head_is_closed(closing, sent):
    proxy = await closing()
    async with connected(proxy) as client:
        client.writer.write(sent)
        assert await client.ended()


async def test_a_connection_that_has_asked_may_be_idle(closing, chat):
    proxy = await closing()
    async with connected(proxy) as client, connected(proxy) as silent:
        client.writer.write(request_for(json.dumps(chat(model="fake-mini")).encode()))
        await client.answer()
        assert await silent.ended()  # so much time has passed
        client.writer.write(request_for(json.dumps(chat(model="fake-mini")).encode()))
        head, _ = await client.answer()
        assert head.startswith(b"HTTP/1.1 200")


async def test_a_client_that_stops_in_the_middle_of_its_body_is_told_so(run, fake, chat):
    proxy = await run(timeouts=SHORT)
    async with connected(proxy) as client:
        client.writer.write(request_for(b'{"model": ', 1_000))
        head, body = await client.answer()
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(body)["error"]["code"] == "request_timeout"
    assert not fake.calls


async def test_a_body_may_take_longer_than_that_as_long_as_it_moves(run, chat):
    proxy = await run(timeouts={"client": "300ms"})
    body = json.dumps(chat("x" * 100, model="fake-mini")).encode()
    async with connected(proxy) as client:
        client.writer.write(request_for(b"", len(body)))
        for start in range(0, len(body), 20):
            await asyncio.sleep(0.05)
            client.writer.write(body[start : start + 20])
        head, _ = await client.answer()
    assert head.startswith(b"HTTP/1.1 200")


async def test_a_client_that_takes_nothing_of_its_answer_keeps_nothing_waiting(run, fake):
    size = 50 * 2**20
    fake.answers["/v1/files/x"] = Fault.respond(200, body=b"x" * size)
    proxy = await run(timeouts={"upstream": "200ms"})
    async with connected(proxy) as client:
        client.writer.write(b"GET /v1/files/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await proxy.metered("requests_total", 1, code="200")
        assert proxy.metrics.requests_now == 0
        seen = 0
        with suppress(ConnectionError):
            while piece := await client.reader.read(2**20):
                seen += len(piece)
        assert seen < size


async def test_told_to_stop_a_request_that_has_come_in_is_answered_and_its_connection_closed(run, fake, chat):
    fake.answers["fake-mini"] = Fault.stall("in time")
    proxy = await run()
    async with connected(proxy) as client:
        client.writer.write(request_for(json.dumps(chat(model="fake-mini")).encode()))
        await fake.wait_for(1)
        stopping = asyncio.create_task(stop(proxy))
        fake.release.set()
        head, body = await client.answer()
        assert b"in time" in body
        assert b"connection: close" in head.lower()
        assert await client.ended()
        await stopping


async def test_told_to_stop_a_body_that_is_still_coming_in_is_waited_for(run, chat):
    proxy = await run()
    body = json.dumps(chat(model="fake-mini")).encode()
    async with connected(proxy) as client:
        client.writer.write(request_for(body[:10], len(body)))
        async with asyncio.timeout(PATIENCE):
            while not proxy.metrics.requests_now:
                await asyncio.sleep(0.005)
        stopping = asyncio.create_task(stop(proxy))
        await asyncio.sleep(0)
        client.writer.write(body[10:])
        head, _ = await client.answer()
        assert head.startswith(b"HTTP/1.1 200")
        await stopping


async def test_told_to_stop_a_connection_in_use_hears_it_with_its_next_answer(run, chat):
    proxy = await run()
    request = request_for(json.dumps(chat(model="fake-mini")).encode())
    async with connected(proxy) as client:
        client.writer.write(request)
        head, _ = await client.answer()
        assert b"connection: close" not in head.lower()
        stopping = asyncio.create_task(stop(proxy))
        await asyncio.sleep(0)
        client.writer.write(request)
        head, _ = await client.answer()
        assert b"connection: close" in head.lower()
        assert await client.ended()
        await stopping


async def test_told_to_stop_with_nobody_connected_nothing_is_waited_for(run):
    proxy = await run()
    await asyncio.wait_for(stop(proxy), 0.2)


async def test_a_request_that_never_ends_is_not_waited_for_longer_than_the_drain(run, fake, chat):
    fake.answers["fake-mini"] = Fault.stall()
    proxy = await run()
    async with connected(proxy) as client:
        client.writer.write(request_for(json.dumps(chat(model="fake-mini")).encode()))
        await fake.wait_for(1)
        await asyncio.wait_for(drain(proxy.runner.server, lambda: proxy.metrics.requests_now, 0.1), PATIENCE)
        assert proxy.metrics.requests_now == 1


async def test_health_says_that_it_stops(run):
    proxy = await run()
    proxy.runner.app[STOPPING].set()
    async with proxy.http.get(f"{proxy.url}/health/ready") as answer:
        assert (answer.status, await answer.json()) == (503, {"status": "stopping"})
