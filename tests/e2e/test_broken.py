"""What is cut off, hung up on or killed: nothing is lost, nothing is paid twice, all of it is booked."""

import asyncio
import gzip
import json
import os
import signal
from typing import Any

import aiohttp
import pytest

from compiler.ledger import Ledger
from tests.e2e.conftest import Server
from tests.e2e.test_serve import PROMPT, SENTIMENT, Start
from tests.fake_upstream import FakeUpstream, Fault

ASKED = {"messages": [{"role": "user", "content": "nice"}]}


def booked(server: Server) -> dict[str, list[int]]:
    store = server.open_store()
    sums: dict[str, list[int]] = {}
    for _, row, found in Ledger(store).rows():
        known = sums.setdefault(row.model, [0, 0])
        known[0] += found.input + found.cached_input + found.cache_write
        known[1] += found.output + found.reasoning
    store.close()
    return sums


async def test_a_stream_without_usage_is_counted_and_booked_to_the_last_token(start: Start, fake: FakeUpstream) -> None:
    fake.answers["fake-mini"] = "one two three four five"
    server = await start()
    async with await server.chat({"model": "fake-mini", "stream": True, **ASKED}) as answer:
        assert b'"usage"' not in await answer.read()
    await server.stop()
    total = fake.totals()["fake-mini"]
    assert booked(server)["fake-mini"] == [total["input"], total["output"]]


async def test_a_stream_without_usage_is_counted_also_where_its_request_came_packed(
    start: Start, fake: FakeUpstream
) -> None:
    fake.answers["fake-mini"] = "one two three four five"
    server = await start()
    packed = gzip.compress(json.dumps({"model": "fake-mini", "stream": True, **ASKED}).encode())
    told = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with server.http.post(f"{server.url}/v1/chat/completions", data=packed, headers=told) as answer:
        assert b'"usage"' not in await answer.read()
    await server.stop()
    total = fake.totals()["fake-mini"]
    assert total["input"] > 0
    assert booked(server)["fake-mini"] == [total["input"], total["output"]]


async def test_a_stream_that_the_upstream_cuts_is_cut_for_the_client_and_booked(
    start: Start, fake: FakeUpstream
) -> None:
    fake.answers["fake-mini"] = Fault.cut(3)
    server = await start()
    with pytest.raises(aiohttp.ClientError):
        async with await server.chat({"model": "fake-mini", "stream": True, **ASKED}) as answer:
            await answer.read()
    await server.stop()
    total = fake.totals()["fake-mini"]
    assert booked(server)["fake-mini"] == [total["input"], total["output"]]


async def test_a_server_killed_during_a_compile_repays_at_most_the_call_in_flight(
    start: Start, fake: FakeUpstream
) -> None:
    fake.answers["fake-strong"] = Fault.stall()
    fake.answers["fake-mini"] = "good"
    fake.answers["fake-nano"] = "good"
    tasks: dict[str, Any] = {"sentiment": {**SENTIMENT, "incumbent": "fake-mini"}}
    server = await start(tasks=tasks)
    async with await server.chat({"model": "task:sentiment", **ASKED}) as answer:
        assert answer.status == 200
    await fake.wait_until(lambda: len(fake.calls_to("fake-strong")) == 1)
    os.kill(server.process.pid, signal.SIGKILL)
    await server.process.wait()
    fake.answers["fake-strong"] = PROMPT
    fake.release.set()
    server = await start(tasks=tasks)
    async with asyncio.timeout(20):
        while True:
            async with await server.chat({"model": "task:sentiment", **ASKED}) as answer:
                if answer.headers["X-Cuecard-Route"] == "compiled":
                    break
            await asyncio.sleep(0.05)
    assert len(fake.calls_to("fake-strong")) == 2


async def test_a_killed_worker_is_replaced(start: Start, fake: FakeUpstream) -> None:
    server = await start()
    children = await asyncio.create_subprocess_exec(
        "pgrep", "-P", str(server.process.pid), "-f", "proxy.worker", stdout=asyncio.subprocess.PIPE
    )
    found, _ = await children.communicate()
    os.kill(int(found.split()[0]), signal.SIGKILL)
    async with asyncio.timeout(20):
        while True:
            try:
                async with await server.chat({"model": "fake-mini", **ASKED}) as answer:
                    if answer.status == 200:
                        break
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    assert json.loads(fake.calls_to("fake-mini")[-1].body)["model"] == "fake-mini"


async def test_a_client_that_hangs_up_cancels_the_upstream_call_and_is_booked(start: Start, fake: FakeUpstream) -> None:
    fake.answers["fake-mini"] = Fault.slow("one two three four five six seven eight")
    server = await start()
    answer = await server.chat({"model": "fake-mini", "stream": True, **ASKED})
    fake.step(2)
    await answer.content.readany()
    answer.close()
    await fake.wait_until(lambda: bool(fake.calls_to("fake-mini")))
    async with asyncio.timeout(10):
        while 'code="499"' not in (text := await server.metrics()) and 'code="200"' not in text:
            fake.step(1)
            await asyncio.sleep(0.02)
    await server.stop()
    assert booked(server)["fake-mini"][0] == fake.totals()["fake-mini"]["input"]
    assert "cuecard_inflight_requests 0.0" in text
