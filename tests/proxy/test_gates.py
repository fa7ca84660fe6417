"""Each gate with its figures, from what a proof's pairs showed."""

import time
from collections import Counter
from dataclasses import replace

import pytest

from compiler.evidence import Evidence
from compiler.judge import scoring_of
from compiler.proof import Proof
from compiler.score import Scored
from proxy.gates import gates, in_words
from tests.proven import LABELS, ran


def proof(*worse: bool, label=None, **more) -> Proof:
    found = Proof("mood@1", scoring_of(LABELS, None), Evidence(0.02), since=time.time(), **more)
    for at, is_worse in enumerate(worse):
        found.add(ran(at + 1, label=label(at) if label else ("no", "yes")[at % 2], worse=is_worse))
    return found


def marks(of: Proof) -> dict[str, str]:
    return {gate.name: gate.mark for gate in gates(of)}


def reason(of: Proof, name: str) -> str:
    (found,) = [gate.reason for gate in gates(of) if gate.name == name]
    return found


def test_a_proof_that_has_just_begun_waits_for_pairs():
    assert marks(proof()) == {
        "loss": "waits",
        "drift": "passed",
        "judge": "passed",
        "labels": "waits",
        "latency": "waits",
        "money": "waits",
    }
    assert reason(proof(), "loss").startswith("nothing is known yet")


def test_a_card_that_is_as_good_passes_them_all():
    assert set(marks(proof(*[False] * 700)).values()) == {"passed"}
    assert reason(proof(*[False] * 300), "loss").startswith("at most 1.8 % worse (95 % sure); serves from 6 % on")


def test_one_that_is_worse_is_stopped_by_its_loss():
    found = proof(*[False] * 20, *[True] * 10)
    assert marks(found)["loss"] == "closed"
    assert "worse than your model by more than the margin" in reason(found, "loss")


def test_one_that_became_worse_is_stopped_by_drift():
    found = proof(*[False] * 640, *[True] * 60)
    assert marks(found)["drift"] == "closed"


def test_one_that_misses_a_label_is_stopped_and_the_label_named():
    found = proof(*[at % 20 == 0 for at in range(400)], label=lambda at: "no" if at % 20 == 0 else "yes")
    assert marks(found)["labels"] == "closed"
    assert "where your model answers 'no'" in reason(found, "labels")


def test_a_label_with_few_pairs_is_waited_for():
    found = proof(*[False] * 300, label=lambda at: "no" if at % 100 == 0 else "yes")
    assert marks(found)["labels"] == "waits"
    assert "half of the requests at most" in reason(found, "labels")


def test_only_labels_have_segments():
    found = proof()
    found.scoring = replace(found.scoring, kind="text")
    assert "labels" not in marks(found)


@pytest.mark.parametrize(("kappa", "mark"), [(None, "waits"), (0.4, "closed"), (0.9, "passed")])
def test_a_judge_has_to_tell_good_from_bad(kappa, mark):
    found = proof(kappa=kappa, outcomes=Counter(judged=1))
    found.scoring = replace(found.scoring, judge="fake-judge")
    assert marks(found)["judge"] == mark
    assert "fake-judge" in reason(found, "judge")


def test_a_slow_card_is_stopped_by_its_times():
    found = proof()
    for at in range(50):
        found.add(ran(at + 1)._replace(seconds=(0.2, 0.9)))
    assert marks(found)["latency"] == "closed"
    assert "within 0.90 s, your model's within 0.20 s" in reason(found, "latency")


def test_a_card_that_saves_nothing_is_stopped_by_its_cost():
    found = proof()
    for at in range(120):
        found.add(ran(at + 1)._replace(scored=Scored(0.0, "fallback", "label")))
    assert marks(found)["money"] == "closed"
    assert "$1.3200 where your model takes $1.2000, over 120 pairs" in reason(found, "money")


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        (0.018, "at most 1.8 % worse (95 % sure)"),
        (0.0, "at most 0.0 % worse (95 % sure)"),
        (1.0, "nothing is known yet"),
    ],
)
def test_a_bound_is_put_in_words(bound, words):
    assert in_words(bound) == words
