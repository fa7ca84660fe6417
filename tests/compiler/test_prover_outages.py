"""What a proof makes of models that do not answer: an outage counts for nothing, whoever has it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from compiler.errors import ModelFailed
from compiler.example import Example
from compiler.llm import Llm, Purpose
from compiler.models import Models
from compiler.observation import Observations
from compiler.proof import Proof, Proofs
from compiler.prover import Prover
from compiler.recognition.structure import CHAT, structure_key
from compiler.registry import Registry
from compiler.score import Scoring
from compiler.search import compile
from compiler.store import Store
from compiler.task import Contract
from tests.compiler.moods import MOOD, card_of, mood, right, seen, terms, texts, until_idle
from tests.fake_upstream import Fault
from tests.judging import says

JUDGE = "fake-mini"
OBJECT = Contract("json", keys=("mood",))


pytestmark = pytest.mark.usefixtures("proofs_at_once")


@pytest.fixture
def registry(store: Store) -> Registry:
    registry = Registry(store)
    registry.declare({"mood": (MOOD, [])}, "config")
    return registry


@pytest.fixture
async def judged(store: Store, observations: Observations, models: Models) -> AsyncIterator[Prover]:
    """With a judge."""
    async with Llm(replace(models, judge=JUDGE), store, usd_per_day=50) as llm:
        yield Prover(store, observations, llm, terms())


def proof_of(store: Store) -> Proof:
    proof = Proofs(store).get("mood")
    assert proof
    return proof


def differs(body: Any) -> bool:
    return int(body["messages"][-1]["content"].split()[1]) % 4 == 2


def object_of(text: str) -> str:
    return f'{{"mood": "{mood(text)}"}}'


def candidate(body: Any) -> str:
    """Says one in four in other words."""
    found = object_of(body["messages"][-1]["content"])
    return found.replace('"}', '!"}') if differs(body) else found


async def test_an_outage_of_the_judge_counts_for_nothing_also_where_most_pairs_need_none(
    judged, store, observations, registry, fake
):
    registry.publish(card_of(MOOD, contract=OBJECT), stage="shadowing", traffic=0.0)
    fake.answers |= {"fake-nano": candidate, JUDGE: says("TIE")}
    recorded = [replace(one, answer=object_of(f"text {n}")) for n, one in enumerate(texts(60))]
    await judged.step()
    observations.add(recorded[:20])
    await until_idle(judged)
    assert proof_of(store).outcomes == {"same": 15, "judged": 5}

    fake.answers[JUDGE] = Fault.respond(503)
    observations.add(recorded[20:])
    for _ in range(20):
        await judged.step()
    assert proof_of(store).outcomes == {"same": 17, "judged": 5}, "up to the first that needs a judge"
    fake.answers[JUDGE] = says("TIE")
    await until_idle(judged)
    assert proof_of(store).outcomes == {"same": 45, "judged": 15}
    shadows = [call.body for call in fake.calls_to("fake-nano")]
    assert len(shadows) == len(set(shadows)) == 60, "what was answered is not asked again"


async def test_a_pair_that_its_judge_never_answers_is_no_outage_and_counts_as_worse(
    judged, store, observations, registry, fake
):
    def judge(body: Any) -> Any:
        return Fault.respond(400) if "text 6\n" in body["messages"][-1]["content"] else says("TIE")

    registry.publish(card_of(MOOD, contract=OBJECT), stage="shadowing", traffic=0.0)
    fake.answers |= {"fake-nano": candidate, JUDGE: judge}
    await judged.step()
    observations.add([replace(one, answer=object_of(f"text {n}")) for n, one in enumerate(texts(40))])
    for _ in range(40):
        await judged.step()
    assert proof_of(store).outcomes == {"same": 30, "judged": 9, "unjudged": 1}


async def test_an_outage_that_begins_among_a_batch_of_answers_counts_for_nothing(
    judged, store, observations, registry, fake
):
    """Those behind the first that failed are known already: that they come through again says nothing of now."""
    registry.publish(card_of(MOOD), stage="shadowing", traffic=0.0)
    down = False

    def nano(body: Any) -> Any:
        return Fault.respond(503) if down or body["messages"][-1]["content"] == "text 0" else right(body)

    fake.answers["fake-nano"] = nano
    await judged.step()
    observations.add(texts(8))
    await judged.step()
    down = True
    observations.add(texts(40, 8))
    for _ in range(20):
        await judged.step()
    assert proof_of(store).pairs == 0
    fake.answers["fake-nano"] = right
    await until_idle(judged)
    assert proof_of(store).outcomes == {"same": 48}


@pytest.mark.parametrize("judge", ["fake-mini", "fake-nano", "fake-strong", "fake-unheard-of", None])
async def test_a_proof_compares_as_its_card_says(store, observations, registry, models, fake, judge):
    """No arm and no model without a price judges: then every difference is a loss."""
    fake.answers["fake-strong"] = "<prompt>Say good or bad.</prompt>"
    configured = replace(models, judge=judge)
    async with Llm(configured, store, usd_per_day=50) as llm:
        card = await compile(MOOD, [Example("text 1", "good")] * 2, configured, llm=llm)
        registry.publish(card, stage="shadowing", traffic=0.0)
        await Prover(store, observations, llm, terms()).step()
    assert proof_of(store).scoring == card.scoring
    assert card.scoring == (Scoring("label", judge, "judge.v1") if judge == "fake-mini" else Scoring("label"))


async def test_a_declared_task_that_turns_out_to_be_a_conversation_serves_no_more(
    judged, store, observations, registry, fake
):
    """Its card is not watched any longer either."""
    registry.publish(card_of(MOOD), stage="live", traffic=0.9)
    fake.answers["fake-nano"] = right
    await judged.step()
    observations.add(texts(8))
    await until_idle(judged)
    registry.set_state("mood", replace(registry.state("mood"), stage="live", traffic=0.9))
    for number in range(3):
        found = seen(f"text {number}", "good")
        later = [{"role": "assistant", "content": "good"}, {"role": "user", "content": "Why?"}]
        body = {**found.request, "messages": [*found.request["messages"], *later]}
        observations.add([replace(found, request=body, structure=structure_key("default", CHAT, body))])
    await judged.step()
    state = registry.state("mood")
    assert (state.stage, state.traffic) == ("kept", 0.0) and "conversations" in state.reason


@pytest.mark.parametrize("fault", [Fault.respond(503), Fault.respond(200, body="<html>"), Fault.respond(400)])
async def test_who_failed_is_told_and_who_answered_anew_is_counted(llm, fake, fault):
    purpose, asked = Purpose("mood", "shadow", scope="proof:mood@1:x", cap_usd=1.0), [{"role": "user", "content": "x"}]
    fake.answers[JUDGE] = fault
    with pytest.raises(ModelFailed) as failed:
        await llm.ask(JUDGE, asked, purpose, max_tokens=5)
    assert (failed.value.model, llm.answered) == (JUDGE, {})
    fake.answers[JUDGE] = says("TIE")
    for _ in range(2):  # the second time it is kept
        await llm.ask(JUDGE, asked, purpose, max_tokens=50)
    assert llm.answered == {JUDGE: 1}
