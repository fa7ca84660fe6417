from dataclasses import replace

import pytest

from compiler.registry import TaskState
from compiler.task import Task
from proxy.attention import SAVED, SHARE, Attention
from proxy.headers import TASK
from tests.learned import TOXIC, learn, request, some


def spent(attention: Attention, each: float) -> int:
    times = 0
    while attention.left():
        attention.spend(each)
        times += 1
    return times


def test_a_rested_worker_looks_at_a_burst(clock):
    assert spent(Attention(clock), SAVED / 10.5) == 11


def test_a_worker_at_its_limit_looks_for_a_share_of_its_time(clock):
    attention = Attention(clock)
    spent(attention, 0.0001)
    looked = 0
    for _ in range(1_000):
        clock.now += 0.01
        looked += spent(attention, 0.0001)
    assert looked * 0.0001 == pytest.approx(10 * SHARE, rel=0.01)


def test_a_look_that_took_long_is_paid_for_by_those_behind_it(clock):
    attention = Attention(clock)
    attention.spend(SAVED + 0.3)
    clock.now += 0.3 / SHARE - 0.01
    assert not attention.left()
    clock.now += 0.02
    assert attention.left()


def test_a_rest_saves_up_no_more_than_a_burst(clock):
    attention = Attention(clock)
    clock.now += 1e6
    assert spent(attention, SAVED / 10.5) == 11


async def test_one_who_has_looked_enough_serves_without_a_look_and_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr("proxy.attention.SHARE", 0.0)
    learn(tmp_path / "store", *some(TOXIC))
    proxy = await run()
    named = []
    for _ in range(2):
        async with await proxy.chat(request(TOXIC, "Parcel came late")) as answer:
            assert answer.status == 200
            named.append(answer.headers.get(TASK))
        proxy.gateway.attention.spend(SAVED)
    assert named == ["decide-whether-comment-toxic", None]
    await proxy.metered("original_total", 1, reason="busy")
    assert proxy.metric("original_total", reason="observe") == 1
    assert proxy.metric("observations_dropped_total", reason="rate") == 1  # nor is it captured


async def test_where_a_look_may_save_money_there_is_no_limit(run, tmp_path, monkeypatch, view_of):
    monkeypatch.setattr("proxy.attention.SHARE", 0.0)
    learn(tmp_path / "store", *some(TOXIC))
    proxy = await run()
    view = view_of(Task("some-task", "d"), TaskState("ramping", traffic=0.5), model="fake-nano")
    proxy.gateway.snapshots.adopt(replace(proxy.gateway.snapshots.current, adopted={"some-task": view}))
    proxy.gateway.attention.spend(SAVED)
    async with await proxy.chat(request(TOXIC, "Parcel came late")) as answer:
        assert answer.headers[TASK] == "decide-whether-comment-toxic"


async def test_what_names_its_task_needs_no_look(run, tmp_path, monkeypatch):
    monkeypatch.setattr("proxy.attention.SHARE", 0.0)
    learn(tmp_path / "store", *some(TOXIC))
    proxy = await run(tasks={"mood": {"description": "Tell the mood."}})
    proxy.gateway.attention.spend(SAVED)
    async with await proxy.chat(request(TOXIC, "Parcel came late"), **{TASK: "mood"}) as answer:
        assert answer.headers[TASK] == "mood"
