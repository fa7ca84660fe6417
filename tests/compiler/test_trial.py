"""A card tried because a person asked: on the newest inputs, within a cap, and in no evidence."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from compiler.errors import BudgetExceeded, ModelBusy, ModelFailed
from compiler.example import Example
from compiler.judge import Judge, secret
from compiler.ledger import Ledger
from compiler.llm import Llm, Purpose
from compiler.observation import Observations, input_of
from compiler.program import Prompt
from compiler.proof import Proofs
from compiler.registry import Registry
from compiler.shadow import Shadow
from compiler.task import Contract, Task
from compiler.trial import AT_ONCE, Inputs, Trial, inputs_of
from tests.compiler.moods import MOOD, card_of, right, seen, texts
from tests.fake_upstream import Fault
from tests.judging import prefers

PRICES = {"fake-nano": (0.1, 0.4), "fake-mini": (0.4, 1.6)}
SCOPE = "try:mood@1:0123"


@pytest.fixture(autouse=True)
def at_once(retries_at_once: None) -> None:
    pass


@pytest.fixture
def registry(store):
    registry = Registry(store)
    registry.declare({"mood": (MOOD, [])}, "config")
    registry.publish(card_of(MOOD), stage="shadowing", traffic=0.0)
    return registry


@pytest.fixture
def observations(store):
    with Observations(store.folder, retention_days=14) as observations:
        yield observations


def trial(llm, *, usd: float = 1.0, card=None, judge=None) -> Trial:
    card = card or card_of(MOOD)
    return Trial(Shadow(llm, MOOD, card, judge), Purpose("mood", "shadow", SCOPE, usd))


def billed(fake) -> float:
    """By the upstream's own count."""
    return sum(call.input * PRICES[call.model][0] + call.output * PRICES[call.model][1] for call in fake.calls) / 1e6


def booked(store) -> dict[str, float]:
    found: dict[str, float] = {}
    for _, row, sums in Ledger(store).rows():
        found[row.role] = found.get(row.role, 0.0) + sums.cost
    return found


# What it is tried on


def chosen(found: Inputs) -> list[str]:
    return [input_of(one) for one in found.chosen]


def test_the_newest_recorded_inputs_are_taken_and_counted(registry, observations):
    observations.add(texts(30))
    observations.add([replace(one, template="another") for one in texts(5, 100)])
    found = inputs_of(registry, observations, MOOD, card_of(MOOD), 3)
    assert (chosen(found), found.number, found.recorded) == (["text 29", "text 28", "text 27"], 30, True)


def test_what_the_card_shows_as_a_demonstration_is_no_test_of_it(registry, observations):
    observations.add(texts(4))
    card = replace(card_of(MOOD), program=Prompt("Say.", (Example("text 3", "bad"),)))
    assert chosen(inputs_of(registry, observations, MOOD, card, 3)) == ["text 2", "text 1", "text 0"]


def test_where_nothing_is_recorded_the_examples_are_taken_with_what_their_owner_expects(registry, observations):
    registry.declare({"mood": (MOOD, [Example("old", "bad"), Example("new", "good")])}, "config")
    found = inputs_of(registry, observations, MOOD, card_of(MOOD), 5)
    assert (chosen(found), found.number, found.recorded) == (["new", "old"], 2, False)
    assert [(one.answer, one.expected) for one in found.chosen] == [("good", "good"), ("bad", "bad")]
    assert found.chosen[0].request["messages"][0] == {"role": "system", "content": "Tell the mood."}


def test_examples_out_of_the_traffic_are_the_current_models_answers(registry, observations):
    registry.add_examples("mood", [Example("new", "good")])
    (found,) = inputs_of(registry, observations, MOOD, card_of(MOOD), 5).chosen
    assert (found.answer, found.expected) == ("good", None)


def test_without_either_there_is_nothing(registry, observations):
    assert inputs_of(registry, observations, MOOD, card_of(MOOD), 5) == Inputs([], 0, recorded=False)


# The run


async def test_each_input_is_asked_once_as_production_would_ask_it(llm, fake):
    fake.answers["fake-nano"] = lambda body: "bad" if input_asked(body) == "text 5" else right(body)
    one = trial(llm)
    assert await one.run(texts(10)) is None
    outcomes = {input_of(tried.observation): tried.ran.scored.outcome for tried in one.tried if tried.ran}
    assert outcomes == {f"text {n}": "different" if n == 5 and right_of(5) == "good" else "same" for n in range(10)}
    assert {call.json["messages"][0]["content"] for call in fake.calls} == {"Say good or bad."}
    assert len(fake.calls) == 10


def input_asked(body: Any) -> str:
    return body["messages"][-1]["content"]


def right_of(n: int) -> str:
    return right({"messages": [{"content": f"text {n}"}]})


async def test_a_label_that_is_not_the_expected_one_is_wrong_without_a_judge(llm, fake):
    fake.answers["fake-nano"] = "bad"
    one = trial(llm)
    await one.run([replace(seen("hello", "good"), expected="good")])
    (tried,) = one.tried
    assert tried.ran and (tried.ran.scored.d, tried.ran.scored.outcome) == (1.0, "expected")


async def test_it_is_booked_as_shadow_and_judge_and_in_no_evidence(llm, models, store, registry, fake):
    fake.answers |= {"fake-nano": "It says so.", "fake-mini": prefers(lambda a, b: ("so" in a) - ("so" in b))}
    card = card_of(MOOD, contract=Contract("text"))
    llm.models = replace(models, judge="fake-mini")
    judge = Judge(llm, "fake-mini", secret(store), arms=["fake-nano", "fake-strong"])
    one = trial(llm, card=card, judge=judge)
    assert await one.run([replace(found, answer="It says this.") for found in texts(4)]) is None
    assert {tried.ran.scored.outcome for tried in one.tried if tried.ran} == {"judged"}
    assert {tried.ran.scored.said for tried in one.tried if tried.ran} == {"One of them is wrong."}
    assert {*booked(store)} == {"shadow", "judge"}
    assert sum(booked(store).values()) == pytest.approx(billed(fake))
    assert Proofs(store).get("mood") is None and store.keys("proof") == store.keys("diffs:") == []


@pytest.mark.parametrize("cap", [0.00005, 0.00014, 0.0002])
async def test_the_cap_is_never_passed_and_what_is_paid_for_is_shown(llm, store, fake, cap):
    fake.answers["fake-nano"] = right
    one = trial(llm, usd=cap)
    end = await one.run(texts(100))
    assert isinstance(end, BudgetExceeded) and end.scope == "compile"
    assert booked(store).get("shadow", 0.0) == pytest.approx(billed(fake))
    assert billed(fake) <= cap
    assert len(one.tried) == len(fake.calls) < 100


async def test_a_reservation_of_another_call_under_way_is_no_reason_to_stop(llm, fake):
    """The cap has room for one call's most at a time, and for what many cost."""
    fake.answers["fake-nano"] = right
    one = trial(llm, usd=0.00025)
    assert await one.run(texts(8)) is None
    assert len(one.tried) == 8


async def test_an_answer_that_nobody_can_pay_a_judge_for_is_shown_unjudged(llm, models, store, fake):
    fake.answers["fake-nano"] = "It says so."
    llm.models = replace(models, judge="fake-mini")
    judge = Judge(llm, "fake-mini", secret(store), arms=["fake-nano"])
    one = trial(llm, usd=0.0003, card=card_of(MOOD, contract=Contract("text")), judge=judge)
    assert isinstance(await one.run(texts(1)), BudgetExceeded)
    (tried,) = one.tried
    assert tried.ran and (tried.ran.scored.outcome, tried.ran.answer) == ("different", "It says so.")
    assert len(fake.calls_to("fake-nano")) == 1


async def test_the_days_cap_holds_too(models, store, fake):
    fake.answers["fake-nano"] = right
    async with Llm(models, store, usd_per_day=0.00014) as llm:
        end = await trial(llm).run(texts(100))
    assert isinstance(end, BudgetExceeded) and end.scope == "day"
    assert 0 < billed(fake) <= 0.00014


async def test_one_that_fails_is_said_and_the_others_go_on(llm, fake):
    fake.answers["fake-nano"] = lambda body: (
        Fault.respond(400) if input_asked(body) in ("text 1", "text 9") else right(body)
    )
    one = trial(llm)
    assert await one.run(texts(10)) is None
    failed = {input_of(tried.observation): tried.problem for tried in one.tried if not tried.ran}
    assert failed == {"text 1": "fake-nano: HTTP 400", "text 9": "fake-nano: HTTP 400"}
    assert len(one.tried) == 10


async def test_a_dead_upstream_ends_it_early_with_what_there_is(llm, fake):
    fake.answers["fake-nano"] = right
    one = trial(llm)
    one.on_tried = lambda tried: fake.answers.update({"fake-nano": Fault.respond(503)}) if len(one.tried) == 4 else None
    end = await one.run(texts(40))
    assert isinstance(end, ModelFailed) and str(end) == "fake-nano: HTTP 503"
    assert sum(tried.ran is not None for tried in one.tried) == 4
    assert len(one.tried) <= 2 * AT_ONCE


async def test_an_upstream_that_wants_rest_ends_it(llm, fake):
    fake.answers["fake-nano"] = Fault.respond(429)
    one = trial(llm)
    assert isinstance(await one.run(texts(40)), ModelBusy)
    assert one.tried == [] and len(fake.calls) <= AT_ONCE


async def test_stopped_it_has_what_came_through_and_no_answer_stays(llm, store, fake):
    fake.answers["fake-nano"] = lambda body: Fault.stall() if input_asked(body) == "text 6" else right(body)
    one = trial(llm)
    running = asyncio.create_task(one.run(texts(12)))
    await fake.wait_until(lambda: sum(call.done for call in fake.calls) == 7 and len(fake.calls) == 8)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert {input_of(tried.observation) for tried in one.tried} >= {f"text {n}" for n in range(4)}
    assert store.keys("memo:") == []
    spent = llm.budget.spent(f"budget:{SCOPE}")
    assert spent >= billed(fake), "the call that was cut off stays reserved"


async def test_once_requests_are_forgotten_no_more_is_sent(llm, fake):
    fake.answers["fake-nano"] = right
    one = trial(llm)
    one.forgotten = lambda: len(one.tried) > 0
    assert "forgotten meanwhile" in str(await one.run(texts(40)))
    assert len(one.tried) == len(fake.calls) == AT_ONCE


async def test_two_at_once_are_two_purses_and_both_are_booked(llm, store, fake):
    fake.answers["fake-nano"] = right
    one, other = trial(llm), trial(llm)
    other.purpose = replace(other.purpose, scope="try:mood@1:4567")
    assert await asyncio.gather(one.run(texts(10)), other.run(texts(10))) == [None, None]
    assert len(one.tried) == len(other.tried) == 10
    assert booked(store)["shadow"] == pytest.approx(billed(fake))
    assert store.keys("memo:") == []


def test_a_task_is_named_by_its_own_requests_only(registry, observations):
    observations.add(texts(3))
    assert inputs_of(registry, observations, Task("moo", "Another."), card_of(MOOD), 5).chosen == []
