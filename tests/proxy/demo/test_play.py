"""The app's turns, on a fake that answers in Cuecard's place, and a store in which a test says what Cuecard knows."""

import io
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import Task
from proxy.demo import play as module
from proxy.demo.app import App
from proxy.demo.known import Known, known
from proxy.demo.play import Play
from proxy.demo.rows import MONEY
from proxy.demo.setting import OPENAI, Pace
from proxy.demo.spend import Purse
from proxy.dossier import Stand
from tests.fake_upstream import FakeUpstream, Fault
from tests.learned import SUMMARY, learn, some
from tests.proven import compiled, proven
from tests.proxy.demo.conftest import able

PACE = Pace(calls=3, seconds=30.0, served=2, gold=2)


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
async def play(fake: FakeUpstream, tmp_path: Path, cache: Path, said: io.StringIO) -> AsyncIterator[Play]:
    fake.answers["*"] = able
    fake.headers["X-Cuecard-Cost-Usd"] = "0"
    async with App(fake.url.removesuffix("/v1"), Purse(OPENAI)) as app:
        yield Play(app, tmp_path / "store", OPENAI, PACE, cache, Console(file=said, width=80))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL", "BOOKED"):
        monkeypatch.setattr(module, name, 0)


def asked_of_the_apps_model(fake: FakeUpstream) -> list[str]:
    calls = [call for call in fake.calls_to(OPENAI.current) if not call.header("x-cuecard-bypass")]
    return ["money" if MONEY.prompt[:30] in call.json["messages"][0]["content"] else "desk" for call in calls]


async def test_each_kind_is_asked_in_turn_as_often_as_its_pace_says(play: Play, fake: FakeUpstream) -> None:
    results = await play.results()
    assert asked_of_the_apps_model(fake) == ["money", "desk"] * 3
    assert [result.tale.calls for result in results] == [3, 3]
    assert [(result.gold.own, result.gold.of) for result in results] == [(2, 2), (2, 2)]


async def test_a_kind_whose_card_has_answered_enough_is_asked_no_more(play: Play, fake: FakeUpstream) -> None:
    fake.headers["X-Cuecard-Route"] = "compiled"
    money = play.tales[0]
    money.known = known_as("ramping", 0.5)
    await play.results()
    assert asked_of_the_apps_model(fake) == ["money", "desk", "money", "desk", "desk"]


async def test_a_kept_kind_is_asked_no_more(play: Play, fake: FakeUpstream) -> None:
    play.tales[1].known = known_as("kept", 0.0)
    await play.results()
    assert asked_of_the_apps_model(fake) == ["money"] * 3


def known_as(stage: str, traffic: float) -> Known:
    return Known("user: {text1}", Stand("sort", stage, traffic, 0.2, 40, "sort@1", "nano", "so"))


async def test_a_closed_purse_ends_it_and_what_is_known_is_shown(
    play: Play, fake: FakeUpstream, said: io.StringIO
) -> None:
    play._app.purse = Purse(OPENAI.capped(0.0001))
    results = await play.results()
    assert fake.calls == []
    assert "the app stops asking" in said.getvalue()
    assert [result.gold.of for result in results] == [0, 0]


async def test_time_that_is_over_ends_the_apps_calls(play: Play, fake: FakeUpstream, said: io.StringIO) -> None:
    fake.queue(OPENAI.current, Fault.stall())
    play._pace = replace(PACE, seconds=0.05)
    results = await play.results()
    assert "are over: an app would go on" in said.getvalue()
    assert [result.tale.calls for result in results] == [0, 0]


async def test_what_the_store_knows_is_told(play: Play, fake: FakeUpstream, tmp_path: Path, said: io.StringIO) -> None:
    learn(tmp_path / "store", *some(SUMMARY))
    with Store(tmp_path / "store") as store:
        (name,) = Catalogue(store).tasks()
    fake.headers["X-Cuecard-Task"] = name
    await play.results()
    shown = " ".join(said.getvalue().split())
    assert re.search(rf"money recognised at call \d, as '{name}'", shown)
    assert "Mail: {text1}" in shown


def test_a_task_is_known_from_its_template_to_its_proof(tmp_path: Path) -> None:
    learn(tmp_path, *some(SUMMARY))
    with Store(tmp_path) as store:
        (name,) = Catalogue(store).tasks()
        assert known(store, "another") is None
        first = known(store, name)
        assert first and (first.stage, first.compiles, first.card) == ("recognised", False, None)
        task = Task(name, "user: Mail: {text1}", incumbent="fake-strong", recognised=True)
        card = compiled(store, task)
        proven(store, card, 40)
        found = known(store, name)
        assert found and found.card and found.proof and found.stand
        assert (found.card.label, found.proof.pairs, found.stand.pairs, found.compiles) == (card.label, 40, 40, False)
        Registry(store).compiling(name, task.definition())
        again = known(store, name)
        assert again and again.compiles
