"""What a person says about a card, and how far it goes together with the evidence."""

import pytest

from compiler.errors import NotNow, UnknownTask
from compiler.proof import Proofs, Standing
from compiler.registry import Registry
from compiler.rollout import KEPT_ENTRIES, Rollout, Said, allowed
from compiler.task import Task
from tests.proven import CONTROL, compiled, proven, recognised

MOOD = recognised("mood")
RAMPING = Standing("ramping", 0.4, "at most 5 % worse")
DECLARED = Task("declared", "Tell the mood.", trust="declared")


@pytest.fixture
def rollout(store):
    return Rollout(store)


def approve(rollout, task="mood", most=1.0, **more):
    return rollout.approve(task, most=most, who="anna", control=CONTROL, **more)


def state(store, task="mood"):
    found = Registry(store).state(task)
    return found.stage, found.traffic


# Mode, evidence, and what was said


@pytest.mark.parametrize(
    ("said", "mode", "expected"),
    [
        (Said(), "auto", ("ramping", 0.4)),
        (Said(), "manual", ("shadowing", 0.0)),
        (Said(), "observe", ("shadowing", 0.0)),
        (Said(approved="mood@1"), "manual", ("ramping", 0.4)),
        (Said(approved="mood@1", most=0.1), "manual", ("ramping", 0.1)),
        (Said(approved="mood@2"), "manual", ("shadowing", 0.0)),
        (Said(approved="mood@1", most=0.1), "auto", ("ramping", 0.1)),
        (Said(most=0.9), "auto", ("ramping", 0.4)),
        (Said(approved="mood@1", paused="why"), "manual", ("paused", 0.0)),
        (Said(paused="why"), "auto", ("paused", 0.0)),
    ],
)
def test_no_card_serves_more_than_evidence_mode_and_a_person_allow_together(said, mode, expected):
    found = allowed(RAMPING, said, "mood@1", mode)
    assert (found.stage, found.traffic) == expected


def test_what_the_evidence_forbids_nobody_can_approve():
    kept = Standing("kept", 0.0, "worse")
    assert allowed(kept, Said(approved="mood@1"), "mood@1", "manual") == kept


def test_a_card_that_waits_for_a_person_says_so():
    assert "`cuecard approve` lets it serve" in allowed(RAMPING, Said(), "mood@1", "manual").reason


def test_a_share_that_a_person_set_makes_no_card_live():
    live = Standing("live", 0.98, "proven")
    assert allowed(live, Said(most=0.5), "mood@1", "auto")[:2] == ("ramping", 0.5)


# Approving


def test_an_approved_card_serves_at_once_what_its_evidence_carries(store, rollout):
    card = compiled(store, MOOD)
    proven(store, card, 300, mode="manual")
    assert state(store) == ("shadowing", 0.0)
    assert approve(rollout, most=0.1) == card
    assert state(store) == ("ramping", 0.1)
    approve(rollout)
    assert state(store)[0] == "live"


def test_approved_early_it_serves_nothing_until_the_evidence_is_there(store, rollout):
    card = compiled(store, MOOD)
    proven(store, card, 5, mode="manual")
    approve(rollout)
    assert state(store) == ("shadowing", 0.0)
    proven(store, card, 400, mode="manual")
    assert state(store)[0] == "live"


def test_it_may_be_approved_before_its_proof_began(store, rollout):
    compiled(store, MOOD)
    approve(rollout)
    assert rollout.said("mood") == Said("mood@1")
    assert state(store) == ("shadowing", 0.0)


def test_another_card_has_to_be_approved_anew(store, rollout):
    compiled(store, MOOD)
    approve(rollout)
    proven(store, compiled(store, MOOD), 400, mode="manual")
    assert state(store) == ("shadowing", 0.0)


def test_only_the_card_that_was_shown_is_approved(store, rollout):
    shown = compiled(store, MOOD)
    compiled(store, MOOD)
    with pytest.raises(NotNow, match="'mood' has another card by now, mood@2: look again"):
        approve(rollout, shown=shown)
    assert (rollout.said("mood"), rollout.audit()) == (Said(), [])


@pytest.mark.parametrize("most", [0, -0.1, 1.01, float("nan")])
def test_what_is_no_share_is_refused(store, rollout, most):
    compiled(store, MOOD)
    with pytest.raises(ValueError, match="between 0 and 1"):
        approve(rollout, most=most)
    assert rollout.audit() == []


@pytest.mark.parametrize("act", ["approve", "pause", "resume", "rollback"])
def test_a_task_without_a_card_has_nothing_to_decide_on(store, rollout, act):
    Registry(store).adopt(MOOD, [])

    def do(task):
        return approve(rollout, task) if act == "approve" else getattr(rollout, act)(task, who="anna")

    with pytest.raises(NotNow, match="'mood' has no card: it is observing"):
        do("mood")
    with pytest.raises(UnknownTask, match="no task 'nope' with a card"):
        do("nope")
    assert rollout.audit() == []


def test_why_there_is_no_card_is_said(store, rollout):
    Registry(store).adopt(MOOD, [])
    Registry(store).keep("mood", MOOD.definition(), "the meta model refused", 60)
    with pytest.raises(NotNow, match="kept \\(the meta model refused\\)"):
        approve(rollout)


def test_whose_values_are_tasks_of_their_own_is_asked_which(store, rollout):
    for name in ("mood~1a2b3c4d", "mood~5e6f7a8b"):
        compiled(store, recognised(name))
    with pytest.raises(UnknownTask, match="say which one: mood~1a2b3c4d, mood~5e6f7a8b"):
        approve(rollout)
    assert approve(rollout, "mood~1a2b3c4d").label == "mood~1a2b3c4d@1"


def test_a_card_that_was_kept_back_is_not_approved(store, rollout):
    proven(store, compiled(store, MOOD), 30, worse=10)
    assert state(store)[0] == "kept"
    with pytest.raises(NotNow, match="mood@1 was kept back: worse than your model"):
        approve(rollout)


def test_a_paused_task_is_resumed_first(store, rollout):
    proven(store, compiled(store, MOOD), 400)
    rollout.pause("mood", who="anna")
    with pytest.raises(NotNow, match="is paused \\(by anna\\); `cuecard resume mood` comes first"):
        approve(rollout)


def test_a_task_that_its_owner_vouches_for_waits_for_nobody(store, rollout):
    Registry(store).declare({"declared": (DECLARED, [])}, "config")
    compiled(store, DECLARED)
    with pytest.raises(NotNow, match="trust: declared"):
        approve(rollout, "declared")


# Pausing, resuming


def test_a_paused_card_serves_nothing_from_that_moment(store, rollout):
    proven(store, compiled(store, MOOD), 400)
    rollout.pause("mood", who="anna", why="a complaint")
    assert state(store) == ("paused", 0.0)
    view = Registry(store).snapshot().adopted["mood"]
    assert (view.stage, view.reason) == ("paused", "a complaint")


def test_it_stays_paused_whatever_becomes_of_its_state(store, rollout):
    """A compile that was under way publishes another card."""
    compiled(store, MOOD)
    rollout.pause("mood", who="anna")
    compiled(store, MOOD)
    assert Registry(store).snapshot().adopted["mood"].stage == "paused"


def test_a_resumed_card_is_looked_at_anew(store, rollout):
    proven(store, compiled(store, MOOD), 400)
    rollout.pause("mood", who="anna")
    rollout.resume("mood", who="anna")
    assert state(store) == ("shadowing", 0.0), "until the prover looks"
    assert Registry(store).snapshot().adopted["mood"].stage == "shadowing"


def test_what_is_not_paused_can_not_be_resumed(store, rollout):
    compiled(store, MOOD)
    with pytest.raises(NotNow, match="'mood' is not paused: it is shadowing"):
        rollout.resume("mood", who="anna")


def test_a_task_that_was_paused_by_its_evidence_is_resumed_by_a_person(store, rollout):
    card = compiled(store, MOOD)
    proof = proven(store, card, 700, worse=60)
    assert proof.evidence.drift.drifted
    assert state(store) == ("paused", 0.0)
    rollout.resume("mood", who="anna")
    assert state(store) == ("shadowing", 0.0)


def test_a_task_that_its_owner_vouches_for_is_paused_and_serves_again_at_once(store, rollout):
    Registry(store).declare({"declared": (DECLARED, [])}, "config")
    compiled(store, DECLARED)
    rollout.pause("declared", who="anna")
    assert state(store, "declared") == ("paused", 0.0)
    rollout.resume("declared", who="anna")
    assert state(store, "declared") == ("live", 1.0)


# Rolling back


def test_it_goes_back_to_the_card_before_which_is_proven_anew(store, rollout):
    for _ in range(2):
        proven(store, compiled(store, MOOD), 400)
    approve(rollout)
    assert rollout.rollback("mood", who="anna") == 1
    view = Registry(store).snapshot().adopted["mood"]
    assert (view.compiled.label, view.stage, view.state.traffic) == ("mood@1", "shadowing", 0.0)
    assert rollout.said("mood") == Said(), "the card before was not approved"


def test_without_a_card_before_there_is_none(store, rollout):
    compiled(store, MOOD)
    assert rollout.rollback("mood", who="anna") == 0
    view = Registry(store).snapshot().adopted["mood"]
    assert (view.compiled, view.stage, view.settled) == (None, "kept", True)


def test_a_card_of_another_wording_is_none_to_go_back_to(store, rollout):
    compiled(store, recognised("mood"))
    reworded = Task("mood", "Another template.", tenant="default", recognised=True)
    Registry(store).adopt(reworded, [])
    compiled(store, reworded)
    assert rollout.rollback("mood", who="anna") == 0


def test_a_task_that_its_owner_vouches_for_serves_the_card_before_at_once(store, rollout):
    Registry(store).declare({"declared": (DECLARED, [])}, "config")
    for _ in range(2):
        compiled(store, DECLARED)
    assert rollout.rollback("declared", who="anna") == 1
    assert state(store, "declared") == ("live", 1.0)


# The log


def test_the_log_says_who_did_what_when_and_why(store, rollout):
    for _ in range(2):
        compiled(store, MOOD)
    approve(rollout, most=0.1, why="looks good")
    rollout.pause("mood", who="ben", why="a complaint")
    rollout.resume("mood", who="ben")
    rollout.rollback("mood", who="anna")
    entries = rollout.audit()
    assert [(e.who, e.act, e.task, e.why, e.what) for e in entries] == [
        ("anna", "approve", "mood", "looks good", "mood@2, at most 10 %"),
        ("ben", "pause", "mood", "a complaint", "mood@2"),
        ("ben", "resume", "mood", "", "mood@2"),
        ("anna", "rollback", "mood", "", "mood@2 to mood@1"),
    ]
    assert [e.time for e in entries] == sorted(e.time for e in entries)
    assert rollout.audit("other") == []


def test_the_log_keeps_the_newest(store, rollout):
    compiled(store, MOOD)
    approve(rollout)
    (first,) = store.get("audit")
    store.put("audit", [first] * KEPT_ENTRIES)
    rollout.pause("mood", who="anna")
    assert len(rollout.audit()) == KEPT_ENTRIES
    assert rollout.audit()[-1].act == "pause"


def test_nothing_is_half_said(store, rollout, monkeypatch):
    proven(store, compiled(store, MOOD), 400)
    before = state(store)
    monkeypatch.setattr(Registry, "set_state", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rollout.pause("mood", who="anna")
    assert (rollout.said("mood"), rollout.audit(), state(store)) == (Said(), [], before)
    assert Proofs(store).get("mood").pairs == 400
