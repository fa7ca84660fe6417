"""What is said of answers: counted once each, compared where chance chose who answers, and never to a card's favour."""

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from compiler import feedback
from compiler.answers import Answered, Answers, Given, key_of
from compiler.feedback import Comparison, Feedback, Noted, Sum, Tally
from compiler.recognition import curating
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.rollout import Rollout
from compiler.task import Task
from tests.learned import TOXIC, learn, some
from tests.proven import compiled, proven, recognised

MARGIN = 0.02
MOOD = recognised("mood")


def answer(arm: str = "", **more: Any) -> Answered:
    """`arm`: whose answer it is, by the draw."""
    route = "compiled" if arm == "card" else "original"
    fields: dict[str, Any] = {"task": "mood", "version": 1, "route": route, "kind": "label"}
    return Answered(**{"time": time.time(), "arm": arm, **fields, **more})


@pytest.fixture
def note(store) -> Callable[..., Noted]:
    numbers = iter(range(10**6))

    def note(score: float | None, arm: str = "", *, key: str = "", **more: Any) -> Noted:
        key = key or f"t:{next(numbers)}"
        return Feedback(store).note(key, answer(arm, **more), score, lambda kind: MARGIN)

    return note


@pytest.fixture
def tally(store) -> Callable[[], Tally]:
    def tally(task: str = "mood") -> Tally:
        found = Feedback(store).of(task)
        assert found
        return found

    return tally


def means(tally: Tally) -> dict[str, tuple[int, int, float | None]]:
    return {route: (one.noted, one.scored, one.mean) for route, one in tally.routes.items()}


# Sums


def test_what_is_said_is_summed_up_by_who_answered(note, tally):
    for score in (1.0, 0.5):
        note(score, "card")
    note(0.0)
    note(0.25, route="fallback")
    assert means(tally()) == {"compiled": (2, 2, 0.75), "original": (1, 1, 0.0), "fallback": (1, 1, 0.25)}


def test_an_answer_without_a_score_is_counted_and_in_no_mean(note, tally):
    note(None)
    note(1.0)
    assert means(tally()) == {"original": (2, 1, 1.0)}


def test_what_is_said_again_of_the_same_answer_replaces_it(note, tally):
    assert not note(0.0, "card", key="t:a").again
    assert note(1.0, "card", key="t:a").again
    assert means(tally()) == {"compiled": (1, 1, 1.0)}
    assert note(None, "card", key="t:a").again
    assert means(tally()) == {"compiled": (1, 0, None)}
    assert tally().comparison.arms["card"] == tally().comparison.waiting["card"] == Sum(1, 0, 0.0)


def test_nothing_is_said_of_another_task(note, store):
    note(1.0)
    assert Feedback(store).of("other") is None
    assert Feedback(store).tasks() == ["mood"]


# The comparison


def compare(said: list[tuple[str, float]], margin: float = MARGIN) -> tuple[Comparison, bool]:
    comparison = Comparison(1)
    return comparison, any(comparison.add(arm, score, margin) for arm, score in said)


def test_each_word_of_one_is_held_against_all_of_the_other_since_the_last():
    comparison, _ = compare([("card", 1.0), ("card", 0.0), ("control", 1.0)])
    assert (comparison.pairs, comparison.waiting["card"]) == (1, Sum())
    half, _ = compare([("card", 0.5), ("control", 1.0)])
    assert comparison.capital == half.capital


def test_only_where_chance_chose_who_answers_is_anything_compared(note, tally):
    note(1.0)
    note(0.0, route="compiled")
    assert tally().comparison.pairs == tally().comparison.version == 0


def test_what_was_bet_on_is_not_bet_on_again(note, tally):
    note(1.0, "control", key="t:a")
    note(0.0, "card", key="t:b")
    before = tally().comparison.capital
    for score in (0.5, 1.0):
        note(score, "card", key="t:b")
        note(score, "control", key="t:a")
    found = tally().comparison
    assert found.arms == {"card": Sum(1, 1, 1.0), "control": Sum(1, 1, 1.0)}
    assert (found.pairs, found.capital, found.waiting["card"]) == (1, before, Sum())
    note(0.0, "card", key="t:c")
    note(None, "control", key="t:a")
    note(1.0, "control", key="t:a")
    assert tally().comparison.pairs == 1, "nor by way of taking it back"


def test_a_newer_card_is_compared_by_itself_and_an_older_one_no_more(note, tally):
    note(0.0, "card")
    note(1.0, "control", version=2)
    note(0.0, "card")
    found = tally().comparison
    assert (found.version, found.pairs, found.arms["card"], found.arms["control"]) == (2, 0, Sum(), Sum(1, 1, 1.0))
    assert means(tally())["compiled"] == (2, 2, 0.0)


def false_alarms(card: float, control: float, words: int, tries: int, share: float) -> float:
    draw = random.Random(7)
    alarms = 0
    for _ in range(tries):
        arms = ("card" if draw.random() < share else "control" for _ in range(words))
        said = [(arm, float(draw.random() < (card if arm == "card" else control))) for arm in arms]
        alarms += compare(said)[1]
    return alarms / tries


@pytest.mark.parametrize("share", [0.5, 0.98])
@pytest.mark.parametrize("good", [0.02, 0.5, 0.9])
def test_a_card_that_is_worse_by_the_margin_is_paused_in_one_of_twenty_cases_at_most(good, share):
    assert false_alarms(good - MARGIN, good, words=500, tries=150, share=share) <= 0.05 + 0.03


def test_a_clearly_worse_card_is_found_out():
    assert false_alarms(0.5, 0.9, words=150, tries=50, share=0.5) > 0.95


def test_a_card_that_is_worse_by_less_than_the_margin_never_is_found_worse():
    said = [("card", 0.5), ("control", 0.9)] * 500
    assert (compare(said, 0.41)[1], compare(said, 0.3)[1]) == (False, True)


def test_a_better_card_gains_nothing():
    """There is nothing in a tally that could raise its share."""
    _, worse = compare([(arm, float(arm == "card")) for _ in range(500) for arm in ("card", "control")])
    assert not worse


# What follows


@pytest.fixture
def serving(store):
    """A card that serves."""
    card = compiled(store, MOOD)
    proven(store, card, 300)
    return card


def complain(note: Callable[..., Noted], times: int = 40, **more: Any) -> None:
    for _ in range(times):
        note(0.0, "card", **more)
        note(1.0, "control", **more)


def stage(store, task: str = "mood") -> tuple[str, str]:
    view = Registry(store).view(task, Registry(store).task(task))
    return view.stage, view.reason


def test_a_card_that_users_find_worse_is_paused_and_says_why(store, note, serving):
    assert stage(store)[0] == "live"
    complain(note)
    found, why = stage(store)
    assert found == "paused"
    assert why.startswith("your feedback says so: 0.00 of 1 (")
    (entry,) = Rollout(store).audit("mood")
    assert (entry.act, entry.who, entry.what) == ("pause", "feedback", "mood@1")


def test_praise_raises_nothing(store, note):
    proven(store, compiled(store, MOOD), 0)
    for _ in range(200):
        note(1.0, "card")
        note(0.0, "control")
    state = Registry(store).state("mood")
    assert (state.stage, state.traffic) == ("shadowing", 0.0)


def test_resumed_it_serves_until_it_is_found_worse_anew(store, note, serving):
    while stage(store)[0] != "paused":
        complain(note, 1)
    Rollout(store).resume("mood", who="ada")
    complain(note, 3)
    assert stage(store)[0] != "paused"
    complain(note)
    assert stage(store)[0] == "paused"


def test_while_it_is_paused_nothing_is_held_against_it(store, note, serving, tally):
    Rollout(store).pause("mood", who="ada")
    complain(note)
    assert (tally().comparison.pairs, tally().comparison.odds) == (0, 1.0)
    assert tally().comparison.arms["card"].noted == 40


def test_what_was_said_of_an_older_card_pauses_no_newer_one(store, note, serving):
    compiled(store, MOOD)
    complain(note)
    assert stage(store)[0] == "shadowing"


def test_a_card_that_is_gone_is_not_paused(store, note, serving):
    Registry(store).drop(["mood"])
    complain(note)
    assert Rollout(store).audit() == []


def test_a_kept_card_stays_kept(store, note):
    proven(store, compiled(store, MOOD), 60, worse=60)
    complain(note)
    assert stage(store)[0] == "kept"


# Other names, and forgetting


def test_a_renamed_task_takes_along_what_was_said(store, tmp_path, note, tally):
    learn(tmp_path / "store", *some(TOXIC))
    (name,) = Catalogue(store).tasks()
    given_before = answer("card", task=name)
    note(0.0, "card", task=name, key="t:a", time=given_before.time)
    curating.rename(store, name, "moderation")
    assert note(1.0, "card", task=name, key="t:a", time=given_before.time) == Noted("moderation", True)
    assert means(tally("moderation")) == {"compiled": (1, 1, 1.0)}
    assert Feedback(store).tasks() == ["moderation"]


def test_answers_of_a_task_that_takes_the_old_name_later_are_its_own(store, note):
    Feedback(store).move("mood", "feeling")
    assert note(1.0, time=time.time() + 1).task == "mood"


def test_renaming_back_and_forth_ends_somewhere(store, note):
    long_ago = time.time() - 60
    for old, new in (("mood", "feeling"), ("feeling", "mood"), ("mood", "feeling")):
        Feedback(store).move(old, new)
    assert note(1.0, time=long_ago).task == "feeling"


def test_of_a_dropped_task_nothing_stays_and_an_old_word_is_taken_back_from_no_new_sum(store, note, tally):
    compiled(store, MOOD)
    note(0.0, key="t:a")
    Registry(store).drop(["mood"])
    assert Feedback(store).of("mood") is None
    note(1.0, key="t:a")
    assert means(tally()) == {"original": (1, 1, 1.0)}


@pytest.mark.parametrize(
    ("scope", "stay"), [({"tenant": "shop"}, 1), ({"task": "mood"}, 1), ({"tenant": "lab", "task": "mood"}, 3)]
)
def test_forgetting_takes_what_was_said_of_each_answer_and_leaves_the_sums(store, note, tally, scope, stay):
    whose = [("shop", "mood"), ("shop", "mood~1"), ("lab", "other")]
    with Answers(store.folder) as answers:
        for n, (tenant, task) in enumerate(whose):
            answers.remember([Given(tenant, f"cue-{n}", "", answer(task=task))])
            note(1.0, task=task, key=key_of(tenant, f"cue-{n}"))
    feedback.forget(store, **scope)
    assert len(store.keys("word:")) == stay
    with Answers(store.folder) as answers:
        assert sum(answers.find(tenant, f"cue-{n}") is not None for n, (tenant, _) in enumerate(whose)) == stay
    assert means(tally()) == {"original": (1, 1, 1.0)}


def test_forgetting_makes_no_table_where_there_is_none(store):
    feedback.forget(store, tenant="shop")
    assert not Answers.exist(store.folder)


def test_a_tally_is_read_as_it_was_written(store, note, tally):
    Registry(store).declare({"mood": (Task("mood", "Tell the mood."), [])}, "config")
    for n in range(7):
        note((n % 3) / 2, ("card", "control", "")[n % 3])
    found = tally()
    assert Tally.from_json(found.to_json()) == found
    assert found.comparison.odds > 0
