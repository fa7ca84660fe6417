import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from compiler.card import Sealed
from compiler.llm import Llm
from compiler.models import Models
from compiler.observation import Observation, Observations
from compiler.proof import ENOUGH_TIMES, Proof, Proofs
from compiler.prover import Prover
from compiler.recognition.discovery import Discovery
from compiler.recognition.structure import CHAT, structure_key
from compiler.registry import Registry, TaskState
from compiler.rollout import Rollout
from compiler.score import Scoring
from compiler.store import Store
from compiler.task import Contract
from tests.compiler.moods import MOOD, card_of, mood, right, seen, terms, texts, until_idle
from tests.fake_upstream import Fault
from tests.judging import prefers
from tests.learned import TOXIC, some

pytestmark = pytest.mark.usefixtures("proofs_at_once")


@pytest.fixture
async def llm(models: Models, store: Store) -> AsyncIterator[Llm]:
    async with Llm(models, store, usd_per_day=50) as llm:
        yield llm


@pytest.fixture
def prover(store: Store, observations: Observations, llm: Llm) -> Callable[..., Prover]:
    return lambda **more: Prover(store, observations, llm, terms(**more))


@pytest.fixture
def registry(store: Store) -> Registry:
    registry = Registry(store)
    registry.declare({"mood": (MOOD, [])}, "config")
    return registry


async def proven(prover: Prover, store: Store, observations: Observations, found: list[Observation]) -> Proof:
    """The proof is begun before what is recorded comes."""
    await prover.step()
    observations.add(found)
    await until_idle(prover)
    proof = Proofs(store).get("mood")
    assert proof
    return proof


@pytest.fixture
def shadowing(registry: Registry) -> TaskState:
    registry.publish(card_of(MOOD), stage="shadowing", traffic=0.0)
    return registry.state("mood")


async def test_every_request_that_comes_after_the_card_is_compared_once(
    prover, store, observations, registry, shadowing, fake
):
    fake.answers["fake-nano"] = right
    observations.add(texts(30, 1_000))  # the card may have been made from these
    proof = await proven(prover(), store, observations, texts(40))
    assert proof.outcomes == {"same": 40}
    asked = [call.json["messages"][-1]["content"] for call in fake.calls]
    assert sorted(asked) == sorted(f"text {n}" for n in range(40))
    assert {call.json["messages"][0]["content"] for call in fake.calls} == {"Say good or bad."}
    await until_idle(prover())  # another learner, later
    assert len(fake.calls) == 40


async def test_as_good_a_card_comes_to_serve_all_but_the_control_group(
    prover, store, observations, registry, shadowing, fake
):
    fake.answers["fake-nano"] = right
    stages = []
    one = prover()
    await one.step()
    for n in range(0, 700, 50):
        observations.add(texts(50, n))
        await until_idle(one)
        stages.append((registry.state("mood").stage, round(registry.state("mood").traffic, 2)))
    assert [stage for stage, _ in stages] == ["shadowing"] + ["ramping"] * 11 + ["live"] * 2
    traffic = [share for _, share in stages]
    assert traffic == sorted(traffic) and set(traffic[3:12]) == {0.5} and traffic[-1] == 0.98
    assert "worse, 95 % sure" in registry.state("mood").reason


async def test_a_worse_card_is_kept_and_says_why(prover, store, observations, registry, shadowing, fake):
    fake.answers["fake-nano"] = lambda body: "bad" if right(body) == "good" else "good"
    proof = await proven(prover(), store, observations, texts(60))
    state = registry.state("mood")
    assert (state.stage, state.traffic, state.version) == ("kept", 0.0, 1)
    assert "worse than your model by more than the margin" in state.reason
    assert proof.pairs < 20 and state.retry_at > time.time() + 50


async def test_a_card_that_gets_worse_is_paused_and_a_person_takes_it_up_again(
    prover, store, observations, registry, shadowing, fake
):
    fake.answers["fake-nano"] = right
    one = prover()
    await proven(one, store, observations, texts(300))
    assert registry.state("mood").traffic > 0.4
    fake.answers["fake-nano"] = lambda body: "bad" if right(body) == "good" else "good"
    observations.add(texts(60, 300))
    await until_idle(one)
    assert (registry.state("mood").stage, registry.state("mood").traffic) == ("paused", 0.0)
    fake.answers["fake-nano"] = right
    Rollout(store).resume("mood", who="ada")
    proof = await proven(one, store, observations, texts(20, 400))
    assert (proof.pairs, proof.evidence.k, registry.state("mood").stage) == (20, 2, "shadowing")


async def test_in_mode_manual_a_person_lets_it_serve_as_much_as_they_say(
    prover, store, observations, registry, shadowing, fake
):
    fake.answers["fake-nano"] = right
    one = prover(mode=lambda task: "manual")
    await proven(one, store, observations, texts(300))
    assert registry.state("mood").traffic == 0 and "cuecard approve" in registry.state("mood").reason
    Rollout(store).approve("mood", most=0.1, who="ada", control=0.02)
    observations.add(texts(8, 300))
    await until_idle(one)
    assert registry.state("mood").traffic == 0.1


async def test_in_mode_observe_nothing_is_asked(prover, store, observations, registry, shadowing, fake):
    one = prover(mode=lambda task: "observe")
    await one.step()
    observations.add(texts(20))
    await until_idle(one)
    assert fake.calls == []


async def test_killed_in_the_middle_it_loses_no_pair_and_counts_none_twice(
    prover, store, observations, registry, shadowing, fake
):
    fake.answers["fake-nano"] = right
    await prover().step()
    observations.add(texts(40))
    for calls in (3, 11, 20, 33):
        running = asyncio.create_task(until_idle(prover()))
        await fake.wait_for(calls)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await until_idle(prover())
    proof = Proofs(store).get("mood")
    assert proof and proof.outcomes == {"same": 40}
    assert len(fake.calls) <= 40 + 4 * 8, "at most those in flight are paid twice"


async def test_an_outage_of_the_candidate_counts_for_nothing(prover, store, observations, registry, shadowing, fake):
    fake.answers["fake-nano"] = Fault.respond(503)
    one = prover()
    await one.step()
    observations.add(texts(20))
    for _ in range(5):
        await one.step()
    proof = Proofs(store).get("mood")
    assert proof and proof.pairs == 0
    fake.answers["fake-nano"] = right
    await until_idle(one)
    proof = Proofs(store).get("mood")
    assert proof and proof.outcomes == {"same": 20}


async def test_a_request_that_the_candidate_always_refuses_holds_nobody_up(
    prover, store, observations, registry, shadowing, fake
):
    def refusing(body: Any) -> Any:
        return Fault.respond(400) if body["messages"][-1]["content"] == "text 5" else right(body)

    fake.answers["fake-nano"] = refusing
    one = prover()
    await one.step()
    observations.add(texts(20))
    for _ in range(12):
        await one.step()
    proof = Proofs(store).get("mood")
    assert proof and proof.outcomes == {"same": 19, "fallback": 1}


async def test_a_cap_is_kept_and_what_waits_is_compared_when_there_is_money_again(
    prover, store, observations, registry, shadowing, fake
):
    fake.answers["fake-nano"] = right
    poor = prover(usd_per_day=lambda task: 0.0004)
    await poor.step()
    observations.add(texts(20))
    for _ in range(5):
        await poor.step()
    proof = Proofs(store).get("mood")
    assert proof and 0 < proof.pairs < 20
    prices = {"fake-nano": (0.1, 0.4)}
    spent = sum(c.input * prices[c.model][0] + c.output * prices[c.model][1] for c in fake.calls) / 1e6
    assert spent <= 0.0004
    await until_idle(prover())
    proof = Proofs(store).get("mood")
    assert proof and proof.outcomes == {"same": 20}


async def test_another_snapshot_of_the_apps_model_is_another_proof(
    prover, store, observations, registry, shadowing, fake
):
    fake.answers["fake-nano"] = right
    one = prover()
    await proven(one, store, observations, texts(200))
    assert registry.state("mood").traffic > 0
    newer = [replace(found, model="fake-strong-2") for found in texts(40, 200)]
    observations.add(newer)
    await until_idle(one)
    await until_idle(one)
    proof = Proofs(store).get("mood")
    assert proof and proof.evidence.k == 2 and registry.state("mood").traffic == 0


async def test_what_costs_as_much_as_the_apps_model_is_kept(prover, store, observations, registry, shadowing, fake):
    fake.answers["fake-nano"] = right
    proof = await proven(prover(), store, observations, [replace(one, cost=1e-9) for one in texts(120)])
    assert proof.priced >= 100
    assert "saves nothing" in registry.state("mood").reason


async def test_slower_than_the_apps_model_it_serves_nothing(prover, store, observations, registry, shadowing, fake):
    fake.answers["fake-nano"] = right
    await proven(prover(), store, observations, [replace(one, seconds=-1.0) for one in texts(200)])
    assert registry.state("mood").traffic == 0 and "slower" in registry.state("mood").reason


async def test_once_there_are_enough_times_pairs_are_asked_at_the_flex_tier_but_one_in_ten(
    models, store, observations, registry, shadowing, fake
):
    fake.answers["fake-nano"] = right
    async with Llm(replace(models, flex=frozenset({"fake-nano"})), store, usd_per_day=50) as llm:
        proof = await proven(Prover(store, observations, llm, terms()), store, observations, texts(200))
    tiers = [call.json.get("service_tier") for call in fake.calls]
    assert set(tiers[:ENOUGH_TIMES]) == {None}
    timed = tiers.count(None)
    assert 200 - tiers.count("flex") == timed == len(proof.seconds)
    assert ENOUGH_TIMES + 10 <= timed <= ENOUGH_TIMES + 8 + 17
    assert proof.usd[1] == pytest.approx(sum(call.input * 0.1 + call.output * 0.4 for call in fake.calls) / 1e6)


async def test_calls_of_tools_are_compared_by_name_and_arguments(prover, store, observations, registry, fake):
    task = replace(MOOD, contract=Contract("tool_call"))
    registry.declare({"mood": (task, [])}, "config")
    registry.publish(card_of(task, contract=Contract("tool_call")), stage="shadowing", traffic=0.0)

    def called(text: str, spaces: str = "") -> list[dict[str, Any]]:
        function = {"name": "feel", "arguments": f'{{"mood":{spaces} "{mood(text)}"}}'}
        return [{"id": "call_1", "type": "function", "function": function}]

    tools = [{"type": "function", "function": {"name": "feel"}}]
    fake.answers["fake-nano"] = lambda body: {
        "content": None, "tool_calls": called(body["messages"][-1]["content"], "  "),
    }  # fmt: skip
    asked = [
        replace(
            one,
            answer="",
            tool_calls=called(one.request["messages"][-1]["content"]),
            request={**one.request, "tools": tools},
        )
        for one in texts(40)
    ]
    proof = await proven(prover(), store, observations, asked)
    assert proof.outcomes == {"same": 40}
    assert {json.dumps(call.json["tools"]) for call in fake.calls} == {json.dumps(tools)}


async def test_free_text_waits_until_its_judge_is_known_to_see_a_loss(
    prover, store, observations, registry, models, fake
):
    def answer(body: Any) -> str:
        return f"It says {body['messages'][-1]['content']}. That is all of it."

    registry.publish(card_of(MOOD, contract=Contract("text")), stage="shadowing", traffic=0.0)
    fake.answers |= {"fake-strong": answer, "fake-nano": lambda body: answer(body).replace("That", "This")}
    fake.answers["fake-mini"] = prefers(lambda a, b: ("is all of it" in a) - ("is all of it" in b))
    spoken = [replace(one, answer=f"It says text {n}. That is all of it.") for n, one in enumerate(texts(150))]
    async with Llm(replace(models, judge="fake-mini"), store, usd_per_day=50) as llm:
        one = Prover(store, observations, llm, terms())
        proof = await proven(one, store, observations, spoken)
    assert proof.outcomes == {"judged": 150}
    assert proof.kappa is not None and 0 < proof.kappa < 1
    assert proof.bound > proof.evidence.bound()


async def test_an_expected_answer_decides_a_pair_that_is_still_to_come_and_no_other(
    prover, store, observations, registry, shadowing, fake
):
    def expect(n: int, expected: str) -> None:
        position, _ = [*observations.since()][n]
        observations.expect(position, expected)

    fake.answers["fake-nano"] = lambda body: "bad"
    one = prover()
    await one.step()
    observations.add([seen(f"text {n}", "good") for n in range(3)])
    for n, expected in enumerate(("bad", "good")):  # the card is right, your model is right; of the third nobody says
        expect(n, expected)
    await until_idle(one)
    proof = Proofs(store).get("mood")
    assert proof and proof.outcomes == {"expected": 2, "different": 1}
    assert proof.evidence.loss.to_json() == [(-1024, 2**20), (1024, 2 * 2**20)]
    expect(2, "bad")
    await until_idle(prover())
    again = Proofs(store).get("mood")
    assert again and again.outcomes == proof.outcomes


# Tasks that nobody declared


async def test_a_recognised_task_that_is_worth_it_is_taken_up_with_what_was_answered(
    prover, store, observations, registry
):
    observations.add(some(TOXIC, 30))
    Discovery(store, observations).step()
    await prover().step()
    (task,) = registry.adopted().values()
    assert (task.trust, task.recognised, task.incumbent, task.system) == ("proven", True, "fake-strong", None)
    assert "Decide whether the comment is toxic" in task.description
    examples = registry.examples(task.name)
    assert len(examples) == 30 and {example.expected for example in examples} == {"yes"}
    assert registry.wanted() == [task.name]


async def test_what_goes_on_as_a_conversation_is_left_alone_also_once_it_was_taken_up(
    prover, store, observations, registry, monkeypatch
):
    monkeypatch.setattr("compiler.prover.LOOK", 0.0)
    observations.add(some(TOXIC, 30))
    Discovery(store, observations).step()
    one = prover()
    await one.step()
    assert len(registry.adopted()) == 1
    later = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "Why?"}]
    for found in some(TOXIC, 3):
        body = {**found.request, "messages": [*found.request["messages"], *later]}
        structure = structure_key("default", CHAT, body)
        observations.add([replace(found, request=body, structure=structure)])
    await one.step()
    assert registry.adopted() == {}


@pytest.mark.parametrize(
    "more",
    [{"worth": lambda task: "not worth it"}, {"mode": lambda task: "observe"}, {"min_examples": 50}],
    ids=["not worth it", "mode observe", "too few"],
)
async def test_what_is_not_worth_it_or_not_to_be_touched_is_left_alone(prover, store, observations, registry, more):
    observations.add(some(TOXIC, 30))
    Discovery(store, observations).step()
    await prover(**more).step()
    assert registry.adopted() == {} and registry.wanted() == []


async def test_a_declared_task_is_compiled_from_its_traffic_where_it_has_no_examples(
    prover, store, observations, registry
):
    observations.add(texts(30))
    await prover().step()
    assert registry.wanted() == ["mood"] and len(registry.examples("mood")) == 30


async def test_a_proof_opens_with_what_the_compile_saw_of_sealed_traffic(prover, store, observations, registry, fake):
    fake.answers["fake-nano"] = right
    scoring = Scoring("label")
    card = replace(card_of(MOOD), scoring=scoring, sealed=tuple([Sealed(0.0, "same", "good")] * 36), looks=1)
    registry.publish(card, stage="shadowing", traffic=0.0)
    proof = await proven(prover(), store, observations, texts(14))
    assert proof.pairs == 50 and proof.outcomes == {"same": 50}
    assert proof.evidence.k == 1


async def test_sealed_examples_compared_by_other_rules_open_no_proof(prover, store, observations, registry, fake):
    fake.answers["fake-nano"] = right
    card = replace(card_of(MOOD), scoring=Scoring("label", "another"), sealed=tuple([Sealed(0.0, "same", "good")] * 36))
    registry.publish(card, stage="shadowing", traffic=0.0)
    assert (await proven(prover(), store, observations, texts(14))).pairs == 14
