"""The store fails under a running worker: requests go on by what was known, one line says so, nothing is lost."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from compiler.ledger import Ledger
from compiler.registry import Registry
from compiler.store import Store
from proxy.app import build_runner
from proxy.declare import configured_tasks
from proxy.metrics import Metrics
from proxy.settings import Settings

PATIENCE = 20.0
MOOD = {"description": "Tell the mood.", "incumbent": "fake-mini", "trust": "declared"}
BROKEN, MENDED = "the store can't be used, requests go on without it", "the store can be used again"


@contextmanager
def full(disk: Path, store: str = "store") -> Iterator[None]:
    checkpoint(disk / store)  # what is written next needs room
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4_096)
    yield
    filler.unlink()


def checkpoint(store: Path) -> None:
    connection = sqlite3.connect(store / "cache.db", isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


@contextmanager
def locked(disk: Path, store: str = "store") -> Iterator[None]:
    connection = sqlite3.connect(disk / store / "cache.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    yield
    connection.rollback()
    connection.close()


@contextmanager
def corrupt(disk: Path, store: str = "store") -> Iterator[None]:
    """Every page but the first is overwritten, and written back later."""
    database = disk / store / "cache.db"
    checkpoint(disk / store)
    whole = database.read_bytes()
    with database.open("r+b") as file:
        file.seek(4_096)
        file.write(os.urandom(len(whole) - 4_096))
    yield
    with database.open("r+b") as file:
        file.write(whole)


FAULTS = (full, locked, corrupt)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)


def told(caplog: pytest.LogCaptureFixture, what: str) -> int:
    return sum(what in message for message in caplog.messages)


def calls(folder: Path) -> int:
    with Store(folder) as store:
        return sum(sums.calls for _, _, sums in Ledger(store).rows())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.store.LOCK_SECONDS", 0.2)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
async def test_requests_go_on_without_the_store_and_are_booked_when_it_is_back(run, chat, disk, fault, caplog):
    folder = disk / "store"
    proxy = await run(store={"url": f"file:{folder}"}, tasks={"mood": MOOD})
    await (await proxy.chat(chat(model="fake-mini"))).read()
    await until(lambda: calls(folder) == 1)
    with fault(disk):
        for _ in range(3):
            async with await proxy.chat(chat(model="fake-mini"), **{"X-Cuecard-Task": "mood"}) as answer:
                assert answer.status == 200
                assert answer.headers["X-Cuecard-Task"] == "mood"  # known from the last snapshot
        await until(lambda: told(caplog, BROKEN) == 1)
        await proxy.metered("requests_total", 4)
        await until(lambda: proxy.metric("store_up") == 0)
    await until(lambda: told(caplog, MENDED) == 1)
    await until(lambda: calls(folder) == 4)
    await until(lambda: proxy.metric("store_up") == 1)
    assert told(caplog, BROKEN) == 1


async def test_a_worker_started_on_a_read_only_store_serves_and_takes_it_up_when_it_can(
    fake, chat, disk, tmp_path, monkeypatch, caplog
):
    folder = disk / "store"
    with Store(folder) as store:
        Registry(store).declare({}, "config")
    with read_only(disk):
        settings = Settings.model_validate(
            {"upstreams": {"fake": {"base_url": fake.url, "api_key": "sk-ours"}}, "store": {"url": f"file:{folder}"}}
        )
        runner = build_runner(settings, tmp_path, Metrics())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/chat/completions"
        async with aiohttp.ClientSession() as http:
            async with http.post(url, json=chat(model="fake-mini")) as answer:
                assert (answer.status, answer.headers["X-Cuecard-Route"]) == (200, "original")
            await until(lambda: told(caplog, BROKEN) == 1)
    await until(lambda: told(caplog, MENDED) == 1)
    await until(lambda: calls(folder) == 1)
    await runner.cleanup()


async def test_a_store_deleted_under_a_running_worker_is_left_for_the_one_that_takes_its_place(
    run, chat, tmp_path, caplog
):
    proxy = await run(tasks={"mood": MOOD})
    folder = proxy.settings.store.folder
    await (await proxy.chat(chat(model="fake-mini"))).read()
    await until(lambda: calls(folder) == 1)
    known = proxy.gateway.snapshots.current
    shutil.rmtree(folder)
    await until(lambda: told(caplog, "was deleted or replaced") == 1)
    await until(lambda: (folder / "cache.db").exists())
    async with await proxy.chat(chat(model="fake-mini"), **{"X-Cuecard-Task": "mood"}) as answer:
        assert answer.headers["X-Cuecard-Task"] == "mood"  # though the new store knows of no task yet
    assert proxy.gateway.snapshots.current is known
    await until(lambda: calls(folder) == 1)  # the new one holds what came since

    with Store(folder) as store:  # as the learner does
        Registry(store).declare(configured_tasks(proxy.settings), "config")
    await until(lambda: proxy.gateway.snapshots.current is not known)
    assert list(proxy.gateway.snapshots.current.tasks) == ["mood"]
    assert proxy.metric("store_up") == 1
    await proxy.runner.cleanup()
    assert not list((folder / "journal").glob("*.journal"))


async def test_a_corrupt_store_that_is_deleted_is_left_too(run, chat, disk, caplog):
    folder = disk / "store"
    proxy = await run(store={"url": f"file:{folder}"})
    await (await proxy.chat(chat(model="fake-mini"))).read()
    await until(lambda: calls(folder) == 1)
    (folder / "cache.db").write_bytes(os.urandom(100_000))
    await (await proxy.chat(chat(model="fake-mini"))).read()
    await until(lambda: told(caplog, BROKEN) == 1)
    shutil.rmtree(folder)
    await until(lambda: told(caplog, MENDED) == 1)
    await until(lambda: calls(folder) >= 1)
