"""The store is gone, or was never there: the server serves, and takes up the next one by itself."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compiler.registry import Registry
from tests.e2e.conftest import Server, serving, settings_for
from tests.e2e.test_serve import PROMPT, SENTIMENT, Start
from tests.fake_upstream import FakeUpstream

NICE = {"messages": [{"role": "user", "content": "nice"}]}
TASK: dict[str, Any] = {"tasks": {"sentiment": {**SENTIMENT, "incumbent": "fake-mini"}}}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


async def route(server: Server, model: str = "fake-mini") -> str:
    async with await server.chat({"model": model, **NICE}, **{"X-Cuecard-Task": "sentiment"}) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["X-Cuecard-Route"]


async def compiled(server: Server) -> None:
    async with asyncio.timeout(20):
        while await route(server) != "compiled":
            await asyncio.sleep(0.05)


def said(server: Server, what: str) -> int:
    return sum(what in line for line in server.log)


async def test_a_store_deleted_under_a_running_server_is_begun_anew_with_its_configured_tasks(
    start: Start, fake: FakeUpstream
) -> None:
    fake.answers.update({"fake-strong": PROMPT, "fake-nano": "good", "fake-mini": "good"})
    server = await start(**TASK)
    await compiled(server)
    shutil.rmtree(server.store)
    assert await route(server) == "compiled"  # by the last snapshot, as if nothing had happened
    await until(lambda: (server.store / "cache.db").exists())
    with server.open_store() as store:
        async with asyncio.timeout(20):
            while Registry(store).state("sentiment").stage != "live":  # a card of the new store
                await route(server)
                await asyncio.sleep(0.05)
        assert set(Registry(store).tasks()) == {"sentiment"}
    assert said(server, "nothing is learned until this is mended") == 1
    assert said(server, "requests go on by what was known") == 1
    assert said(server, "is replaced") == 0


async def test_a_server_whose_store_cannot_be_used_starts_and_serves_and_takes_it_up_later(
    tmp_path: Path, fake: FakeUpstream
) -> None:
    fake.answers.update({"fake-strong": PROMPT, "fake-nano": "good", "fake-mini": "good"})
    (tmp_path / "store").write_text("a file where the folder should be")
    async with serving(tmp_path, settings_for(fake, tmp_path, **TASK)) as server:  # it gets ready
        assert await route(server) == "original"
        async with await server.chat({"model": "task:sentiment", **NICE}) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (503, "not_ready")
        assert "cuecard_store_up 0.0" in await server.metrics()
        assert said(server, "all requests go on as they came until it can") == 1
        (tmp_path / "store").unlink()
        await compiled(server)
        assert "cuecard_store_up 1.0" in await server.metrics()


def test_a_disk_that_is_full_for_the_metrics_kills_no_worker(disk: Path) -> None:
    """Their files are mapped into memory: a page that has no room when it is first written would end the process."""
    script = """
import os, sys
from pathlib import Path
from proxy import metrics
metrics.use_folder(Path(sys.argv[1]))
metrics.use_slot("worker-0")
kept = metrics.Metrics()
filler = open(Path(sys.argv[1]) / "filler", "wb", buffering=0)
try:
    while True:
        filler.write(b"x" * 4096)
except OSError:
    pass
for number in range(3000):
    kept.count(kept.upstream_errors, "openai", str(number))
print(metrics.exposition().count(b"cuecard_upstream_errors_total{"))
"""
    ended = subprocess.run([sys.executable, "-c", script, str(disk)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "3000\n"), ended.stderr
