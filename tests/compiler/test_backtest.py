"""A card proven in one go on recorded requests: when it ends, and what it was paid for."""

import math
from dataclasses import replace

import pytest

from compiler.backtest import PROBES, Backtest, verdict
from compiler.errors import BudgetExceeded, ModelFailed
from compiler.evidence import Evidence
from compiler.judge import scoring_of
from compiler.llm import Llm, Purpose
from compiler.observation import input_of
from compiler.proof import Proof
from compiler.score import Scored
from compiler.task import Contract
from tests.compiler.moods import LABELS, MOOD, card_of, mood, right, texts
from tests.fake_upstream import Fault
from tests.proven import ran

pytestmark = pytest.mark.usefixtures("retries_at_once")
PRICES = {"fake-nano": (0.1, 0.4), "fake-mini": (0.4, 1.6), "fake-strong": (5.0, 30.0)}


def backtest(llm, store, number=200, *, margin=0.05, usd=1.0, k=1, contract=LABELS) -> Backtest:
    purpose = Purpose("mood", "shadow", "prove:log:mood", usd, account="prove:log")
    return Backtest(llm, store, MOOD, card_of(MOOD, contract=contract), texts(number), 20, margin, k, purpose)


def asked(body):
    return body["messages"][-1]["content"]


def some_wrong(*wrong: int):
    return lambda body: other(right(body)) if asked(body) in {f"text {n}" for n in wrong} else right(body)


def other(answer):
    return "bad" if answer == "good" else "good"


def billed(fake) -> float:
    return sum(call.input * PRICES[call.model][0] + call.output * PRICES[call.model][1] for call in fake.calls) / 1e6


async def test_it_ends_as_soon_as_the_bound_is_within_the_margin(llm, store, fake):
    fake.answers["fake-nano"] = right
    one = backtest(llm, store)
    ended = await one.run()
    assert (ended.end, ended.reason) == ("proven", "at most 4.7 % worse (95 % sure)")
    assert one.left > 0 and len(fake.calls) == one.proof.pairs < 180
    assert {asked(call.json) for call in fake.calls} == {f"text {n}" for n in range(20, 20 + one.proof.pairs)}


async def test_a_later_proof_of_the_task_takes_more_pairs(llm, store, fake):
    fake.answers["fake-nano"] = right
    first, third = backtest(llm, store), backtest(llm, store, k=3)
    await first.run()
    await third.run()
    assert third.proof.pairs > first.proof.pairs


async def test_it_ends_as_soon_as_it_is_clearly_worse_and_shows_where(llm, store, fake):
    fake.answers["fake-nano"] = "good"
    one = backtest(llm, store)
    ended = await one.run()
    assert ended.end == "worse" and one.proof.pairs < 40
    assert {mood(input_of(differed.observation)) for differed in one.worst} == {"bad"}
    assert one.worst[0].ran.answer == "good"


async def test_too_few_pairs_are_said_with_how_many_it_would_take(llm, store, fake):
    fake.answers["fake-nano"] = some_wrong(30, 90)
    one = backtest(llm, store, 140)
    ended = await one.run()
    assert ended.end == "unsure"
    assert ended.wanted and one.proof.pairs < ended.wanted
    assert f"it needs about {math.ceil(ended.wanted) - one.proof.pairs} more" in ended.reason


async def test_once_the_rest_can_not_decide_it_no_more_is_paid(llm, store, fake):
    fake.answers["fake-nano"] = some_wrong(*range(20, 130, 7))
    one = backtest(llm, store, 130, margin=0.2)
    ended = await one.run()
    assert ended.end in ("unsure", "worse") and one.left > 0


async def test_begun_again_it_pays_for_the_rest_only_and_says_the_same(llm, store, fake):
    fake.answers["fake-nano"] = some_wrong(30, 40)
    short = backtest(llm, store, 100)
    await short.run()
    asked_before = len(fake.calls)
    again = backtest(llm, store, 100)
    assert await again.run() == await backtest(llm, store, 100).run()
    assert len(fake.calls) == asked_before
    longer = backtest(llm, store, 200)
    await longer.run()
    assert len(fake.calls) == longer.proof.pairs


@pytest.mark.parametrize("usd", [0.0002, 0.0003])
async def test_the_cap_is_never_passed(llm, store, fake, usd):
    fake.answers["fake-nano"] = right
    with pytest.raises(BudgetExceeded) as stopped:
        await backtest(llm, store, usd=usd).run()
    assert stopped.value.account == "prove:log"
    assert 0 < billed(fake) <= usd


async def test_an_account_that_every_call_is_paid_from_holds_for_all(models, store, fake):
    fake.answers["fake-nano"] = right
    async with Llm(models, store, usd_per_day=5, shared={"all": 0.0003}) as llm:
        with pytest.raises(BudgetExceeded) as stopped:
            await backtest(llm, store).run()
    assert stopped.value.account == "all"
    assert billed(fake) <= 0.0003


async def test_a_card_that_saves_nothing_does_not_pass(llm, store, fake):
    fake.answers["fake-nano"] = right
    one = backtest(llm, store)
    one.observed = [replace(observation, cost=1e-9) for observation in one.observed]
    ended = await one.run()
    assert ended.end == "dear" and ended.reason.startswith("saves nothing")


async def test_a_dead_upstream_is_no_verdict(llm, store, fake):
    answered: list[str] = []

    def dying(body):
        answered.append(asked(body))
        return right(body) if len(answered) <= 28 else Fault.respond(503)

    fake.answers["fake-nano"] = dying
    one = backtest(llm, store)
    with pytest.raises(ModelFailed, match="HTTP 503"):
        await one.run()
    assert one.proof.pairs == 24 and not one.proof.outcomes["fallback"]
    fake.answers["fake-nano"] = right
    again = backtest(llm, store)
    assert (await again.run()).end == "proven"


async def test_a_pair_that_its_model_fails_while_it_answers_others_falls_back(llm, store, fake):
    fake.answers["fake-nano"] = lambda body: Fault.respond(400) if asked(body) == "text 30" else right(body)
    one = backtest(llm, store)
    assert (await one.run()).end == "proven"
    assert one.proof.outcomes == {"same": one.proof.pairs - 1, "fallback": 1}
    failed = [call for call in fake.calls if asked(call.json) == "text 30"]
    asked_before = len(fake.calls)
    again = backtest(llm, store)
    await again.run()
    assert again.proof.outcomes == one.proof.outcomes
    assert len(fake.calls) - asked_before == 1 < len(failed), "it is given up at once"
    assert PROBES >= 1


async def test_times_that_the_log_does_not_have_are_not_compared(llm, store, fake):
    fake.answers["fake-nano"] = right
    one = backtest(llm, store)
    one.observed = [replace(observation, seconds=0.0) for observation in one.observed]
    await one.run()
    assert one.proof.seconds == []


# Verdicts by evidence alone


def proof_of(*d: float, margin=0.05, judge=None) -> Proof:
    scoring = scoring_of(Contract("text"), judge)
    proof = Proof("mood@1", scoring, Evidence(margin, 1), kappa=None if judge else 1.0)
    for position, each in enumerate(d, 1):
        scored = Scored(each, "judged") if judge else Scored(each, "different" if each else "same")
        proof.add(ran(position)._replace(scored=scored, label=None))
    return proof


def test_nothing_is_said_while_pairs_may_decide_it():
    assert verdict(proof_of(*[0.0] * 40), left=200) is None
    assert verdict(proof_of(*[0.0] * 40), left=0).end == "unsure"  # type: ignore[union-attr]


def test_of_a_few_pairs_nobody_says_that_the_rest_is_too_little():
    few = [1.0, *[0.0] * 20]
    assert verdict(proof_of(*few), left=100) is None
    assert verdict(proof_of(*few, *[0.0] * 29), left=100).end == "unsure"  # type: ignore[union-attr]


def test_where_more_pairs_like_these_would_not_help_it_says_so():
    ended = verdict(proof_of(*[1.0, *[0.0] * 12] * 5), left=0)
    assert ended and ended.wanted == float("inf")
    assert ended.reason.endswith("more like them would not help: 7.7 % is lost on 65 pairs, of 5 % that may be")


def test_a_judge_that_is_blind_proves_nothing():
    seen = proof_of(*[0.0] * 300, judge="fake-mini")
    seen.kappa = 0.3
    ended = verdict(seen, left=100)
    assert ended and (ended.end, "can't tell good answers" in ended.reason) == ("broken", True)
