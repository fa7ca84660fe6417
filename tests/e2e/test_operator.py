"""What an operator says at a terminal while the server runs, and two tenants who ask the same."""

import asyncio
import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp

from compiler.observation import FOLDER, Observation, Observations
from compiler.recognition.catalogue import Catalogue
from compiler.recognition.template import Template
from compiler.registry import Registry
from tests.conftest import PRICES
from tests.e2e.conftest import Server
from tests.e2e.test_serve import Start
from tests.fake_upstream import FakeUpstream
from tests.learned import SUMMARY, TITLE, TOXIC, learn, mails, request, some
from tests.proxy.capturing import decoded

PROMISED = 1.0  # seconds until every worker goes by what was said
PATIENCE = 20.0
ONE, TWO = "decide-whether-comment-toxic", "summarise-mail-colleague-one-sentence"
CLIENTS = 24  # connections, so that every worker is among those that answer


async def cuecard(folder: Path, *arguments: str) -> str:
    """As typed at a terminal; what it printed."""
    command = (sys.executable, "-c", "from proxy.cli import main; main()", *arguments)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={"PYTHONPATH": str(Path.cwd()), "PATH": ""},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    assert (process.returncode, error) == (0, b""), error.decode()
    return out.decode()


async def told(server: Server, body: dict[str, Any]) -> set[str]:
    """The tasks that the workers take a request for, each asked over connections of its own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        url = f"{server.url}/v1/chat/completions"
        answers = await asyncio.gather(*(http.post(url, json=body) for _ in range(CLIENTS)))
        for answer in answers:
            await answer.read()
        return {answer.headers.get("X-Cuecard-Task", "") for answer in answers}


async def counted(server: Server, reason: str) -> float:
    line = f'cuecard_original_total{{reason="{reason}"}} '
    found = [text.removeprefix(line) for text in (await server.metrics()).splitlines() if text.startswith(line)]
    return float(found[0]) if found else 0.0


async def test_every_worker_follows_what_is_said_within_a_second(start: Start, tmp_path: Path) -> None:
    learn(tmp_path / "store", *some(TOXIC), *some(SUMMARY), *some(TITLE))
    server = await start(listen={"port": 0, "workers": 2})
    toxic, summary = request(TOXIC, "Nothing of it was seen"), request(SUMMARY, "Nothing of it was seen")

    async def follow(*said: str, toxic_is: str, summary_is: str, reason: str) -> None:
        await cuecard(tmp_path, *said)
        await asyncio.sleep(PROMISED)
        before = await counted(server, reason)
        assert await told(server, toxic) == {toxic_is}, said
        assert await told(server, summary) == {summary_is}, said
        async with asyncio.timeout(PATIENCE):
            while await counted(server, reason) < before + (2 * CLIENTS if reason == "observe" else CLIENTS):
                await asyncio.sleep(0.02)

    await follow("tasks", toxic_is=ONE, summary_is=TWO, reason="observe")
    await follow("tasks", "rename", ONE, "moderation", toxic_is="moderation", summary_is=TWO, reason="observe")
    await follow("tasks", "ignore", "moderation", toxic_is="moderation", summary_is=TWO, reason="ignored")
    await follow("tasks", "ignore", "--undo", "moderation", toxic_is="moderation", summary_is=TWO, reason="observe")
    await follow("tasks", "merge", TWO, "moderation", toxic_is=TWO, summary_is=TWO, reason="observe")
    await cuecard(tmp_path, "forget", TWO)
    for folder in (server.store, server.store / FOLDER):
        kept = await asyncio.to_thread(decoded, folder)
        assert "comment is toxic" not in kept, "nor is it on its way there"
        assert "Write a title" in kept
    await follow("tasks", toxic_is="", summary_is="", reason="unrecognised")


async def test_a_person_lets_a_proven_card_serve_and_takes_it_back(
    start: Start, fake: FakeUpstream, tmp_path: Path
) -> None:
    """Recognised, compiled and proven by the server itself; in mode manual it waits for a word."""
    fake.answers["fake-strong"] = fake.answers["fake-nano"] = yes_or_no
    fake.answers["fake-mini"] = "<prompt>Answer yes or no.</prompt>"
    server = await start(
        mode="manual",
        listen={"port": 0, "workers": 2},
        models={"meta": "fake-mini", "judge": "fake-judge", "production": ["fake-nano"]},
        prices={**PRICES, "fake-judge": {"input": 1.0, "output": 4.0}},
        compile={"min_examples": 20},
        capture={"per_second": 500},
        margin={"default": 0.2},
        log={"requests": False},
    )
    texts = mails()

    async def routes(number: int) -> set[str]:
        found = set()
        for _ in range(number):
            async with await server.chat(request(TOXIC, next(texts))) as answer:
                assert answer.status == 200
                found.add(answer.headers["X-Cuecard-Route"])
        return found

    async def say(*said: str) -> str:
        return await cuecard(tmp_path, *said)

    async with asyncio.timeout(2 * PATIENCE):
        while "`cuecard approve` lets it serve" not in " ".join((await say("tasks")).split()):
            assert await routes(10) == {"original"}, "nothing is served before a person said so"
    assert "(95 % sure)" in await say("approve", ONE, "--max-traffic", "90%", "--yes", "--why", "looks good")
    await asyncio.sleep(PROMISED)
    assert "compiled" in await routes(40)

    await say("pause", ONE)
    await asyncio.sleep(PROMISED)
    assert await routes(20) == {"original"}
    await say("resume", ONE)
    async with asyncio.timeout(PATIENCE):
        while "compiled" not in await routes(10):
            pass
    assert "approved: " in await say("show", ONE)

    await say("off")
    await asyncio.sleep(PROMISED)
    sent = len(fake.calls_to("fake-nano"))
    assert await routes(30) == {"original"}
    await asyncio.sleep(PROMISED)
    assert len(fake.calls_to("fake-nano")) == sent, "nothing is proven while off"
    await say("on")

    await say("rollback", ONE, "--why", "no more")
    await asyncio.sleep(PROMISED)
    assert await routes(20) == {"original"}
    log = json.loads(await say("audit", "--json"))
    assert [entry["act"] for entry in log] == ["approve", "pause", "resume", "rollback"]

    await say("forget", ONE)
    for folder in (server.store, server.store / FOLDER):
        assert "comment is toxic" not in await asyncio.to_thread(decoded, folder)
    with server.open_store() as store:
        assert (Registry(store).adopted(), store.keys("card:"), store.keys("examples:")) == ({}, [], [])


def yes_or_no(body: Any) -> str:
    """Told by the text alone."""
    return "yes" if sum(map(ord, body["messages"][-1]["content"])) % 3 else "no"


def texts_of(tenant: str) -> Iterator[str]:
    return (f"{text} of {tenant}" for text in mails())


async def test_two_tenants_who_ask_the_same_have_tasks_and_templates_of_their_own(start: Start, tmp_path: Path) -> None:
    """Nothing that one of them said is in what was learned of the other, and one is forgotten without the other."""
    tenants = ("shop", "lab")
    keys = {name: f"sk-of-{name}-0000" for name in tenants}
    server = await start(auth={"keys": [{"key": key, "tenant": name} for name, key in keys.items()]})
    texts = {name: texts_of(name) for name in tenants}

    async def ask(tenant: str) -> str:
        headers = {"X-Cuecard-Key": keys[tenant]}
        async with await server.chat(request(TOXIC, next(texts[tenant])), **headers) as answer:
            assert answer.status == 200
            return answer.headers.get("X-Cuecard-Task", "")

    for _, tenant in product(range(25), tenants):
        await ask(tenant)
    found: dict[str, str] = {}
    async with asyncio.timeout(40):
        while len(found) < len(tenants):
            found |= {tenant: task for tenant in tenants if (task := await ask(tenant))}
            await asyncio.sleep(0.1)
    assert len(set(found.values())) == 2

    templates, kept = learned(server), list(observed(server))
    assert {t.tenant for t in templates} == set(tenants)
    assert len({t.id for t in templates}) == len({t.structure for t in templates}) == len(templates)
    for tenant, other in (tenants, tenants[::-1]):
        assert not [t for t in templates if t.tenant == tenant and f"of {other}" in str(t.to_json())]
        assert not [o for o in kept if o.tenant == tenant and f"of {other}" in str(o.to_json())]
    ids = {t.id: t.tenant for t in templates}
    assert {(o.tenant, ids[o.template]) for o in kept if o.template} == {(tenant, tenant) for tenant in tenants}

    said = await cuecard(tmp_path, "forget", "--tenant", "shop")
    assert "of tenant shop\n" in said
    assert {o.tenant for o in observed(server)} == {t.tenant for t in learned(server)} == {"lab"}
    await asyncio.sleep(PROMISED)
    assert (await ask("shop"), await ask("lab")) == ("", found["lab"])


def learned(server: Server) -> list[Template]:
    with server.open_store() as store:
        return Catalogue(store).templates()


def observed(server: Server) -> Iterator[Observation]:
    with Observations(server.store, retention_days=14) as observations:
        for _, observation in observations.since():
            yield observation
