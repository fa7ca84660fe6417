"""What is kept of the pairs that differed: in step with the evidence, bounded, and gone with what it was made of."""

from itertools import islice

import pytest

from compiler.diffs import AT_MOST, MOST_CHARS, Diff, Diffs
from compiler.llm import Llm
from compiler.observation import Observations
from compiler.proof import Proofs
from compiler.prover import Prover
from compiler.recognition import curating
from compiler.recognition.catalogue import Catalogue
from compiler.recognition.forgetting import forget_task, forget_tenant
from compiler.registry import Registry
from compiler.rollout import Rollout
from compiler.task import Task
from tests.compiler.test_proving_stops import NAME, TERMS
from tests.fake_upstream import Fault
from tests.judging import prefers
from tests.learned import SUMMARY, TOXIC, keep, learn, mails, observed, request, some
from tests.proven import compiled, proven, recognised
from tests.proxy.capturing import decoded

PLANTED = "the comment of Zacharias Quittenbaum"
ANSWER = '{"toxic": true}'


def diff(position: int, d: float = 1.0, answer: str = "no") -> Diff:
    return Diff(position, 1_000.0 + position, d, "different" if d else "fallback", "", "", answer)


def kept(store, name=NAME) -> list[int]:
    return [one.position for one in Diffs(store).of(name)]


# The record


def test_the_worst_come_first_and_of_equals_the_newest(store):
    diffs = Diffs(store)
    diffs.add("mood", [diff(1, 0.5), diff(2), diff(3, 0.0)])
    diffs.add("mood", [diff(4), diff(5, -1.0), diff(6, 0.5)])
    assert kept(store, "mood") == [4, 2, 6, 1, 3, 5]
    assert diffs.of("mood")[0] == diff(4)


def test_it_keeps_a_few_however_many_differ_and_of_each_answer_the_beginning(store):
    for at in range(0, 4 * AT_MOST, 10):
        Diffs(store).add("mood", [diff(at + n, answer="long " * 10_000) for n in range(10)])
    assert kept(store, "mood") == [*range(4 * AT_MOST - 1, 3 * AT_MOST - 1, -1)]
    found = Diffs(store).of("mood")
    assert {len(one.answer) for one in found} == {MOST_CHARS}


def test_nothing_is_written_where_nothing_differs(store):
    Diffs(store).add("mood", [])
    assert store.keys("diffs:") == []


# Beside the evidence


@pytest.fixture
def observations(store):
    with Observations(store.folder, retention_days=14) as observations:
        yield observations


@pytest.fixture
async def prover(store, fake, models, observations, retries_at_once):
    """Of a task with a card, and a proof that begins behind what it was learned from."""
    learn(store.folder, *some(TOXIC))
    fake.answers["fake-nano"] = ANSWER
    async with Llm(models, store, usd_per_day=5.0) as llm:
        compiled(store, recognised(NAME))
        yield await begun(Prover(store, observations, llm, TERMS))


async def begun(prover: Prover) -> Prover:
    prover._looked = float("inf")  # takes nothing up by itself
    await prover.step()
    return prover


def ask(store, number=4, answer=ANSWER, text="", skip=0):
    found = islice(mails(), skip, skip + number)
    keep(store.folder, *(observed(request(TOXIC, f"{text} {mail}"), answer=answer) for mail in found))


def asked(body):
    return body["messages"][-1]["content"]


async def test_a_pair_that_differs_is_kept_with_what_the_card_answered(store, prover, observations, fake):
    fake.queue("fake-nano", ANSWER, '{"toxic": false}', ANSWER)
    ask(store, 3)
    assert await prover.step()
    proof, (found,) = Proofs(store).get(NAME), Diffs(store).of(NAME)
    assert proof and proof.outcomes == {"same": 2, "different": 1}
    assert (found.d, found.outcome, found.answer, found.said) == (1.0, "different", '{"toxic": false}', "")
    assert observations.get(found.position).answer == ANSWER


async def test_what_would_have_fallen_back_is_kept_and_says_why(store, prover, fake):
    fake.answers["fake-nano"] = "not JSON at all"
    ask(store, 1)
    await prover.step()
    (found,) = Diffs(store).of(NAME)
    assert (found.d, found.outcome, found.reason, found.answer) == (0.0, "fallback", "json", "not JSON at all")


async def test_the_judges_own_words_are_kept(store, fake, models, observations):
    learn(store.folder, *some(TOXIC))
    fake.answers |= {"fake-nano": '{"toxic": false}', "fake-mini": prefers(lambda a, b: 1 if "true" in a else -1)}
    models = type(models)(**{**vars(models), "judge": "fake-mini"})
    async with Llm(models, store, usd_per_day=5.0) as llm:
        compiled(store, recognised(NAME))
        prover = await begun(Prover(store, observations, llm, TERMS))
        ask(store, 1)
        await prover.step()
    (found,) = Diffs(store).of(NAME)
    assert (found.d, found.outcome, found.said) == (1.0, "judged", "One of them is wrong.")


async def test_a_pair_of_another_model_is_in_neither(store, prover, fake):
    fake.answers["fake-nano"] = '{"toxic": false}'
    ask(store, 2)
    await prover.step()
    fake.snapshots["fake-nano"] = "fake-nano-2"
    ask(store, 2, skip=2)
    await prover.step()
    assert (Proofs(store).get(NAME).pairs, len(kept(store))) == (2, 2)


async def test_killed_before_it_is_entered_it_is_in_neither_and_afterwards_in_both_once(
    store, prover, fake, monkeypatch
):
    """The kill falls behind the last write of the transaction."""
    fake.answers["fake-nano"] = '{"toxic": false}'
    ask(store)
    with monkeypatch.context() as patched:
        patched.setattr(prover, "_stand", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await prover.step()
    assert (Proofs(store).get(NAME).pairs, kept(store)) == (0, [])
    await prover.step()
    assert (Proofs(store).get(NAME).pairs, len(kept(store))) == (4, 4)
    assert len(fake.calls) == 4


async def test_an_outage_leaves_nothing(store, prover, fake):
    fake.answers["fake-nano"] = Fault.respond(503)
    ask(store)
    await prover.step()
    assert kept(store) == []


async def test_a_new_proof_starts_over(store, prover, fake):
    fake.answers["fake-nano"] = '{"toxic": false}'
    ask(store)
    await prover.step()
    assert len(kept(store)) == 4
    compiled(store, recognised(NAME))
    await prover.step()
    assert (Proofs(store).get(NAME).card, kept(store)) == (f"{NAME}@2", [])


# Renamed, merged, forgotten


@pytest.mark.parametrize("variant", ["", "~1a2b3c4d"])
def test_it_follows_a_new_name_as_the_proof_does(store, variant):
    learn(store.folder, *some(TOXIC))
    proven(store, compiled(store, recognised(NAME + variant)), 50)
    Diffs(store).add(NAME + variant, [diff(7)])
    curating.rename(store, NAME, "moderation")
    assert Diffs(store).of("moderation" + variant) == [diff(7)]
    assert kept(store, NAME + variant) == []


def test_merged_tasks_lose_it(store):
    learn(store.folder, *some(TOXIC), *some(SUMMARY))
    proven(store, compiled(store, recognised(NAME)), 50)
    Diffs(store).add(NAME, [diff(7)])
    curating.merge(store, [NAME, "summarise-mail-colleague-one-sentence"])
    assert store.keys("diffs:") == []


def planted(store, observations, name=NAME) -> None:
    """In the record, and in an answer that was kept for a try that was killed."""
    Diffs(store).add(name, [diff(position, answer=PLANTED) for position, _ in observations.since()])
    store.put(f"memo:try:{name}@1:0123:4567", {"text": PLANTED})
    store.put(f"memo:proof:{name}@1:2026-03-01:4567", {"text": PLANTED})
    assert PLANTED in decoded(store.folder)


@pytest.mark.parametrize("how", ["task", "tenant"])
def test_nothing_of_it_is_readable_once_its_task_is_forgotten(store, observations, how):
    learn(store.folder, *some(TOXIC))
    proven(store, compiled(store, recognised(NAME)), 50)
    planted(store, observations)
    if how == "tenant":
        forget_tenant(store, observations, "default")
    else:
        forget_task(store, observations, NAME)
    assert PLANTED not in decoded(store.folder)


@pytest.mark.parametrize("how", ["task", "tenant"])
def test_of_a_declared_task_it_goes_though_card_and_proof_stay(store, observations, how):
    task = Task("mood", "Tell the mood.")
    Registry(store).declare({"mood": (task, [])}, "config")
    proven(store, compiled(store, task), 50)
    keep(store.folder, *some(SUMMARY, template="mood"))
    planted(store, observations, "mood")
    if how == "tenant":
        forget_tenant(store, observations, "default")
    else:
        forget_task(store, observations, "mood")
    assert PLANTED not in decoded(store.folder)
    assert Proofs(store).get("mood").pairs == 50


def test_another_tenants_share_of_it_stays(store, observations):
    Registry(store).declare({"mood": (Task("mood", "Tell the mood."), [])}, "config")
    keep(store.folder, *some(SUMMARY, 1, template="mood"), *some(SUMMARY, 1, template="mood", tenant="shop"))
    Diffs(store).add("mood", [diff(position) for position, _ in observations.since()])
    forget_tenant(store, observations, "default")
    ((position, _),) = observations.since()
    assert kept(store, "mood") == [position]


async def test_what_is_under_way_when_its_inputs_are_forgotten_is_not_kept(store, fake, models, observations):
    """Of a declared task, whose proof goes on: it falls between the candidate's answers and the evidence."""
    task = Task("mood", "Tell the mood.", incumbent="fake-strong")
    Registry(store).declare({"mood": (task, [])}, "config")
    compiled(store, task)
    fake.answers["fake-nano"] = PLANTED
    async with Llm(models, store, usd_per_day=5.0) as llm:
        prover = await begun(Prover(store, observations, llm, TERMS))
        keep(store.folder, *some(SUMMARY, 4, template="mood"))
        real = prover._enter
        prover._enter = lambda *given: (forget_task(store, observations, "mood"), real(*given))[1]
        await prover.step()
    assert (len(fake.calls), kept(store, "mood")) == (4, [])


def test_names_that_begin_alike_are_told_apart(store, observations):
    learn(store.folder, *some(TOXIC))
    Catalogue(store).rename(NAME, "mood")
    proven(store, compiled(store, recognised("mood")), 50)
    proven(store, compiled(store, recognised("mood-2")), 50)
    ((position, _), *_) = observations.since()
    for name in ("mood", "mood-2"):
        Diffs(store).add(name, [diff(position)])
        store.put(f"memo:try:{name}@1:0123:4567", {"text": name})
    Registry(store).drop(["mood"])
    assert store.keys("diffs:") == ["diffs:mood-2"]
    assert store.keys("memo:") == ["memo:try:mood-2@1:0123:4567"]


def test_nothing_of_it_is_in_what_is_told_of_a_proof(store, observations):
    """`show` holds no text of the traffic."""
    learn(store.folder, *some(TOXIC))
    proof = proven(store, compiled(store, recognised(NAME)), 50)
    planted(store, observations)
    assert PLANTED not in str(proof.to_json())
    assert Rollout(store).known(NAME).compiled
