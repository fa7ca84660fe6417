"""Nothing is sent or kept by the prover once a person said so: off, paused, forgotten, renamed; at once."""

from itertools import islice

import pytest

from compiler.llm import Llm
from compiler.observation import FOLDER, Observations
from compiler.proof import Proofs
from compiler.prover import Prover
from compiler.recognition import curating
from compiler.recognition.catalogue import Catalogue
from compiler.recognition.forgetting import forget_task
from compiler.registry import Registry
from compiler.rollout import Rollout
from compiler.terms import Terms
from tests.learned import TOXIC, keep, learn, mails, observed, request, some
from tests.proven import CONTROL, compiled, proven, recognised
from tests.proxy.capturing import decoded

NAME = "decide-whether-comment-toxic"
PLANTED = "Zacharias Quittenbaum"
TERMS = Terms(
    margin=0.02,
    margin_text=0.05,
    control=CONTROL,
    min_examples=10,
    worth=lambda task: None,
    usd_per_day=lambda task: 1.0,
    usd_of_all=lambda task: 50.0,
    calls_per_day=lambda task: 0.0,
    retry_kept_after=60.0,
    concurrency=8,
    mode=lambda task: "auto",
)


@pytest.fixture
async def prover(store, fake, models):
    """Of a task with a card, and a proof that begins behind what it was learned from."""
    learn(store.folder, *some(TOXIC))
    fake.answers["fake-nano"] = "yes"
    async with Llm(models, store, usd_per_day=5.0) as llm:
        with Observations(store.folder, retention_days=14) as observations:
            compiled(store, recognised(NAME))
            prover = Prover(store, observations, llm, TERMS)
            prover._looked = float("inf")  # takes nothing up by itself
            await prover.step()
            yield prover


def ask(store, number=4, text=""):
    keep(store.folder, *(observed(request(TOXIC, f"{text} {mail}")) for mail in islice(mails(), number)))


def pairs(store, name=NAME):
    proof = Proofs(store).get(name)
    return proof.pairs if proof else None


async def test_it_proves_card_by_card(store, prover, fake):
    ask(store)
    assert await prover.step()
    assert (pairs(store), len(fake.calls)) == (4, 4)


async def test_while_off_nothing_is_sent_and_on_again_no_pair_is_lost(store, prover, fake):
    Registry(store).set_off(True)
    ask(store)
    assert not await prover.step()
    assert (pairs(store), fake.calls) == (0, [])
    Registry(store).set_off(False)
    assert await prover.step()
    assert (pairs(store), len(fake.calls)) == (4, 4)


async def test_while_off_no_task_is_taken_up(store, prover, fake):
    prover._looked = 0.0
    Registry(store).drop([NAME])
    Registry(store).set_off(True)
    await prover.step()
    assert (Registry(store).adopted(), Registry(store).wanted()) == ({}, [])
    Registry(store).set_off(False)
    await prover.step()
    assert list(Registry(store).adopted()) == Registry(store).wanted() == [NAME]


async def test_off_holds_for_the_tasks_of_a_round_that_has_begun(store, prover, fake, monkeypatch):
    ask(store)
    views = prover._at_work()
    monkeypatch.setattr(prover, "_at_work", lambda: (Registry(store).set_off(True), views)[1])
    assert not await prover.step()
    assert fake.calls == []


async def test_a_paused_task_costs_nothing(store, prover, fake):
    Rollout(store).pause(NAME, who="anna")
    ask(store)
    assert not await prover.step()
    assert fake.calls == []
    Rollout(store).resume(NAME, who="anna")
    assert await prover.step()
    assert pairs(store) == 4


async def test_a_resumed_task_serves_again_by_what_is_proven_before_another_pair_comes(store, prover, fake):
    proof = proven(store, compiled(store, recognised(NAME)), 300)
    proof.position = prover._recorded.position()
    Proofs(store).put(NAME, proof)
    prover._patience.rest(NAME, float("inf"))
    Rollout(store).pause(NAME, who="anna")
    await prover.step()
    Rollout(store).resume(NAME, who="anna")
    assert Registry(store).state(NAME).traffic == 0.0
    assert not await prover.step()
    assert Registry(store).state(NAME).traffic > 0.5
    assert fake.calls == []


async def test_an_ignored_task_costs_nothing(store, prover, fake):
    ask(store)
    Catalogue(store).ignore([NAME])
    assert not await prover.step()
    assert fake.calls == []


async def under_way(prover, fake, change):
    """`change` falls between the candidate's being asked and its answers."""
    real = prover._enter

    def late(*given):
        change()
        return real(*given)

    prover._enter = late
    await prover.step()
    prover._enter = real


async def test_what_is_under_way_when_its_task_is_forgotten_is_not_kept(store, prover, fake):
    fake.answers["fake-nano"] = f"yes, says {PLANTED}"
    ask(store, text=PLANTED)
    with Observations(store.folder, retention_days=14) as observations:
        await under_way(prover, fake, lambda: forget_task(store, observations, NAME))
    assert len(fake.calls) == 4
    assert (pairs(store), Registry(store).adopted()) == (None, {})
    assert store.keys("memo:") == []
    await prover.step()
    assert (pairs(store), Registry(store).adopted()) == (None, {})
    assert PLANTED not in decoded(store.folder / FOLDER)


async def test_what_is_under_way_when_its_task_is_renamed_is_run_under_the_new_name(store, prover, fake):
    ask(store)
    await under_way(prover, fake, lambda: curating.rename(store, NAME, "moderation"))
    assert (pairs(store), pairs(store, "moderation")) == (None, 0)
    assert await prover.step()
    assert pairs(store, "moderation") == 4
    assert list(Registry(store).adopted()) == ["moderation"]


async def test_a_look_for_tasks_goes_by_no_older_names(store, prover, fake):
    """The rename falls between its reading and its looking."""
    prover._intake.read()
    curating.rename(store, NAME, "moderation")
    prover._intake.take_up()
    assert list(Registry(store).adopted()) == ["moderation"]
    assert Registry(store).wanted() == []
    prover._intake.read()
    prover._intake.take_up()
    assert list(Registry(store).adopted()) == ["moderation"]


async def test_a_look_for_tasks_brings_nothing_back_that_was_just_forgotten(store, prover, fake):
    prover._intake.read()
    with Observations(store.folder, retention_days=14) as observations:
        forget_task(store, observations, NAME)
    prover._intake.take_up()
    assert (Registry(store).adopted(), Registry(store).wanted()) == ({}, [])
