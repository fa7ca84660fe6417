"""Feedback as an app gives it: an unchanged SDK, several workers, kills, restarts, and what of it stays where."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from openai import AsyncOpenAI

from compiler.answers import FOLDER, KEEP, Answers
from compiler.feedback import Feedback
from compiler.proof import Proofs
from compiler.registry import Registry
from tests.e2e.conftest import Server, serving, settings_for
from tests.e2e.test_killed import children, values
from tests.e2e.test_operator import PROMISED, cuecard
from tests.e2e.test_serve import Start
from tests.fake_upstream import FakeUpstream
from tests.proven import compiled, proven
from tests.proxy.capturing import decoded

PATIENCE = 30.0
MOOD = {
    "description": "Tell the mood.",
    "incumbent": "fake-strong",
    "output": {"kind": "label", "labels": ["good", "bad"]},
    "mode": "auto",
}
YES, NO = '{"toxic": "yes"}', '{"toxic": "no"}'
NAMED = {"X-Cuecard-Task": "mood"}
TWO = {"port": 0, "workers": 2}


@asynccontextmanager
async def sdk(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-app", max_retries=0) as client:
        yield client


async def ask(client: AsyncOpenAI, text: str = "so happy", *, stream: bool = False) -> str:
    """The id that the app sees."""
    body: dict[str, Any] = {"model": "fake-strong", "messages": [{"role": "user", "content": text}]}
    if not stream:
        return (await client.chat.completions.create(**body, extra_headers=NAMED)).id
    chunks = [chunk async for chunk in await client.chat.completions.create(**body, stream=True, extra_headers=NAMED)]
    assert len({chunk.id for chunk in chunks}) == 1
    return str(chunks[0].id)


async def say(server: Server, id_: str, **said: Any) -> tuple[int, dict[str, Any]]:
    """Over connections of their own, so that any worker may get it; again while there is no learner."""
    async with (
        asyncio.timeout(PATIENCE),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http,
    ):
        while True:
            async with http.post(f"{server.url}/v1/feedback", json={"id": id_, **said}) as answer:
                found = await answer.json()
                if answer.status != 503:
                    return answer.status, found
                assert (found["error"]["code"], answer.headers["Retry-After"]) == ("learner_unavailable", "5")


async def test_an_app_scores_answers_by_the_ids_that_its_sdk_shows_whichever_worker_it_asks(
    start: Start, fake: FakeUpstream
) -> None:
    fake.answers["fake-strong"] = "good"
    server = await start(tasks={"mood": MOOD}, listen=TWO)
    async with sdk(server) as client:
        ids = [await ask(client, stream=n % 2 == 1) for n in range(20)]
    calls = len(fake.calls)
    found = await asyncio.gather(*(say(server, id_, expected=("good", "bad")[n % 4 == 0]) for n, id_ in enumerate(ids)))
    assert {status for status, _ in found} == {200}
    assert [told["score"] for _, told in found] == [float(n % 4 != 0) for n in range(20)]
    with server.open_store() as store:
        tally = Feedback(store).of("mood")
        assert tally and tally.routes["original"].to_json() == [20, 20, 15.0]
    shown = await server.metrics()
    assert values(shown, "cuecard_feedback_total") == 20
    assert len([call for call in fake.calls[calls:] if "feedback" in call.path]) == 0, "none of it went upstream"
    assert not [id_ for id_ in ids if id_ in shown or any(id_ in line for line in server.log)]


async def test_a_killed_learner_costs_no_answer_and_no_word(start: Start, fake: FakeUpstream) -> None:
    server = await start(tasks={"mood": MOOD}, listen=TWO)
    async with sdk(server) as client:
        ids = [await ask(client) for _ in range(5)]
        for id_ in ids[:2]:
            assert (await say(server, id_, score=1))[0] == 200
        (learner,) = children(server, "learning")
        os.kill(learner, signal.SIGKILL)
        ids += [await ask(client, stream=True) for _ in range(5)]
        for id_ in ids:
            status, found = await say(server, id_, score=0.5)
            assert (status, found["replaced"]) == (200, id_ in ids[:2])
    with server.open_store() as store:
        tally = Feedback(store).of("mood")
        assert tally and tally.routes["original"].to_json() == [10, 10, 5.0]


async def test_an_answer_from_before_a_restart_is_known_and_one_from_a_week_ago_is_not(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    settings = settings_for(fake, tmp_path, tasks={"mood": MOOD})
    async with serving(tmp_path, settings) as server, sdk(server) as client:
        id_, old = await ask(client), await ask(client)
        for one in (id_, old):
            assert (await say(server, one, score=1))[0] == 200
    with Answers(tmp_path / "store") as answers:  # as if it had been given so long ago
        found = answers.find("default", old)
        assert found
        row = answers._store.get(found.key)
        answers._store.put(found.key, [row[0], row[1] - KEEP, *row[2:]])
    async with serving(tmp_path, settings) as server:
        assert (await say(server, id_, score=1))[1]["replaced"]
        status, refused = await say(server, old, score=1)
        assert (status, refused["error"]["code"]) == (404, "answer_not_found")


async def test_forgetting_takes_ids_and_words_and_what_was_expected(
    start: Start, fake: FakeUpstream, tmp_path: Path
) -> None:
    server = await start(tasks={"mood": MOOD}, capture={"per_second": 500})
    async with sdk(server) as client:
        id_ = await ask(client, "what a day")
        async with asyncio.timeout(PATIENCE):
            while not (await say(server, id_, expected="a peculiar mood"))[1]["learned"]:
                await asyncio.sleep(0.02)
        assert "a peculiar mood" in await asyncio.to_thread(decoded, server.store / "observations")
        await cuecard(tmp_path, "forget", "mood")
        assert (await say(server, id_, score=1))[0] == 404
        for folder in (server.store, server.store / "observations", server.store / FOLDER):
            assert "peculiar" not in await asyncio.to_thread(decoded, folder)
        with server.open_store() as store:
            assert store.keys("word:") == []
        assert (await say(server, await ask(client), score=1))[0] == 200


async def test_users_who_find_a_card_worse_have_it_paused_within_a_second(
    start: Start, fake: FakeUpstream, tmp_path: Path
) -> None:
    """Its answers look right by every rule; the users know better."""
    fake.answers |= {"fake-strong": YES, "fake-nano": YES}
    server = await start(tasks={"mood": MOOD}, listen=TWO, capture={"enabled": False})
    with server.open_store() as store:
        registry, task = Registry(store), Registry(store).task("mood")
        assert task
        proven(store, compiled(store, task), 1_000)
        registry.set_state("mood", replace(registry.state("mood"), traffic=0.5))
    await asyncio.sleep(PROMISED)

    async def answer(n: int) -> tuple[str, str]:
        body = {"model": "fake-strong", "messages": [{"role": "user", "content": f"text {n}"}]}
        async with await server.chat(body, **NAMED) as found:
            return found.headers["X-Cuecard-Route"], (await found.json())["id"]

    def stage() -> str:
        with server.open_store() as store:
            return Registry(store).state("mood").stage

    for n in range(200):
        route, id_ = await answer(n)
        assert (await say(server, id_, score=float(route != "compiled")))[0] == 200
        if stage() == "paused":
            break
    assert stage() == "paused"
    await asyncio.sleep(PROMISED)
    assert {(await answer(n))[0] for n in range(1_000, 1_020)} == {"original"}
    shown = json.loads(await cuecard(tmp_path, "show", "mood", "--json"))
    assert shown["standing"]["reason"].startswith("your feedback says so: 0.00 of 1 (")
    assert shown["feedback"]["routes"]["compiled"]["mean"] == 0.0
    assert "feedback, of 1: " in await cuecard(tmp_path, "report")
    (entry,) = json.loads(await cuecard(tmp_path, "audit", "--json"))
    assert (entry["who"], entry["act"]) == ("feedback", "pause")


async def test_what_users_expect_decides_the_pairs_of_a_proof(fake: FakeUpstream, tmp_path: Path) -> None:
    """The card's answers differ from the current model's, which are the wrong ones."""
    fake.answers |= {"fake-strong": YES, "fake-nano": NO}
    settings = settings_for(fake, tmp_path, tasks={"mood": MOOD}, capture={"per_second": 500})
    settings["models"]["judge"] = "fake-nano"  # an arm can't be a judge: there is none
    settings["background"] = {"max_share_of_saving": 1.0}
    async with serving(tmp_path, settings) as server, sdk(server) as client:
        with server.open_store() as store:
            registry, task = Registry(store), Registry(store).task("mood")
            assert task
            registry.set_off(True)  # nothing is compared yet
            proven(store, compiled(store, task), 0)
            for n in range(10):
                id_ = await ask(client, f"text {n}")
                async with asyncio.timeout(PATIENCE):
                    while not (await say(server, id_, expected=json.loads(NO)))[1]["learned"]:
                        await asyncio.sleep(0.02)
            registry.set_off(False)
            async with asyncio.timeout(PATIENCE):
                while (proof := Proofs(store).get("mood")) is None or proof.pairs < 10:
                    await asyncio.sleep(0.02)
        assert proof.outcomes == {"expected": 10}
        assert proof.evidence.loss.to_json() == [(-1_024, 10 * 2**20)], "the card was right, your model was not"
