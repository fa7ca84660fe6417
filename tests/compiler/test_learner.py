import asyncio
import contextlib
import fcntl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tenacity

import compiler.learner
from compiler.election import elected, is_elected
from compiler.endpoint import Endpoint, Endpoints
from compiler.errors import StoreError
from compiler.example import Example
from compiler.learner import FIRST_RETRY, Learner
from compiler.llm import Llm
from compiler.models import Models, Options
from compiler.pauses import Pauses
from compiler.proof import Proofs
from compiler.registry import Registry
from compiler.search import scope_of
from compiler.store import Store
from compiler.task import Task
from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream, Fault

MOOD = Task("mood", "Tell the mood.", trust="declared")
WEEK = 7 * 24 * 3_600.0


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **kwargs: tenacity.wait_none())
    monkeypatch.setattr(compiler.learner, "POLL_SECONDS", 0.005)


class NeverPaused(Pauses):
    async def wait(self, upstream: str) -> None:
        """At once."""


class Outcomes:
    """What the learner reports, to be awaited."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []
        self._changed = asyncio.Condition()
        self._waiting: set[asyncio.Task[None]] = set()

    def __call__(self, task: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.all.append((task, outcome))
        waking = asyncio.create_task(self._wake())
        self._waiting.add(waking)

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, number: int) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.all) >= number)


@pytest.fixture
async def llm(models: Models, store: Store, fake: FakeUpstream) -> AsyncIterator[Llm]:
    fake.answers["fake-strong"] = "<prompt>Say good or bad.</prompt>"
    async with Llm(models, store, usd_per_day=5, pauses=NeverPaused(store)) as llm:
        yield llm


@pytest.fixture
def registry(store: Store) -> Registry:
    registry = Registry(store)
    registry.declare({"mood": (MOOD, [])}, "config")
    return registry


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.fixture
def learner(registry: Registry, llm: Llm, outcomes: Outcomes) -> Learner:
    return Learner(registry, llm, Options(), retry_kept_after=WEEK, on_outcome=outcomes)


@contextlib.asynccontextmanager
async def running(learner: Learner) -> AsyncIterator[None]:
    task = asyncio.create_task(learner.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def retry_in(registry: Registry) -> float:
    return registry.state("mood").retry_at - time.time()


async def test_a_wanted_task_is_compiled_and_published(learner, registry, outcomes, store):
    registry.want(["mood"])
    async with running(learner):
        await outcomes.wait_for(1)
    view = registry.snapshot().tasks["mood"]
    assert view.compiled.program.system == "Say good or bad."
    assert view.state.stage == "live"
    assert registry.wanted() == []
    assert outcomes.all == [("mood", "card")]
    assert store.keys("memo:") == []  # nothing to go on with


async def test_many_wants_are_one_compile(learner, registry, outcomes, fake):
    fake.answers["fake-strong"] = Fault.stall("<prompt>Say good or bad.</prompt>")
    registry.want(["mood", "mood"])
    async with running(learner):
        await fake.wait_for(1)
        for _ in range(5):
            registry.want(["mood"])
        fake.release.set()
        await outcomes.wait_for(1)
    assert len(fake.calls) == 1
    assert outcomes.all == [("mood", "card")]


async def test_several_tasks_are_compiled_beside_one_another(learner, registry, outcomes, fake):
    fake.answers["fake-strong"] = Fault.stall("<prompt>Say it.</prompt>")
    registry.declare({"other": (replace(MOOD, name="other"), [])}, "admin")
    registry.want(["mood", "other"])
    async with running(learner):
        await fake.wait_for(2)
        fake.release.set()
        await outcomes.wait_for(2)
    assert sorted(outcomes.all) == [("mood", "card"), ("other", "card")]


async def test_a_want_for_a_task_that_is_gone_is_dropped(learner, registry, outcomes, fake):
    registry.compiling("removed", "its wording")
    registry.want(["unheard-of", "removed", "mood"])
    async with running(learner):
        await outcomes.wait_for(1)
    assert registry.wanted() == []
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I'm sorry, I can't.", "the meta model refused"),
        ("", "the meta model returned nothing"),
        (Fault.respond(500), "fake-strong: HTTP 500"),
        (Fault.respond(429), "fake-strong: 429 from its upstream"),
    ],
)
async def test_a_failed_compile_keeps_the_original_and_waits_longer_each_time(learner, registry, fake, answer, reason):
    fake.answers["fake-strong"] = answer
    for expected in (FIRST_RETRY, 4 * FIRST_RETRY, 16 * FIRST_RETRY):
        assert not await learner.compile(MOOD, again=True)
        assert (registry.state("mood").stage, registry.state("mood").reason) == ("kept", reason)
        assert retry_in(registry) == pytest.approx(expected, rel=0.1)
    for _ in range(6):
        await learner.compile(MOOD, again=True)
    assert retry_in(registry) == pytest.approx(WEEK, rel=0.01)


async def test_a_busy_upstream_says_when_the_next_try_is(learner, registry, fake):
    fake.answers["fake-strong"] = Fault.respond(429, {"Retry-After": "7200"})
    await learner.compile(MOOD)
    assert retry_in(registry) == pytest.approx(7_200, rel=0.01)


async def test_another_wording_starts_with_the_shortest_wait(learner, registry, fake):
    fake.answers["fake-strong"] = ""
    for _ in range(3):
        await learner.compile(MOOD, again=True)
    await learner.compile(replace(MOOD, description="Tell the mood!"))
    assert retry_in(registry) == pytest.approx(FIRST_RETRY, rel=0.1)


async def test_a_kept_task_is_left_alone_until_its_time_comes(learner, registry, fake, monkeypatch):
    fake.queue("fake-strong", "")
    await learner.compile(MOOD)
    assert await learner.compile(MOOD)  # nothing to do
    assert len(fake.calls) == 1
    later = time.time() + FIRST_RETRY + 1
    monkeypatch.setattr(compiler.learner.time, "time", lambda: later)
    assert await learner.compile(MOOD)
    assert registry.state("mood").stage == "live"
    assert len(fake.calls) == 2


async def test_a_live_task_is_compiled_again_only_on_demand_and_gets_a_new_version(learner, registry, fake):
    await learner.compile(MOOD)
    await learner.compile(MOOD)
    assert (len(fake.calls), registry.state("mood").version) == (1, 1)
    await learner.compile(MOOD, again=True)
    assert (len(fake.calls), registry.state("mood").version) == (2, 2)


async def test_the_days_budget_keeps_a_task_until_tomorrow(models, store, registry, outcomes, fake):
    async with Llm(models, store, usd_per_day=0.001) as llm:
        await Learner(registry, llm, Options(), retry_kept_after=WEEK, on_outcome=outcomes).compile(MOOD)
    assert 0 < retry_in(registry) <= 24 * 3_600 + 1
    assert "a day are spent or reserved" in registry.state("mood").reason
    assert (outcomes.all, fake.calls) == ([("mood", "budget")], [])


async def test_the_compiles_budget_keeps_a_task_for_long(registry, llm, outcomes, fake):
    await Learner(registry, llm, Options(max_usd=0.001), retry_kept_after=WEEK, on_outcome=outcomes).compile(MOOD)
    assert retry_in(registry) == pytest.approx(WEEK, rel=0.01)
    assert "a compile are spent or reserved" in registry.state("mood").reason
    assert (outcomes.all, fake.calls) == ([("mood", "budget")], [])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prices": {"fake-strong": {"input": 1, "output": 1}}}, "fake-nano has no known price"),
        ({"prices": {"fake-nano": {"input": 1, "output": 1}}}, "fake-strong has no known price"),
        ({"endpoints": Endpoints({"fake": Endpoint("fake", "http://127.0.0.1:1/v1")})}, "no api_key of its own"),
    ],
)
async def test_nothing_is_compiled_with_models_that_may_not_be_called(
    models, store, registry, outcomes, change, reason
):
    async with Llm(replace(models, **change), store, usd_per_day=5) as llm:
        learner = Learner(registry, llm, Options(), retry_kept_after=WEEK, on_outcome=outcomes)
        assert not await learner.compile(MOOD)
    assert reason in registry.state("mood").reason
    assert registry.state("mood").stage == "kept"
    assert outcomes.all == [("mood", "failed")]


async def test_a_bug_in_a_compile_never_ends_the_learner(learner, registry, outcomes, monkeypatch, caplog):
    real = compiler.learner.compile

    async def broken_for_mood(task: Task, *args: Any, **kwargs: Any) -> Any:
        if task.name == "mood":
            raise RuntimeError("a bug")
        return await real(task, *args, **kwargs)

    monkeypatch.setattr(compiler.learner, "compile", broken_for_mood)
    registry.declare({"other": (replace(MOOD, name="other"), [])}, "admin")
    registry.want(["mood"])
    async with running(learner):
        await outcomes.wait_for(1)
        registry.want(["other"])
        await outcomes.wait_for(2)
    assert outcomes.all == [("mood", "failed"), ("other", "card")]
    assert registry.state("mood").reason == "internal error (RuntimeError)"
    assert any(record.exc_info and "a bug" in str(record.exc_info[1]) for record in caplog.records)


async def test_a_store_that_fails_for_a_moment_loses_no_wish(learner, registry, outcomes, fake, monkeypatch):
    failures = iter([StoreError("the disk is full")])
    publish = registry.publish

    def fails_once(card: Any) -> None:
        for failure in failures:
            raise failure
        publish(card)

    monkeypatch.setattr(registry, "publish", fails_once)
    registry.want(["mood"])
    async with running(learner):
        await outcomes.wait_for(2)
    assert outcomes.all == [("mood", "failed"), ("mood", "card")]
    assert registry.state("mood").stage == "live"
    assert registry.wanted() == []
    assert len(fake.calls) == 1


async def test_a_task_that_is_reworded_during_its_compile_is_compiled_again(learner, registry, outcomes, fake):
    fake.queue("fake-strong", Fault.stall("<prompt>Old.</prompt>"), "<prompt>New.</prompt>")
    reworded = replace(MOOD, description="Tell the mood!")
    registry.want(["mood"])
    async with running(learner):
        await fake.wait_for(1)
        registry.declare({"mood": (reworded, [])}, "config")
        registry.want(["mood"])
        fake.release.set()
        await outcomes.wait_for(2)
    assert registry.snapshot().tasks["mood"].compiled.program.system == "New."
    assert registry.wanted() == []


async def test_a_compile_that_was_left_behind_goes_on(learner, registry, outcomes, fake):
    registry.compiling("mood", MOOD.definition())
    async with running(learner):
        await outcomes.wait_for(1)
    assert registry.state("mood").stage == "live"
    assert len(fake.calls) == 1


async def test_a_compile_left_behind_for_another_wording_is_not_taken_up_unasked(learner, registry, outcomes, fake):
    registry.compiling("mood", "an older wording")
    registry.declare({"other": (replace(MOOD, name="other"), [])}, "admin")
    registry.want(["other"])
    async with running(learner):
        await outcomes.wait_for(1)
    assert outcomes.all == [("other", "card")]


async def test_a_stopped_learner_cancels_its_compile_and_the_next_one_goes_on(learner, registry, llm, outcomes, fake):
    registry.declare({"mood": (MOOD, [Example(f"{i}", "good") for i in range(50)])}, "config")
    fake.answers["fake-nano"] = Fault.stall("good")
    registry.want(["mood"])
    async with running(learner):
        await fake.wait_for(8, "fake-nano")
    await fake.wait_until(lambda: all(call.hung_up for call in fake.calls_to("fake-nano")))
    assert registry.state("mood").stage == "compiling"
    fake.answers["fake-nano"] = "good"
    async with running(Learner(registry, llm, Options(), retry_kept_after=WEEK, on_outcome=outcomes)):
        await outcomes.wait_for(2)
    assert outcomes.all == [("mood", "failed"), ("mood", "card")]
    assert fake.calls_to("fake-strong") == [], "the app's own prompt is good already"


async def test_one_process_learns_on_a_store_and_the_next_takes_over(tmp_path):
    order: list[str] = []
    entered, leave = asyncio.Event(), asyncio.Event()

    async def learn(name: str) -> None:
        async with elected(tmp_path):
            order.append(name)
            entered.set()
            await leave.wait()

    first = asyncio.create_task(learn("first"))
    await entered.wait()
    second = asyncio.create_task(learn("second"))
    await asyncio.sleep(0)
    assert is_elected(tmp_path)
    assert order == ["first"]
    leave.set()
    await asyncio.gather(first, second)
    assert order == ["first", "second"]
    assert not is_elected(tmp_path)


HOLDER = """
import asyncio, sys
from pathlib import Path
from compiler.election import elected

async def main():
    async with elected(Path(sys.argv[1])):
        print("elected", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_killed_learner_leaves_no_lock_behind(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=Path.cwd(), stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "elected\n"
        assert is_elected(tmp_path)
        holder.kill()
    assert not is_elected(tmp_path)


def test_askers_are_not_taken_for_a_learner(tmp_path):
    with (tmp_path / "learner.lock").open("w") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert not is_elected(tmp_path)


async def test_a_compile_of_a_task_that_is_forgotten_meanwhile_leaves_nothing(tmp_path, fake):
    """Its demonstrations and kept answers would hold what was to be forgotten."""
    with Store(tmp_path / "store") as store:
        registry = Registry(store)
        task = Task("mood", "user: the template", recognised=True)
        registry.adopt(task, [Example("the planted comment", "yes")] * 3)
        models = Models(
            "fake-strong", ("fake-nano",), Endpoints({"fake": Endpoint("fake", fake.url, "sk")}), prices=PRICES
        )
        async with Llm(models, store, usd_per_day=5.0) as llm:
            learner = Learner(registry, llm, Options(min_examples=5), retry_kept_after=WEEK)
            publish = learner._publish

            def late(*given):
                registry.drop(["mood"])
                published.append(publish(*given))

            published = []
            learner._publish = late
            await learner._take("mood")
        assert published == [False]
        sums = ("versions:", "totals:", "ledger:", "budget:")
        assert [key for key in store.keys("") if "mood" in key and not key.startswith(sums)] == []
        assert "the planted comment" not in "".join(str(store.get(key)) for key in store.keys(""))


async def test_a_task_that_no_model_can_do_is_kept_for_a_week_and_its_looks_are_counted(
    learner, registry, llm, outcomes, fake
):
    fake.answers |= {"fake-nano": "bad", "fake-mini": "bad"}
    examples = [Example(f"{n} is {label}", label) for n in range(20) for label in ("good", "bad")]
    registry.declare({"mood": (replace(MOOD, trust="proven"), examples)}, "config")
    registry.want(["mood"])
    async with running(learner):
        await outcomes.wait_for(1)
    assert outcomes.all == [("mood", "kept")]
    state = registry.state("mood")
    assert state.stage == "kept" and "no cheaper model is good enough" in state.reason
    assert state.retry_at > time.time() + 0.9 * WEEK
    assert Proofs(registry.store).begun("mood") == 2, "each model's sealed examples were looked at"
    assert llm.budget.spent(f"budget:{scope_of(registry.task('mood'), 1)}") == 0, "the next one may spend as much"
    assert registry.store.keys("memo:") == []
