"""Two servers at once on one store, as replicas have it: one of them proves, and the other once that one is killed."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from openai import APIConnectionError

from compiler.election import is_elected
from compiler.observation import Observation, Observations
from proxy.settings import CompileSettings
from tests.e2e.app import CANDIDATE, INCUMBENT, META, PATIENCE, App
from tests.e2e.conftest import Server, serving, settings_for
from tests.e2e.test_killed import children
from tests.fake_upstream import Call, FakeUpstream, Fault
from tests.learned import TOXIC, mails

COMPARED = 20  # requests before the candidate stalls


def right(body: Any) -> str:
    """Told by the text alone."""
    return "yes" if sum(map(ord, mail_of(body))) % 3 else "no"


def mail_of(body: Any) -> str:
    text: str = body["messages"][-1]["content"]
    return text


def good(body: Any, answer: str) -> bool:
    return answer == right(body)


def compared(fake: FakeUpstream, after: int = 0) -> list[Call]:
    """What was run on the card's model: in mode manual nothing but pairs, once the compile is over."""
    return [call for call in fake.calls[after:] if call.model == CANDIDATE]


def recorded(store: Path, since: int) -> dict[int, Observation]:
    with Observations(store, retention_days=14) as kept:
        return dict(kept.since(since))


def with_key(fake: FakeUpstream, folder: Path, key: str) -> dict[str, Any]:
    """Each server has a key of its own, by which the upstream tells them apart."""
    return settings_for(
        fake,
        folder,
        mode="manual",
        capture={"per_second": 500},
        compile={"min_examples": 20},
        background={"usd_per_day": 50, "max_share_of_saving": 1},
        models={"meta": META, "judge": CANDIDATE, "production": [CANDIDATE]},
        upstreams={"fake": {"base_url": fake.url, "api_key": key}},
    )


def keys(calls: Iterable[Call]) -> set[str | None]:
    return {call.header("authorization") for call in calls}


async def kill(server: Server) -> None:
    for pid in (server.process.pid, *children(server)):
        os.kill(pid, signal.SIGKILL)
    await server.process.wait()


async def ask_until_killed(app: App) -> None:
    try:
        while True:
            assert all(await app.ask(TOXIC, 1))
            await asyncio.sleep(0.05)  # the learners have the same processors
    except APIConnectionError:
        return


async def proof_begins(app: App) -> int:
    """The position behind which what is recorded is compared."""
    async with asyncio.timeout(PATIENCE):
        while not (found := app.state(TOXIC)):
            assert all(await app.ask(TOXIC, 5))
        while not (found and found[1]):
            await asyncio.sleep(0.05)
            found = app.state(TOXIC)
    return found[1].position


async def all_is_compared(app: App, store: Path, since: int, texts: set[str]) -> dict[int, Observation]:
    """What was recorded, with these texts among it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = recorded(store, since)
            if texts <= {mail_of(one.request) for one in found.values()} and app.proof(TOXIC).position == max(found):
                return found
            await asyncio.sleep(0.05)


async def test_of_two_servers_on_one_store_one_is_killed_and_no_pair_is_lost_or_counted_twice(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.answers |= {INCUMBENT: right, CANDIDATE: right, META: "<prompt>Answer as shown.</prompt>"}
    texts: Iterator[str] = mails()
    async with serving(tmp_path, with_key(fake, tmp_path, "sk-one")) as one:
        async with asyncio.timeout(PATIENCE):
            while not is_elected(one.store):
                await asyncio.sleep(0.05)
        async with serving(tmp_path, with_key(fake, tmp_path, "sk-other")) as other:
            apps = App(one, good, texts), App(other, good, texts)
            since = await proof_begins(apps[0])
            began = len(fake.calls)

            def stalling(body: Any) -> Any:
                return Fault.stall(right(body)) if len(compared(fake, began)) > COMPARED else right(body)

            fake.answers[CANDIDATE] = stalling
            asking = asyncio.create_task(ask_until_killed(apps[0]))
            assert all(await apps[1].ask(TOXIC, 25))
            await fake.wait_until(lambda: len(compared(fake, began)) > COMPARED)
            assert keys(compared(fake)) == {"Bearer sk-one"}, "one of them proves"
            await kill(one)
            killed = len(fake.calls)
            assert all(await apps[1].ask(TOXIC, 10)), "nobody else notices"
            await asking
            await fake.wait_until(lambda: all(call.done for call in fake.calls))
            in_flight = {mail_of(call.json) for call in compared(fake, began) if not call.billed}
            assert in_flight
            fake.release.set()

            async with serving(tmp_path, with_key(fake, tmp_path, "sk-again")) as again:
                app = App(again, good, texts)
                assert all(await app.ask(TOXIC, 10))
                asked = {*app.asked, *apps[1].asked[-35:]}
                found = await all_is_compared(app, other.store, since, asked)

    assert keys(compared(fake, killed)) == {"Bearer sk-other"}, "the next one that was waiting for it"
    pairs = Counter(mail_of(call.json) for call in compared(fake, began))
    proof = app.proof(TOXIC)
    sealed = len(app.card(TOXIC).sealed)
    assert proof.outcomes == {"same": sealed + len(found)}, "each pair is in the evidence once"
    assert set(pairs) == {mail_of(one.request) for one in found.values()}, "and so is each that was recorded"
    assert set(pairs) <= {mail_of(call.json) for call in fake.calls_to(INCUMBENT) if call.billed}
    twice = {text for text, times in pairs.items() if times > 1}
    at_once = CompileSettings().concurrency
    assert in_flight <= twice and len(twice) <= at_once and max(pairs.values()) == 2, "what was under way is paid twice"
