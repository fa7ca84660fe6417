from dataclasses import replace
from datetime import UTC, datetime

import pytest

import compiler.registry
from compiler.card import Card
from compiler.example import Example
from compiler.ledger import Charge, Ledger, Tally
from compiler.pricing import Usage
from compiler.program import Prompt
from compiler.registry import STAGES, Registry, TaskState
from compiler.store import Store
from compiler.task import Contract, Task

MOOD = Task("mood", "Tell the mood.")
SHOWN = [Example("sun", "good")]


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


def card_of(task: Task, version: int = 1) -> Card:
    return Card(
        task=task.name,
        version=version,
        definition=task.definition(),
        model="fake-nano",
        program=Prompt("Say good or bad.", (Example("sun", "good"),)),
        contract=Contract("label", ("bad", "good")),
        winner="prompt",
        static_tokens=20,
        original_tokens=10,
        created=datetime.now(UTC).isoformat(),
        compile_usd=0.01,
    )


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(compiler.registry.time, "time", lambda: seconds)


def test_a_new_store_knows_nothing(registry):
    snapshot = registry.snapshot()
    assert (snapshot.generation, snapshot.off, dict(snapshot.tasks)) == (0, False, {})


def test_a_declared_task_is_in_the_snapshot_with_its_examples_kept(registry):
    registry.declare({"mood": (MOOD, SHOWN)}, "config")
    view = registry.snapshot().tasks["mood"]
    assert (view.task, view.state, view.card, view.compiled) == (MOOD, TaskState(), None, None)
    assert registry.examples("mood") == SHOWN


def test_the_configuration_declares_exactly_its_tasks_and_the_admin_adds_to_them(registry):
    for name, origin in (("old", "config"), ("added", "admin"), ("new", "config")):
        registry.declare({name: (Task(name, "d"), [])}, origin)
    assert {name: origin for name, (_, origin) in registry.tasks().items()} == {"added": "admin", "new": "config"}


def test_a_removed_task_is_gone_with_its_examples(registry):
    registry.declare({"mood": (MOOD, SHOWN)}, "admin")
    assert registry.remove("mood")
    assert not registry.remove("mood")
    assert registry.tasks() == {}
    assert registry.examples("mood") == []


def test_a_removed_task_leaves_nothing_that_it_learned_from_its_traffic(registry, store):
    registry.declare({"mood": (MOOD, [])}, "admin")
    registry.add_examples("mood", [Example("out of the traffic", "good")])
    registry.publish(card_of(MOOD))
    assert registry.learned() == ["mood"]
    assert registry.remove("mood")
    assert (registry.learned(), registry.examples("mood"), registry.card("mood", 1)) == ([], [], None)


def test_every_change_that_a_worker_must_see_raises_the_generation(registry):
    seen = [registry.generation()]
    for change in (
        lambda: registry.declare({"mood": (MOOD, [])}, "config"),
        lambda: registry.compiling("mood", MOOD.definition()),
        lambda: registry.publish(card_of(MOOD)),
        lambda: registry.keep("mood", MOOD.definition(), "why", 60),
        lambda: registry.set_off(True),
        lambda: registry.remove("mood"),
    ):
        change()
        seen.append(registry.generation())
    assert seen == sorted(set(seen))
    assert registry.snapshot().generation == seen[-1]


def test_wishes_for_a_compile_are_no_change(registry):
    registry.want(["mood"])
    registry.unwant("mood")
    assert registry.generation() == 0


def test_a_published_card_is_live_at_once(registry):
    registry.declare({"mood": (MOOD, [])}, "config")
    registry.publish(card_of(MOOD))
    view = registry.snapshot().tasks["mood"]
    assert view.compiled.label == "mood@1"
    assert (view.state.stage, view.state.version) == ("live", 1)
    assert view.settled


@pytest.mark.parametrize("change", [{"description": "Tell the mood!"}, {"system": "s"}, {"contract": Contract("text")}])
def test_a_card_of_another_wording_is_never_served(registry, change):
    registry.declare({"mood": (MOOD, [])}, "config")
    registry.publish(card_of(MOOD))
    registry.declare({"mood": (replace(MOOD, **change), [])}, "config")
    view = registry.snapshot().tasks["mood"]
    assert view.card is not None
    assert view.compiled is None
    assert not view.settled
    registry.declare({"mood": (MOOD, [])}, "config")
    assert registry.snapshot().tasks["mood"].compiled is not None


def test_a_version_is_never_used_twice(registry):
    assert registry.next_version("mood") == 1
    registry.publish(card_of(MOOD))
    registry.publish(card_of(MOOD, 2))
    registry.publish(card_of(MOOD, 1))  # an older one comes back
    assert registry.next_version("mood") == 3
    assert registry.state("mood").version == 1
    assert registry.card("mood", 2).version == 2
    assert registry.card("mood", 3) is None


def test_a_kept_task_waits_for_its_time_and_then_wants_a_compile(registry, monkeypatch):
    registry.declare({"mood": (MOOD, [])}, "config")
    at(monkeypatch, 1_000)
    registry.keep("mood", MOOD.definition(), "the meta model refused", 60)
    state = registry.state("mood")
    assert (state.stage, state.reason, state.retry_at, state.failures) == ("kept", "the meta model refused", 1_060, 1)
    assert registry.snapshot().tasks["mood"].settled
    assert not state.wants_compile(MOOD.definition(), 1_059)
    assert state.wants_compile(MOOD.definition(), 1_060)
    at(monkeypatch, 1_060)
    assert not registry.snapshot().tasks["mood"].settled


def test_failures_are_counted_in_a_row_and_from_one_for_another_wording(registry):
    for expected in (1, 2, 3):
        registry.compiling("mood", "first")
        registry.keep("mood", "first", "why", 60)
        assert registry.state("mood").failures == expected
    registry.compiling("mood", "second")
    registry.keep("mood", "second", "why", 60)
    assert registry.state("mood").failures == 1


def test_a_success_ends_the_row_of_failures(registry):
    registry.keep("mood", MOOD.definition(), "why", 60)
    registry.publish(card_of(MOOD))
    assert (registry.state("mood").failures, registry.state("mood").reason) == (0, "")


@pytest.mark.parametrize("stage", STAGES)
def test_only_a_task_that_is_observed_or_of_another_wording_wants_a_compile(stage):
    state = TaskState(stage, "d", retry_at=100)
    assert state.wants_compile("d", 50) == (stage == "observing")
    assert state.wants_compile("another", 50)


def test_a_task_is_unsettled_until_it_was_compiled_or_given_up(registry):
    registry.declare({"mood": (MOOD, [])}, "config")
    assert not registry.snapshot().tasks["mood"].settled
    registry.compiling("mood", MOOD.definition())
    assert not registry.snapshot().tasks["mood"].settled


def test_a_recompile_serves_the_card_it_has_meanwhile(registry):
    registry.declare({"mood": (MOOD, [])}, "config")
    registry.publish(card_of(MOOD))
    registry.compiling("mood", MOOD.definition())
    view = registry.snapshot().tasks["mood"]
    assert view.compiled is not None
    assert view.settled


def test_asking_twice_is_asking_once(registry):
    registry.want(["a", "b"])
    registry.want(["b"])
    assert registry.wanted() == ["a", "b"]
    registry.unwant("a")
    registry.unwant("a")
    assert registry.wanted() == ["b"]


def test_off_is_seen_by_whoever_opens_the_store_again(registry, store):
    registry.set_off(True)
    again = Store(store.folder)
    assert Registry(again).snapshot().off
    again.close()
    registry.set_off(False)
    assert not registry.snapshot().off


def test_the_snapshot_tells_what_the_incumbent_was_seen_to_do(registry, store):
    registry.declare({"mood": (MOOD, [])}, "config")
    tally = Tally()
    tally.add(Charge("mood", "gpt", "serve", "original", Usage(input=10, output=2), 0.1, incumbent=True))
    Ledger(store).add(tally)
    assert registry.snapshot().tasks["mood"].incumbent == (1, 10, 0, 2, 4)


@pytest.mark.parametrize("ends", ["a new one is wanted", "it is under way", "it fails"])
def test_a_recompile_lets_a_proven_tasks_card_serve_no_more_than_it_did(registry, ends):
    registry.declare({"mood": (MOOD, [])}, "config")
    registry.publish(card_of(MOOD), stage="ramping", traffic=0.3)
    registry.reopen("mood")
    if ends != "a new one is wanted":
        registry.compiling("mood", MOOD.definition())
    if ends == "it fails":
        registry.keep("mood", MOOD.definition(), "the meta model refused", 60)
    view = registry.snapshot().tasks["mood"]
    assert view.compiled is not None
    assert view.state.traffic == 0.3


def test_what_people_said_is_no_change_of_the_wording(registry, store):
    registry.declare({"mood": (MOOD, [])}, "config")
    registry.publish(card_of(MOOD))
    store.put("said:mood", {"paused": "a complaint"})
    view = registry.snapshot().tasks["mood"]
    assert (view.stage, view.reason, view.state.stage) == ("paused", "a complaint", "live")
    assert view.compiled is not None


def test_a_correction_goes_among_examples_out_of_the_traffic_and_never_among_a_users_own(registry, monkeypatch):
    given, told = [Example("a", "good"), Example("b", "good")], Example("a", "bad")
    registry.declare({"mood": (MOOD, given)}, "config")
    assert not registry.correct("mood", told)
    assert registry.examples("mood") == given
    assert not registry.correct("unknown", told)

    registry.add_examples("mood", given)
    assert registry.correct("mood", told) and registry.correct("mood", Example("c", "bad"))
    assert registry.examples("mood") == [told, given[1], Example("c", "bad")]
    monkeypatch.setattr("compiler.registry.MOST_EXAMPLES", 2)
    assert registry.correct("mood", Example("d", "bad"))
    assert [example.input for example in registry.examples("mood")] == ["c", "d"]
