"""kill -9: of a worker in the middle of a stream, and of everything at once, in the middle of a flush and a compile."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from compiler.ledger import Ledger
from compiler.store import Store
from proxy.books import recover
from tests.e2e.conftest import Server, serving, settings_for
from tests.e2e.test_serve import PROMPT, SENTIMENT, Start
from tests.fake_upstream import FakeUpstream, Fault

CLIENTS = 16
SCORED = 10  # answers to examples that come before the others stall
CONCURRENCY = 4
EXAMPLES = 80


ROLES = ("worker", "learning")


def children(server: Server, role: str = "") -> set[int]:
    supervisor = server.process.pid
    asked = {f"proxy.{name}".encode() for name in ([role] if role else ROLES)}
    found = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return {int(pid) for pid in found if asked & set(_arguments(pid))}


def _arguments(pid: str) -> list[bytes]:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def booked(folder: Path, since: timedelta | None = None) -> Counter[tuple[str, str]]:
    """Calls by (model, role)."""
    store = Store(folder)
    found: Counter[tuple[str, str]] = Counter()
    for _, row, sums in Ledger(store).rows(since):
        found[row.model, row.role] += sums.calls
    store.close()
    return found


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.05)  # most look into a store, which takes a processor some of this


def chat(model: str, text: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


async def ask(server: Server, model: str, text: str) -> str | None:
    """The card that answered."""
    async with await server.chat(chat(model, text)) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()
        return answer.headers.get("X-Cuecard-Card")


def values(metrics: str, name: str) -> float:
    families = text_string_to_metric_families(metrics)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


async def test_a_worker_killed_in_the_middle_of_a_stream_breaks_that_stream_and_loses_nothing_else(
    start: Start, fake: FakeUpstream
) -> None:
    fake.answers["fake-mini"] = "good"
    server = await start()
    for _ in range(5):
        await ask(server, "fake-mini", "nice")
    await until(lambda: booked(server.store)["fake-mini", "serve"] == 5)
    before = await server.metrics()
    assert values(before, "cuecard_requests_total") == 5

    fake.answers["fake-mini"] = Fault.slow("one two three four five six")
    fake.step(3)
    (killed,) = children(server, "worker")
    with pytest.raises(aiohttp.ClientPayloadError):
        async with await server.chat({**chat("fake-mini", "in flight"), "stream": True}) as answer:
            assert b"one" in await answer.content.readuntil(b"one")
            os.kill(killed, signal.SIGKILL)
            await answer.read()
    await fake.wait_until(lambda: fake.calls[-1].done)  # the upstream is not left generating

    fake.answers["fake-mini"] = "good"
    await until(lambda: bool(children(server, "worker") - {killed}))
    async with asyncio.timeout(20):
        while True:
            try:
                await ask(server, "fake-mini", "nice")
                break
            except aiohttp.ClientError:  # the replacement does not listen yet
                await asyncio.sleep(0.02)
    after = await server.metrics()
    assert values(after, "cuecard_requests_total") == 6
    for name in ("cuecard_tokens_total", "cuecard_cost_usd_total"):
        assert values(after, name) == pytest.approx(values(before, name) * 6 / 5)
    assert values(after, "cuecard_inflight_requests") == 0  # the killed worker's gauge is gone
    await server.stop()
    assert len(fake.calls_to("fake-mini")) == 7
    assert booked(server.store)["fake-mini", "serve"] == 6  # all but the one that was cut


async def test_a_learner_that_hangs_holds_up_no_request_and_not_the_end(start: Start, fake: FakeUpstream) -> None:
    fake.answers["fake-mini"] = "good"
    server = await start()
    (learner,) = children(server, "learning")
    os.kill(learner, signal.SIGSTOP)
    await ask(server, "fake-mini", "nice")
    await asyncio.wait_for(server.stop(), 12)  # the learner has 3 s
    assert server.process.returncode == 0
    assert booked(server.store)["fake-mini", "serve"] == 1


async def test_tokens_that_wait_to_be_counted_outlive_worker_and_learner(start: Start, fake: FakeUpstream) -> None:
    fake.answers["fake-mini"] = "one two three"
    server = await start()
    (learner,), (worker,) = children(server, "learning"), children(server, "worker")
    os.kill(learner, signal.SIGSTOP)
    async with await server.chat({**chat("fake-mini", "uncounted"), "stream": True}) as answer:
        assert (await answer.read()).endswith(b"[DONE]\n\n")
    async with asyncio.timeout(20):
        while values(await server.metrics(), "cuecard_requests_total") < 1:  # the call is noted after its last byte
            await asyncio.sleep(0.01)
    for pid in (worker, learner):
        os.kill(pid, signal.SIGKILL)
    total = fake.totals()["fake-mini"]

    def tokens() -> tuple[int, int]:
        with server.open_store() as store:
            found = [sums for _, _, sums in Ledger(store).rows()]
        return sum(sums.input for sums in found), sum(sums.output for sums in found)

    await until(lambda: tokens() == (total["input"], total["output"]))
    assert booked(server.store)["fake-mini", "serve"] == 1


@dataclass
class Wreck:
    """What was seen before everything was killed, found in the store after it, and again at the end of a second run."""

    settings: Path
    seen: Counter[tuple[str, str]]
    upstream_at_kill: Counter[tuple[str, str]]
    answered: int
    found: Counter[tuple[str, str]]
    found_this_day: Counter[tuple[str, str]]
    integrity: list[Any]
    joke_cards: list[str | None]
    sentiment_card: str | None
    served_after: int
    meta_calls: list[str]
    scored: Counter[bytes]
    in_flight: set[bytes]
    upstream_at_end: Counter[tuple[str, str]]
    end: Counter[tuple[str, str]]


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    return asyncio.run(_wreck(tmp_path_factory.mktemp("killed")))


async def _wreck(folder: Path) -> Wreck:
    async with FakeUpstream() as fake:
        settings = _prepare(fake, folder)
        async with serving(folder, settings) as server:
            cards = [await ask(server, "task:joke", "cats")]
            await ask(server, "task:sentiment", "nice")  # asks for the compile
            await fake.wait_until(lambda: len(_stalled(fake)) == CONCURRENCY)
            await until(lambda: booked(server.store)["fake-nano", "compile"] == SCORED)
            seen, answered = await _killed_under_load(server)
            await fake.wait_until(lambda: all(call.done for call in fake.calls))
            scored_before = {call.body for call in _scoring(fake)}
            in_flight = {call.body for call in _scoring(fake) if not call.billed}
            assert len(scored_before) == SCORED + CONCURRENCY
        upstream_at_kill = _asked(fake)
        integrity = _integrity(server.store)
        with server.open_store() as store:
            recover(store, None)  # what a killed worker had noted is not lost
        found, found_this_day = booked(server.store), booked(server.store, timedelta(days=1))

        fake.release.set()
        async with serving(folder, settings) as server:
            cards.append(await ask(server, "task:joke", "dogs"))
            served_after = 2
            async with asyncio.timeout(20):
                while not (card := await ask(server, "task:sentiment", "nice")):
                    served_after += 1
                    await asyncio.sleep(0.1)
        return Wreck(
            settings=folder / "cuecard.yaml",
            seen=seen,
            upstream_at_kill=upstream_at_kill,
            answered=answered,
            found=found,
            found_this_day=found_this_day,
            integrity=integrity,
            joke_cards=cards,
            sentiment_card=card,
            served_after=served_after,
            meta_calls=[str(call.json["messages"]) for call in fake.calls_to("fake-strong")],
            scored=Counter(call.body for call in _scoring(fake)),
            in_flight=in_flight,
            upstream_at_end=_asked(fake),
            end=booked(server.store),
        )


def _prepare(fake: FakeUpstream, folder: Path) -> dict[str, Any]:
    """A task that is compiled already, and one whose compile will stall in the middle of its scoring."""
    examples = [{"input": f"example {n}", "expected": ("good", "bad")[n % 2]} for n in range(EXAMPLES)]
    (folder / "examples.jsonl").write_text("\n".join(json.dumps(example) for example in examples))
    fake.answers["fake-strong"] = PROMPT
    fake.answers["fake-mini"] = "good"
    fake.answers["fake-nano"] = lambda request: Fault.stall("good") if len(_scoring(fake)) > SCORED else "good"
    tasks = {
        "joke": {"description": "Tell a joke.", "trust": "declared"},
        "sentiment": {**SENTIMENT, "incumbent": "fake-mini", "examples": "examples.jsonl"},
    }
    return settings_for(fake, folder, tasks=tasks, compile={"min_examples": 5, "concurrency": CONCURRENCY})


def _scoring(fake: FakeUpstream) -> list[Any]:
    return [c for c in fake.calls_to("fake-nano") if c.json["messages"][-1]["content"].startswith("example ")]


def _stalled(fake: FakeUpstream) -> list[Any]:
    return [call for call in _scoring(fake) if not call.done]


def _asked(fake: FakeUpstream) -> Counter[tuple[str, str]]:
    background = [*fake.calls_to("fake-strong"), *_scoring(fake)]
    return Counter((c.model, "compile" if c in background else "serve") for c in fake.calls)


async def _killed_under_load(server: Server) -> tuple[Counter[tuple[str, str]], int]:
    """Clients ask without a pause; once two flushes were seen in the middle of it, every process is killed."""
    answered = 0

    async def client() -> None:
        nonlocal answered
        try:
            while True:
                await ask(server, "fake-mini", "load")
                answered += 1
        except aiohttp.ClientError:
            return

    clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    seen = booked(server.store)
    for _ in range(2):
        await until(partial(_changed, server.store, seen))
        seen = booked(server.store)
    for pid in (server.process.pid, *children(server)):
        os.kill(pid, signal.SIGKILL)
    await asyncio.gather(*clients)
    await server.process.wait()
    return seen, answered


def _changed(folder: Path, since: Counter[tuple[str, str]]) -> bool:
    return booked(folder) != since


def _integrity(folder: Path) -> list[Any]:
    connection = sqlite3.connect(folder / "cache.db")
    try:
        return connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()


def test_a_store_whose_processes_were_all_killed_under_load_is_whole(wreck: Wreck) -> None:
    assert wreck.integrity == [("ok",)]
    assert wreck.found == wreck.found_this_day  # a flush adds to the totals and to the hour, or to neither


def test_the_ledger_keeps_all_it_was_seen_to_hold_and_never_holds_more_than_the_upstream_saw(wreck: Wreck) -> None:
    assert wreck.seen["fake-mini", "serve"] > 1
    assert wreck.seen <= wreck.found <= wreck.upstream_at_kill
    assert wreck.answered + 1 <= wreck.upstream_at_kill["fake-mini", "serve"] <= wreck.answered + 1 + CLIENTS


def test_after_the_restart_the_books_go_on_where_they_were(wreck: Wreck) -> None:
    command = [sys.executable, "-c", "from proxy.cli import main; main()", "report", "--json"]
    printed = subprocess.run([*command, "--config", str(wreck.settings)], capture_output=True, text=True, check=True)
    reported: Counter[tuple[str, str]] = Counter()
    for task in json.loads(printed.stdout)["tasks"].values():
        for row in task["rows"]:
            reported[row["model"], row["role"]] += row["calls"]
    assert reported == wreck.end
    assert wreck.end - wreck.found == wreck.upstream_at_end - wreck.upstream_at_kill
    assert (wreck.end - wreck.found).total() > wreck.served_after


def test_a_card_that_existed_is_served_after_the_restart_without_asking_the_meta_model_again(wreck: Wreck) -> None:
    assert wreck.joke_cards == ["joke@1", "joke@1"]
    assert len([call for call in wreck.meta_calls if "Tell a joke." in call]) == 1


def test_a_compile_killed_in_the_middle_goes_on_and_pays_again_for_the_calls_in_flight_only(wreck: Wreck) -> None:
    assert wreck.sentiment_card == "sentiment@1"
    assert len(set(wreck.meta_calls)) == len(wreck.meta_calls), "each is asked once"
    paid_again = {body for body, times in wreck.scored.items() if times > 1}
    assert paid_again == wreck.in_flight
    assert len(paid_again) == CONCURRENCY
    assert max(wreck.scored.values()) == 2
