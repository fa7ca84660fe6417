"""SIGTERM under load: what has come in is answered, and the server ends in time with code 0."""

import asyncio
import json
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp
import pytest

from tests.e2e.conftest import Server
from tests.e2e.test_serve import Start
from tests.fake_upstream import FakeUpstream, Fault

CLIENTS = 64
WORDS = "one two three four five six seven eight"


@dataclass
class Load:
    """Clients that each ask again as soon as they are answered, every second one for a stream, until they are refused
    a connection."""

    server: Server
    answered: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    said_close: int = 0

    async def client(self, number: int) -> None:
        stream, asked, fresh = number % 2 == 0, 0, True
        async with aiohttp.ClientSession() as http:
            while True:
                name, asked = f"{number}.{asked}", asked + 1
                body = {"model": "fake-mini", "messages": [{"role": "user", "content": name}], "stream": stream}
                try:
                    async with http.post(f"{self.server.url}/v1/chat/completions", json=body) as answer:
                        raw = await answer.read()
                except aiohttp.ClientConnectorError:
                    return
                except aiohttp.ClientError as error:
                    if fresh:  # in the kernel's queue when the listener closed: it never came in
                        return
                    self.broken.append(f"{name}: {type(error).__name__}")
                    continue
                assert answer.status == 200
                assert raw.endswith(b"data: [DONE]\n\n") if stream else json.loads(raw)["choices"]
                self.answered.add(name)
                fresh = answer.headers.get("Connection") == "close"
                self.said_close += fresh


@pytest.mark.parametrize("workers", [1, 2])
async def test_told_to_stop_under_load_no_request_that_came_in_fails(
    start: Start, fake: FakeUpstream, workers: int
) -> None:
    fake.answers["fake-mini"] = WORDS
    server = await start(listen={"port": 0, "workers": workers})
    load = Load(server)
    clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]
    await fake.wait_for(5 * CLIENTS)
    server.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*clients)
    assert await asyncio.wait_for(server.process.wait(), 30) == 0
    arrived = Counter(call.json["messages"][0]["content"] for call in fake.calls)
    assert set(arrived.values()) == {1}  # the clients here don't try again, and neither does Cuecard
    assert set(arrived) == load.answered
    assert load.broken == []
    assert load.said_close >= 1


async def test_told_to_stop_a_stream_that_has_begun_comes_to_its_end(start: Start, fake: FakeUpstream) -> None:
    fake.answers["fake-mini"] = Fault.slow(WORDS)
    server = await start()
    body = {"model": "fake-mini", "messages": [{"role": "user", "content": "x"}], "stream": True}
    async with await server.chat(body) as answer:
        fake.step(2)
        await answer.content.readuntil(b"one")
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            with suppress(aiohttp.ClientConnectorError):
                while True:  # nobody new is let in, while the old stream waits for its upstream
                    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/health/live"):
                        await asyncio.sleep(0.02)
        fake.step(20)
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")
    assert await asyncio.wait_for(server.process.wait(), 30) == 0
