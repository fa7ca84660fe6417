"""What is cut off, hung up on or killed: nothing is lost, nothing is paid twice, all of it is booked."""

import asyncio
import gzip
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from compiler.ledger import Ledger
from tests.e2e.conftest import Server, serving, settings_for
from tests.e2e.test_killed import until
from tests.e2e.test_serve import PROMPT, SENTIMENT, Start
from tests.fake_upstream import FakeUpstream, Fault

ASKED = {"messages": [{"role": "user", "content": "nice"}]}
WORDS = "one two three four five six seven eight"


def booked(server: Server) -> dict[str, list[int]]:
    store = server.open_store()
    sums: dict[str, list[int]] = {}
    for _, row, found in Ledger(store).rows():
        known = sums.setdefault(row.model, [0, 0])
        known[0] += found.input + found.cached_input + found.cache_write
        known[1] += found.output + found.reasoning
    store.close()
    return sums


class Streams(NamedTuple):
    """Without usage, each asked of a model of its own: `whole`, `packed`, `cut`, `hung-up`."""

    whole: bytes
    packed: bytes
    cut: BaseException | None
    metrics: str  # once the last of them was over
    booked: dict[str, list[int]]  # tokens in and out, by model, after the server's end
    billed: dict[str, list[int]]  # the same, as the upstream counted them


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Streams:
    return asyncio.run(_streams(tmp_path_factory.mktemp("streams")))


async def _streams(folder: Path) -> Streams:
    async with FakeUpstream() as fake:
        fake.answers |= {"whole": WORDS, "packed": WORDS, "cut": Fault.cut(3), "hung-up": Fault.slow(WORDS)}
        async with serving(folder, settings_for(fake, folder)) as server:
            whole, packed = await _read(server, "whole"), await _read(server, "packed", gzip.compress)
            (cut,) = await asyncio.gather(_read(server, "cut"), return_exceptions=True)
            await until(lambda: booked(server) == _billed(fake))
            metrics = await _hang_up(server, fake)  # the server's end finds it not booked yet
        broken = cut if isinstance(cut, BaseException) else None
        return Streams(whole, packed, broken, metrics, booked(server), _billed(fake))


def _billed(fake: FakeUpstream) -> dict[str, list[int]]:
    return {model: [total["input"], total["output"]] for model, total in fake.totals().items()}


async def _read(server: Server, model: str, pack: Callable[[bytes], bytes] | None = None) -> bytes:
    data = json.dumps({"model": model, "stream": True, **ASKED}).encode()
    told = {"Content-Type": "application/json", **({"Content-Encoding": "gzip"} if pack else {})}
    url = f"{server.url}/v1/chat/completions"
    async with server.http.post(url, data=pack(data) if pack else data, headers=told) as answer:
        return await answer.read()


async def _hang_up(server: Server, fake: FakeUpstream) -> str:
    answer = await server.chat({"model": "hung-up", "stream": True, **ASKED})
    fake.step(2)
    await answer.content.readany()
    answer.close()
    await fake.wait_until(lambda: bool(fake.calls_to("hung-up")))
    over = re.compile(r'^cuecard_requests_total{code="(499|200)",model="hung-up"', re.MULTILINE)
    async with asyncio.timeout(10):
        while not over.search(text := await server.metrics()):
            fake.step(1)
            await asyncio.sleep(0.02)
    return text


def test_a_stream_without_usage_is_counted_and_booked_to_the_last_token(streams: Streams) -> None:
    assert b'"usage"' not in streams.whole
    assert streams.whole.endswith(b"data: [DONE]\n\n")
    assert streams.booked["whole"] == streams.billed["whole"]


def test_a_stream_without_usage_is_counted_also_where_its_request_came_packed(streams: Streams) -> None:
    assert b'"usage"' not in streams.packed
    assert streams.billed["packed"][0] > 0
    assert streams.booked["packed"] == streams.billed["packed"]


def test_a_stream_that_the_upstream_cuts_is_cut_for_the_client_and_booked(streams: Streams) -> None:
    assert isinstance(streams.cut, aiohttp.ClientError)
    assert streams.booked["cut"] == streams.billed["cut"]


def test_a_client_that_hangs_up_cancels_the_upstream_call_and_is_booked(streams: Streams) -> None:
    assert streams.booked["hung-up"][0] == streams.billed["hung-up"][0]
    assert "cuecard_inflight_requests 0.0" in streams.metrics


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
