"""Recognised tasks that are compiled by now, when a person gives them another name or says that they are one."""

import pytest

from compiler.proof import Proofs
from compiler.recognition import curating
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.rollout import Rollout, Said
from tests.learned import SUMMARY, TOXIC, learn, some
from tests.proven import CONTROL, compiled, proven, recognised

ONE, TWO = "decide-whether-comment-toxic", "summarise-mail-colleague-one-sentence"


@pytest.fixture
def registry(store):
    learn(store.folder, *some(TOXIC), *some(SUMMARY))
    assert set(Catalogue(store).tasks()) == {ONE, TWO}
    return Registry(store)


@pytest.mark.parametrize("variant", ["", "~1a2b3c4d"])
def test_a_renamed_task_serves_on_by_its_card_its_proof_and_what_was_said(store, registry, variant):
    old, new = ONE + variant, "moderation" + variant
    card = compiled(store, recognised(old))
    before = proven(store, card, 300, mode="manual")
    Rollout(store).approve(old, most=0.5, who="anna", control=CONTROL)
    examples = registry.examples(old)
    curating.rename(store, ONE, "moderation")
    assert list(registry.adopted()) == [new]
    view = registry.snapshot().adopted[new]
    assert (view.compiled.label, view.compiled.program) == (f"{new}@1", card.program)
    assert (view.stage, view.state.traffic) == ("ramping", 0.5)
    found = Proofs(store).get(new)
    assert (found.card, found.pairs, found.bound) == (f"{new}@1", before.pairs, before.bound)
    assert Proofs(store).begun(new) == 1
    assert Rollout(store).said(new) == Said(f"{new}@1", 0.5)
    assert registry.examples(new) == examples
    assert registry.next_version(new) == 2


def test_nothing_is_left_under_the_old_name_but_numbers_and_the_new_one(store, registry):
    proven(store, compiled(store, recognised(ONE)), 300)
    Rollout(store).pause(ONE, who="anna")
    curating.rename(store, ONE, "moderation")
    left = {key for key in store.keys("") if ONE in key}
    assert left == {f"versions:{ONE}", f"proofs:{ONE}", f"renamed:{ONE}"}
    assert registry.snapshot().adopted["moderation"].stage == "paused"


def test_a_compile_under_way_is_begun_again_under_the_new_name(store, registry):
    task = recognised(ONE)
    compiled(store, task)
    registry.compiling(ONE, task.definition())
    registry.want([ONE])
    curating.rename(store, ONE, "moderation")
    assert registry.wanted() == []
    state = registry.state("moderation")
    assert (state.stage, state.traffic) == ("observing", 0.0), "the card at hand serves no more than it did"
    assert state.wants_compile(registry.adopted()["moderation"].definition(), 0)


def test_a_card_of_an_older_wording_stays_one(store, registry):
    compiled(store, recognised(ONE))
    registry.adopt(recognised(ONE).__class__(ONE, "another template", tenant="default", recognised=True), [])
    curating.rename(store, ONE, "moderation")
    assert registry.snapshot().adopted["moderation"].compiled is None


@pytest.mark.parametrize(("old", "new"), [(ONE, TWO), (ONE, "No Name"), ("nope", "other")])
def test_a_name_that_is_wrong_moves_nothing(store, registry, old, new):
    proven(store, compiled(store, recognised(ONE)), 300)
    before = {key: store.get(key) for key in store.keys("")}
    with pytest.raises(Exception, match="task"):
        curating.rename(store, old, new)
    assert {key: store.get(key) for key in store.keys("")} == before


def test_the_name_of_a_declared_task_is_taken(store, registry):
    registry.declare({"declared": (recognised("declared"), [])}, "config")
    with pytest.raises(ValueError, match="there is a task"):
        curating.rename(store, ONE, "declared")


@pytest.mark.parametrize("names", [[TWO, ONE], [ONE]])
def test_merged_tasks_lose_their_cards_and_are_compiled_anew(store, registry, names):
    for name in (ONE, f"{ONE}~1a2b3c4d"):
        proven(store, compiled(store, recognised(name)), 300)
    merged = curating.merge(store, names)
    assert (merged.name, merged.merged) == (names[0], True)
    assert registry.adopted() == {}
    assert store.keys("card:") == []
    assert Proofs(store).begun(ONE) == 1, "the next proof's bar is higher"


def test_the_others_keep_theirs(store, registry):
    proven(store, compiled(store, recognised(TWO)), 300)
    curating.merge(store, [ONE])
    assert registry.snapshot().adopted[TWO].compiled
