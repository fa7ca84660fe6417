"""The disk fills up while tasks are looked for: requests go on, recognised by what was known, and when there is room
again so does the rest."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from compiler.observation import FOLDER, Observations
from compiler.recognition.catalogue import Catalogue
from tests.e2e.conftest import Server
from tests.e2e.test_killed import children
from tests.e2e.test_serve import Start
from tests.learned import SUMMARY, TOXIC, keep, learn, mails, request, some
from tests.proxy.test_broken_store import checkpoint, full

PATIENCE = 40.0
NO_MINING, MINING = "no more looking for tasks until this is mended", "looking for tasks again"
NO_LEARNING = "nothing is learned until this is mended"  # where another of the learner's tasks meets it first
NOT_CAPTURED, CAPTURED = "nothing is captured until this is mended", "requests are captured again"
TASK, FOUND = "decide-whether-comment-toxic", "summarise-mail-colleague-one-sentence"


def said(server: Server, what: str) -> int:
    return sum(what in line for line in server.log)


def captured(store: Path) -> int:
    with Observations(store, retention_days=14) as observations:
        return observations.position()


async def ask(server: Server, body: dict[str, Any]) -> str:
    async with await server.chat(body) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()
        return answer.headers.get("X-Cuecard-Task", "")


async def dropped(server: Server) -> float:
    line = 'cuecard_observations_dropped_total{reason="store"} '
    found = [text.removeprefix(line) for text in (await server.metrics()).splitlines() if text.startswith(line)]
    return float(found[0]) if found else 0.0


async def test_a_full_disk_stops_the_looking_for_tasks_and_no_request(start: Start, disk: Path) -> None:
    """What it would have looked at came just before."""
    store = disk / "store"
    learn(store, *some(TOXIC))
    server = await start(store={"url": f"file:{store}"})
    server.store = store
    texts = mails()
    known, new = request(TOXIC, next(texts)), request(SUMMARY, next(texts))
    before = captured(store)
    assert await ask(server, known) == TASK
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(captured, store) == before:  # else it may be stopped while it writes
            await asyncio.sleep(0.02)
    (learner,) = children(server, "learning")
    os.kill(learner, signal.SIGSTOP)
    await asyncio.to_thread(keep, store, *some(SUMMARY, 30))
    checkpoint(store / FOLDER)
    with full(disk):
        os.kill(learner, signal.SIGCONT)
        async with asyncio.timeout(PATIENCE):
            while not await dropped(server) or not (said(server, NO_MINING) or said(server, NO_LEARNING)):
                assert await ask(server, known) == TASK
                assert await ask(server, new) == ""
                await asyncio.sleep(0.05)
        assert await ask(server, known) == TASK
    async with asyncio.timeout(PATIENCE):
        while await ask(server, new) != FOUND or not said(server, CAPTURED):
            assert await ask(server, known) == TASK
            await asyncio.sleep(0.1)
    assert (said(server, NOT_CAPTURED), said(server, CAPTURED)) == (1, 1)
    assert said(server, NO_MINING) == said(server, MINING) <= 1
    assert said(server, NO_LEARNING) <= 1
    with server.open_store() as opened:
        assert set(Catalogue(opened).tasks()) == {TASK, FOUND}
