"""What is captured by a real server: redacted, apart by tenant, whole after kill -9, without a part in any failure."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from compiler.observation import FOLDER, Observation, Observations
from proxy.capture import MAX_STREAM
from tests.e2e.conftest import Server, serving, settings_for
from tests.e2e.test_killed import children, until
from tests.e2e.test_serve import Start
from tests.fake_upstream import FakeUpstream, Fault
from tests.proxy.capturing import PLANTED, decoded, text_of
from tests.proxy.test_broken_store import full

BROKEN, MENDED = "nothing is captured until this is mended", "requests are captured again"


def kept(store: Path) -> list[Observation]:
    with Observations(store, retention_days=14) as observations:
        return [observation for _, observation in observations.since()]


async def kept_at_least(server: Server, number: int) -> list[Observation]:
    await until(lambda: len(kept(server.store)) >= number)
    return kept(server.store)


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "fake-mini", "messages": [{"role": "user", "content": text}], **more}


async def ask(server: Server, text: str, headers: dict[str, str] | None = None, **more: Any) -> None:
    async with await server.chat(body(text, **more), **(headers or {})) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()


def kill_all(server: Server) -> None:
    """Nobody tidies up: what is in the log beside the database stays there."""
    for pid in (server.process.pid, *children(server)):
        os.kill(pid, signal.SIGKILL)


def said(server: Server, what: str) -> int:
    return sum(what in line for line in server.log)


@pytest.mark.parametrize("redact", [True, False], ids=["redacted", "control"])
async def test_nothing_planted_is_in_a_row_a_page_a_log_or_a_metric(
    start: Start, fake: FakeUpstream, redact: bool
) -> None:
    """What the fake upstream answers says it once more. The control run shows that the search would find it."""
    server = await start(capture={"redact": redact}, log={"format": "json"})
    asked = 0
    for name, value in PLANTED.items():
        for stream in (False, True):
            for size in (1, 1_000):
                await ask(server, f"My {name} is {value}. {'x ' * size}", stream=stream, user=value)
                asked += 1
    await kept_at_least(server, asked)
    metrics = await server.metrics()
    kill_all(server)
    await server.process.wait()
    folder = server.store / FOLDER
    assert (folder / "cache.db-wal").stat().st_size > 0
    found = {name for name, value in PLANTED.items() if value in decoded(folder)}
    assert found == (set() if redact else set(PLANTED))
    elsewhere = [path.read_bytes() for path in server.store.rglob("*") if path.is_file() and path.parent != folder]
    for data in ("".join(server.log).encode(), metrics.encode(), *elsewhere):
        assert not any(value.encode() in data for value in PLANTED.values())
    assert all(len(observation.answer) > 10 for observation in kept(server.store))


async def test_tenants_are_kept_apart_and_forgotten_apart_while_the_server_runs(
    start: Start, tmp_path: Path, fake: FakeUpstream
) -> None:
    keys = [{"key": f"sk-of-{name}-0000", "tenant": name} for name in ("shop", "lab")]
    task = {"description": "Tell the mood.", "trust": "proven"}
    server = await start(auth={"keys": keys}, tasks={"mood": task}, listen={"port": 0, "workers": 2})

    async def ask_all(word: str) -> None:
        for name in ("shop", "lab"):
            for headers in ({}, {"X-Cuecard-Task": "mood"}):
                await ask(server, f"{word} of {name}", {"X-Cuecard-Key": f"sk-of-{name}-0000", **headers})

    def forget(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from proxy.cli import main; main()", "forget", *arguments]
        return subprocess.run([*command, "--config", str(tmp_path / "cuecard.yaml")], capture_output=True, text=True)

    await ask_all("first words")
    found = await kept_at_least(server, 4)
    assert Counter((o.tenant, o.template) for o in found) == dict.fromkeys(product(("shop", "lab"), ("", "mood")), 1)
    assert all(text_of(o).endswith(o.tenant) and o.answer == f"echo: {text_of(o)}" for o in found)
    assert len({(o.tenant, o.structure) for o in found}) == len({o.structure for o in found}) == 2
    done = await asyncio.to_thread(forget, "--tenant", "shop")
    assert (done.returncode, done.stderr) == (0, "")
    assert "forgotten: 2 captured requests" in done.stdout
    assert {o.tenant for o in kept(server.store)} == {"lab"}
    done = await asyncio.to_thread(forget, "mood")
    assert "forgotten: 1 captured requests" in done.stdout
    assert [(o.tenant, o.template) for o in kept(server.store)] == [("lab", "")]
    data = b"".join(path.read_bytes() for path in (server.store / FOLDER).iterdir())
    assert b"first words of shop" not in data
    await ask_all("later words")  # what comes now is captured as before
    assert len(await kept_at_least(server, 5)) == 5
    done = await asyncio.to_thread(forget, "mud")
    assert (done.returncode, done.stdout) == (2, "")
    assert "known: mood" in done.stderr


async def test_kill_9_while_capturing_leaves_the_database_whole_and_capturing_goes_on(
    tmp_path: Path, fake: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(fake, tmp_path, listen={"port": 0, "workers": 2})
    positions: set[int] = set()
    for last in (False, True):
        async with serving(tmp_path, settings) as server:
            stopping = asyncio.Event()
            clients = [asyncio.create_task(_load(server, stopping, n)) for n in range(2)]
            await _more(server)
            if not last:
                for role in ("learning", "worker"):
                    os.kill(min(children(server, role)), signal.SIGKILL)
                assert _integrity(server.store) == [("ok",)]
                await _more(server)
                kill_all(server)
            stopping.set()
            await asyncio.gather(*clients)
        assert _integrity(server.store) == [("ok",)]
        with Observations(server.store, retention_days=14) as observations:
            found = dict(observations.since())
        assert positions < set(found)
        positions = set(found)
        assert all(o.answer == f"echo: {text_of(o)}" for o in found.values())  # each row is whole, and its own


async def _more(server: Server) -> None:
    """Until something more is kept."""
    await until((server.store / FOLDER / "cache.db").exists)
    with Observations(server.store, retention_days=14) as observations:
        before = observations.position()
        await until(lambda: observations.position() > before)


async def _load(server: Server, stopping: asyncio.Event, client: int) -> None:
    """Of ever new kinds, so that much is captured; a server that is killed is tried again."""
    number = 0
    while not stopping.is_set():
        number += 1
        try:
            tool = {"type": "function", "function": {"name": f"f{client}x{number // 50}"}}
            await ask(server, f"{client} {number} {'x' * (number % 7 * 1_000)}", tools=[tool], stream=number % 2 == 0)
        except (aiohttp.ClientError, OSError, AssertionError):
            pass
        await asyncio.sleep(0.01)  # the machine has to start processes meanwhile


def _integrity(store: Path) -> list[Any]:
    connection = sqlite3.connect(store / FOLDER / "cache.db")
    try:
        return connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()


async def test_a_full_disk_stops_capturing_and_nothing_else(start: Start, fake: FakeUpstream, disk: Path) -> None:
    """The same disk has the books, which have their own way to wait."""
    server = await start(store={"url": f"file:{disk / 'store'}"})
    server.store = disk / "store"
    await ask(server, "before")
    await kept_at_least(server, 1)
    with full(disk, f"store/{FOLDER}"):
        for n in range(10):
            await ask(server, f"{n} {'x' * 30_000}")
        await _counted(server, 'cuecard_observations_dropped_total{reason="store"}', 10)
        assert said(server, BROKEN) == 1
    async with asyncio.timeout(20):
        while len(kept(server.store)) < 2:
            await ask(server, "after")
    assert [text_of(o) for o in kept(server.store)][:2] == ["before", "after"]
    await until(lambda: said(server, MENDED) == 1)
    assert said(server, BROKEN) == 1
    await _counted(server, "cuecard_requests_total", 12)


async def _counted(server: Server, name: str, at_least: float) -> None:
    async with asyncio.timeout(20):
        while True:
            lines = [line for line in (await server.metrics()).splitlines() if line.startswith(name)]
            if lines and float(lines[0].split()[-1]) >= at_least:
                return
            await asyncio.sleep(0.02)


async def test_a_learner_that_hangs_costs_requests_nothing_and_memory_to_a_bound(
    start: Start, fake: FakeUpstream
) -> None:
    server = await start()
    await ask(server, "before")
    await kept_at_least(server, 1)
    (learner,), (worker,) = children(server, "learning"), children(server, "worker")
    os.kill(learner, signal.SIGSTOP)
    before = _memory(worker)
    fake.answers["fake-mini"] = Fault.respond(200, {"Content-Type": "text/event-stream"}, _long_stream())
    for _ in range(25):
        await ask(server, "tell me all", stream=True)
    await _counted(server, 'cuecard_observations_dropped_total{reason="queue_full"}', 10)
    assert _memory(worker) - before < 40 * 2**20
    os.kill(learner, signal.SIGCONT)
    found = await kept_at_least(server, 5)
    assert {o.answer for o in found[1:]} == {"word " * 3_500}


def _long_stream() -> bytes:
    """Nearly as long as one that is captured may be."""
    filling = {"object": "chat.completion.chunk", "model": "fake-mini", "system_fingerprint": "f" * 100}
    word = {**filling, "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
    last = {**filling, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}
    events = [f"data: {json.dumps(value)}\n\n" for value in (*[word] * 3_500, last)]
    stream = "".join([*events, "data: [DONE]\n\n"]).encode()
    assert 900_000 < len(stream) < MAX_STREAM
    return stream


def _memory(pid: int) -> int:
    """Bytes resident."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1_024


async def test_turned_off_nothing_is_kept_and_what_there_was_has_its_time(start: Start, tmp_path: Path) -> None:
    long_ago = time.time() - 15 * 86_400
    with Observations(tmp_path / "store", retention_days=99) as observations:
        observations.add([Observation(long_ago, "default", "s", "m", "", {}, "old", [], [], None, 1.0)])
    server = await start(capture={"enabled": False})
    await ask(server, "hello")
    await _counted(server, "cuecard_requests_total", 1)
    await until(lambda: kept(server.store) == [])
    await server.stop()
    assert kept(server.store) == []
    assert said(server, "captured                 no requests") == 1
