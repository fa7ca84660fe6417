"""What a proof costs, by the upstream's own log: pairs, judgements and the judge's calibration together."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from compiler.calibrate import ENOUGH
from compiler.llm import Llm
from compiler.models import Models
from compiler.observation import Observation
from compiler.proof import Proof, Proofs
from compiler.prover import Prover
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import Contract
from tests.compiler.moods import MOOD, card_of, terms, texts
from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream
from tests.judging import prefers

RICH = 50.0


pytestmark = pytest.mark.usefixtures("proofs_at_once")


@pytest.fixture
async def llm(models: Models, store: Store, fake: FakeUpstream) -> AsyncIterator[Llm]:
    """Every answer to a text differs in its words, so that all of them are judged."""

    def answer(body: Any) -> str:
        return f"It says {body['messages'][-1]['content']}. That is all of it."

    registry = Registry(store)
    registry.declare({"mood": (MOOD, [])}, "config")
    registry.publish(card_of(MOOD, contract=Contract("text")), stage="shadowing", traffic=0.0)
    fake.answers |= {"fake-strong": answer, "fake-nano": lambda body: answer(body).replace("That", "This")}
    fake.answers["fake-mini"] = prefers(lambda a, b: ("is all of it" in a) - ("is all of it" in b))
    async with Llm(replace(models, judge="fake-mini"), store, usd_per_day=RICH) as llm:
        yield llm


def spoken(number: int, first: int = 0) -> list[Observation]:
    """Answered otherwise than the app's own model would answer a second time."""
    return [
        replace(one, answer=f"It says text {n}, it does. That is all of it.")
        for n, one in enumerate(texts(number, first), first)
    ]


async def step(prover: Prover, times: int = 12) -> None:
    for _ in range(times):
        await prover.step()


def proof_of(store: Store) -> Proof:
    found = Proofs(store).get("mood")
    assert found
    return found


def spent(fake: FakeUpstream) -> float:
    return sum(c.input * PRICES[c.model]["input"] + c.output * PRICES[c.model]["output"] for c in fake.calls) / 1e6


@pytest.mark.parametrize("cap", [0.005, 0.02])
@pytest.mark.parametrize("whose", ["usd_per_day", "usd_of_all"])
async def test_what_a_tasks_proof_and_all_proofs_may_cost_in_a_day_holds_for_all_their_calls_together(
    llm, store, observations, fake, whose, cap
):
    prover = Prover(store, observations, llm, terms(**{whose: lambda task: cap}))
    await prover.step()
    observations.add(spoken(150))
    await step(prover, 40)
    assert 0.5 * cap < spent(fake) <= cap
    assert proof_of(store).pairs < 150


async def test_a_calibration_whose_money_ended_goes_on_where_it_was_whatever_was_asked_meanwhile(
    llm, store, observations, fake
):
    cap = RICH
    prover = Prover(store, observations, llm, terms(usd_per_day=lambda task: cap))
    await prover.step()
    observations.add(spoken(48))
    await step(prover, 6)
    assert proof_of(store).pairs == 48
    for first in (48, 248):  # more than are looked at, each time
        cap = spent(fake) + 0.02
        observations.add(spoken(200, first))
        await step(prover, 4)
    assert fake.calls_to("fake-strong") and proof_of(store).kappa is None
    cap = RICH
    await step(prover, 2)
    assert proof_of(store).kappa is not None
    assert len(fake.calls_to("fake-strong")) == ENOUGH


async def test_variants_of_one_task_share_what_it_may_cost(llm, store, observations):
    prover = Prover(store, observations, llm, terms())
    purposes = [prover._purpose(replace(MOOD, name=name), "shadow", name) for name in ("mood", "mood~de", "mood~en")]
    assert len({purpose.account for purpose in purposes}) == 1
    assert len({purpose.scope for purpose in purposes}) == 3
