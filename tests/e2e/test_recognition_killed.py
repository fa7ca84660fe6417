"""kill -9 of the learner, of a worker and of all at once, at different moments, while requests are captured and tasks
looked for: nothing that was known is lost, nothing half written is left, and requests are answered."""

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from compiler.observation import FOLDER, Observation, Observations
from compiler.recognition.catalogue import Catalogue
from tests.e2e.conftest import Server, serving, settings_for
from tests.e2e.test_killed import children, until
from tests.fake_upstream import FakeUpstream
from tests.learned import SUMMARY, TITLE, TOXIC, mails, request

PROMPTS = (TOXIC, SUMMARY, TITLE)
CLIENTS = 3
PATIENCE = 20.0
LONGEST_GAP = 5.0  # seconds without an answer while the server runs; a replacement needs a second or two to start
Known = dict[str, tuple[str, ...]]  # names of tasks, and the ids of their templates


@dataclass
class Load:
    """Clients that ask without a pause, of ever new kinds: each kind is two tasks more to find."""

    server: Server
    texts: Iterator[tuple[int, str]]  # none comes twice
    answered: int = 0
    broken: int = 0  # connections
    wrong: list[str] = field(default_factory=list)
    gap: float = 0.0

    async def client(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            at, text = next(self.texts)
            try:
                await self._ask(request(PROMPTS[number], text, f"m{at // 120}"))
                self.gap, last = max(self.gap, loop.time() - last), loop.time()
            except (aiohttp.ClientError, OSError):
                self.broken += 1
            await asyncio.sleep(0.01)  # the machine has to start processes meanwhile

    async def _ask(self, body: dict[str, Any]) -> None:
        async with await self.server.chat(body) as answer:
            said = (await answer.json())["choices"][0]["message"]["content"]
            if answer.status != 200 or said != f"echo: {body['messages'][0]['content']}":
                self.wrong.append(f"{answer.status} {said}")
            self.answered += 1


@asynccontextmanager
async def loaded(server: Server, texts: Iterator[tuple[int, str]]) -> AsyncIterator[Load]:
    load = Load(server, texts)
    clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]
    try:
        yield load
    finally:
        for client in clients:
            client.cancel()
        ended = await asyncio.gather(*clients, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    assert load.wrong == []


def known(server: Server) -> Known:
    with server.open_store() as store:
        return {name: task.templates for name, task in Catalogue(store).tasks().items()}


async def more_tasks(server: Server, than: Known) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(known(server)) <= len(than):
            await asyncio.sleep(0.05)


async def more_kept(server: Server) -> None:
    with Observations(server.store, retention_days=14) as observations:
        before = observations.position()
        await until(lambda: observations.position() > before)


def look_at(store: Path, before: Known, now: Known) -> None:
    for folder in (store, store / FOLDER):
        connection = sqlite3.connect(folder / "cache.db")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for _, value in connection.execute("SELECT key, value FROM Cache"):
            json.loads(value)
        connection.close()
    assert now | before == now, "every name that was known, with the templates that it had"


def rows(store: Path) -> list[Observation]:
    with Observations(store, retention_days=14) as observations:
        return [observation for _, observation in observations.since()]


async def killed(load: Load, role: str, moment: float, before: Known) -> Known:
    """So long after the last task was published; what is known when something new was kept after it."""
    server = load.server
    await asyncio.sleep(moment)
    before |= known(server)
    alive = children(server, role)
    victim = min(alive)
    os.kill(victim, signal.SIGKILL)
    await until(lambda: len(children(server, role) - {victim}) == len(alive))
    await more_kept(server)
    now = known(server)
    look_at(server.store, before, now)
    return now


async def test_kill_9_while_tasks_are_looked_for_loses_none_that_was_known(fake: FakeUpstream, tmp_path: Path) -> None:
    settings = settings_for(fake, tmp_path, listen={"port": 0, "workers": 2}, log={"requests": False})
    texts, now = enumerate(mails()), dict[str, tuple[str, ...]]()
    for moment in (0.0, 0.7):
        async with serving(tmp_path, settings) as server:
            async with loaded(server, texts) as load:
                await more_tasks(server, now)
                now = await killed(load, "learning", moment, now)
                assert load.broken == 0, "a request needs no learner"
                now = await killed(load, "worker", moment + 0.3, now)
                assert load.broken <= 2 * CLIENTS, "the connections that the killed worker had"
                assert load.gap < LONGEST_GAP
                await more_tasks(server, now)
                now |= known(server)
            assert load.answered > 100
            for pid in (server.process.pid, *children(server)):
                os.kill(pid, signal.SIGKILL)
            await server.process.wait()
            look_at(server.store, now, known(server))
    async with serving(tmp_path, settings) as server:
        async with loaded(server, texts):
            await more_tasks(server, now)
        look_at(server.store, now, known(server))
    assert len(known(server)) >= 4
    kept = rows(server.store)
    assert len(kept) > 100
    for observation in kept:  # each is whole, and its own
        assert observation.answer == f"echo: {observation.request['messages'][0]['content']}"
