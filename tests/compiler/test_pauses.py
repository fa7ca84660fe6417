"""How long an upstream is left alone: in the store, for every process, by a clock that the tests move."""

import pytest

from compiler.pauses import Pauses
from compiler.quota import AFTER_429, LONGEST
from compiler.store import Store


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("compiler.pauses.sleep", clock.sleep)
    return clock


@pytest.fixture
def pauses(store: Store, clock: Clock) -> Pauses:
    return Pauses(store, clock)


async def test_a_pause_is_waited_for_to_its_end_and_only_where_it_is(pauses, clock):
    pauses.pause("cloud", 12)
    await pauses.wait("local")
    assert clock.slept == []
    await pauses.wait("cloud")
    assert sum(clock.slept) == pytest.approx(12)
    assert pauses.left("cloud") == 0


async def test_a_pause_that_grows_while_it_is_waited_for_is_waited_for_whole(pauses, clock, store, monkeypatch):
    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        if len(clock.slept) == 1:
            Pauses(store, clock).pause("cloud", 30)

    monkeypatch.setattr("compiler.pauses.sleep", sleep)
    pauses.pause("cloud", 6)
    await pauses.wait("cloud")
    assert sum(clock.slept) == pytest.approx(5 + 30)


def test_every_process_on_the_store_knows_it_and_a_restart_does_not_forget(pauses, store, clock):
    pauses.pause("cloud", 100)
    with Store(store.folder) as another:
        assert Pauses(another, clock).left("cloud") == pytest.approx(100)
    clock.now += 40
    assert pauses.left("cloud") == pytest.approx(60)


def test_a_shorter_pause_shortens_nothing(pauses):
    pauses.pause("cloud", 100)
    pauses.pause("cloud", 10)
    pauses.pause("cloud", 0)
    assert pauses.left("cloud") == pytest.approx(100)


def test_no_pause_writes_nothing(pauses, store):
    pauses.pause("cloud", 0)
    assert store.keys("pause:") == []


def test_a_clock_that_was_set_back_holds_nothing_up_for_ever(pauses, clock):
    pauses.pause("cloud", 100)
    clock.now -= 400 * 24 * 3_600
    assert pauses.left("cloud") == LONGEST


def test_a_429_of_the_serving_traffic_is_a_rest_of_60_seconds_at_least(pauses, clock):
    pauses.busy(["cloud", "other"])
    for upstream in ("cloud", "other"):
        assert pauses.left(upstream) >= AFTER_429
    assert pauses.left("local") == 0
    clock.now += 50
    pauses.busy(["cloud"])
    assert pauses.left("cloud") >= AFTER_429


def test_a_storm_of_429s_is_no_storm_of_writes(pauses, clock, store, monkeypatch):
    written: list[str] = []
    put = store.put
    monkeypatch.setattr(store, "put", lambda key, *rest, **more: (written.append(key), put(key, *rest, **more)))
    for _ in range(100):
        pauses.busy(["cloud"])
        clock.now += 0.25
        assert pauses.left("cloud") >= AFTER_429 - 0.25
    assert len(written) <= 6


def test_a_long_retry_after_is_not_shortened_by_a_429_without_one(pauses):
    pauses.pause("cloud", 300)
    pauses.busy(["cloud"])
    assert pauses.left("cloud") == pytest.approx(300)
