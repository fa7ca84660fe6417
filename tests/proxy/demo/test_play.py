"""The play on a fake that answers in Cuecard's place: what is sent, and what is taken from the purse for it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from proxy.demo import play as module
from proxy.demo.play import Play
from proxy.demo.rows import Row
from proxy.demo.setting import OPENAI, DemoError, Setting
from tests.fake_upstream import FakeUpstream, Fault

ROWS: list[Row] = [("book me a flight", "book_flight")] * 6
MOST = OPENAI.most(OPENAI.current, "travel", ROWS[0][0])
Stage = Callable[[Setting], Play]


@pytest.fixture
async def stage(fake: FakeUpstream, cache: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    for name in ("POLL", "ADOPTED", "BOOKED"):
        monkeypatch.setattr(module, name, 0)
    opened: list[Play] = []

    def of(setting: Setting) -> Play:
        opened.append(Play(fake.url.removesuffix("/v1"), setting, cache, Console(width=200)))
        return opened[-1]

    yield of
    for play in opened:
        await play.close()


def free(max_usd: float) -> Setting:
    """All of the money is for measuring."""
    return replace(OPENAI, max_usd=max_usd, compile_usd=0.0)


def report(**compile_row: int) -> dict[str, Any]:
    row = {"role": "compile", "failed": 0, "unpriced": 0, **compile_row}
    task = {"requests": 1, "compile_usd": 0.01, "net_saving_usd_estimated": -0.01, "rows": [row]}
    return {"tasks": {"travel": task, "home": task}}


def state(stage: str) -> dict[str, Any]:
    return {"state": {"stage": stage, "reason": ""}, "card": None}


async def test_measuring_stops_before_a_call_that_could_pass_the_cap(
    stage: Stage, fake: FakeUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    play = stage(free(4.5 * MOST))
    assert (await play.measure("travel", OPENAI.current, ROWS)).of == 2
    assert (await play.measure("travel", OPENAI.cheap, ROWS)).of == 0
    assert len(fake.calls) == 2
    assert capsys.readouterr().out.count("stopped measuring") == 1


async def test_a_call_without_its_cost_counts_as_the_most_it_can_have_cost(stage: Stage) -> None:
    play = stage(free(1.0))
    measured = await play.measure("travel", OPENAI.current, ROWS)
    assert play.purse.taken == pytest.approx(6 * MOST)
    assert measured.usd == pytest.approx(6 * MOST)


async def test_a_call_with_its_cost_counts_as_that(stage: Stage, fake: FakeUpstream) -> None:
    fake.headers["X-Cuecard-Cost-Usd"] = "0.000001"
    fake.answers["*"] = "book_flight"
    play = stage(free(1.0))
    measured = await play.measure("travel", OPENAI.current, ROWS)
    assert play.purse.taken == pytest.approx(6e-6)
    assert (measured.right, measured.of, measured.usd) == (6, 6, pytest.approx(6e-6))


async def test_a_failed_card_attempt_counts_beside_the_cost_of_the_answer(stage: Stage, fake: FakeUpstream) -> None:
    fake.headers |= {"X-Cuecard-Cost-Usd": "0.000001", "X-Cuecard-Route": "fallback"}
    play = stage(free(1.0))
    measured = await play.measure("travel", "task:travel", ROWS[:1])
    most = OPENAI.most("task:travel", "travel", ROWS[0][0])
    assert play.purse.taken == pytest.approx(most + 1e-6)
    assert (measured.fallbacks, measured.usd) == (1, pytest.approx(1e-6))


async def test_a_call_that_was_tried_twice_counts_twice(stage: Stage, fake: FakeUpstream) -> None:
    fake.queue(OPENAI.current, Fault.respond(500, {"retry-after-ms": "1"}))
    play = stage(free(1.0))
    await play.measure("travel", OPENAI.current, ROWS[:1])
    assert play.purse.taken == pytest.approx(2 * MOST)


async def test_a_refused_key_ends_the_play_with_one_message(stage: Stage, fake: FakeUpstream) -> None:
    fake.keys = set()
    with pytest.raises(DemoError, match=r"gpt-4\.1: .*Incorrect API key"):
        await stage(OPENAI.capped(0.50)).tasks()


@pytest.mark.parametrize(
    ("reached", "row", "left"),
    [("live", {}, 0.02), ("kept", {}, 0.20), ("live", {"failed": 1}, 0.20), ("live", {"unpriced": 1}, 0.20)],
)
async def test_what_a_compile_did_not_need_is_given_back_once_its_cost_is_known(
    stage: Stage, fake: FakeUpstream, reached: str, row: dict[str, int], left: float
) -> None:
    fake.headers["X-Cuecard-Cost-Usd"] = "0"
    fake.answers |= {f"/admin/tasks/{task}": state(reached) for task in ("travel", "home")}
    fake.answers["/admin/report"] = report(**row)
    play = stage(OPENAI.capped(0.50))
    results = await play.tasks()
    assert play.purse.taken == pytest.approx(left)
    assert [result.after.of for result in results] == [32, 32]


async def test_a_purse_too_small_for_one_call_sends_none_and_waits_for_no_compile(
    stage: Stage, fake: FakeUpstream
) -> None:
    fake.answers |= {f"/admin/tasks/{task}": state("waiting") for task in ("travel", "home")}
    fake.answers["/admin/report"] = {"tasks": {}}
    results = await stage(OPENAI.capped(0.0001)).tasks()
    assert fake.calls_to(OPENAI.current) == []
    assert [(str(result.before), result.report["compile_usd"]) for result in results] == [("-", 0.0), ("-", 0.0)]
