import json
from dataclasses import FrozenInstanceError, replace

import pytest

from compiler.card import Card, Score
from compiler.example import Example
from compiler.program import Prompt
from compiler.score import Scoring
from compiler.task import Contract

CARD = Card(
    task="mood",
    version=3,
    definition="abc",
    model="fake-nano",
    program=Prompt("Say good or bad.", (Example("sun", "good"),)),
    contract=Contract("label", ("bad", "good")),
    winner="prompt",
    static_tokens=20,
    original_tokens=10,
    created="2026-03-01T12:00:00+00:00",
    compile_usd=0.01,
    provenance={"meta_model": "fake-strong"},
    scores=(Score("prompt", 9, 10, 100, 10), Score("description", 8, 10, 90, 10)),
    notes=("a note",),
    scoring=Scoring("label", "fake-mini", "judge.v1"),
)


def test_a_card_comes_back_from_json_as_it_was():
    assert Card.from_json(json.loads(json.dumps(CARD.to_json()))) == CARD


def test_a_card_from_before_there_was_a_proof_is_read():
    data = CARD.to_json()
    del data["scoring"]
    assert Card.from_json(data) == replace(CARD, scoring=None)


def test_a_card_is_named_by_task_and_version():
    assert CARD.label == "mood@3"


def test_a_person_can_read_the_prompt_in_its_json():
    assert CARD.to_json()["program"] == {
        "kind": "prompt",
        "system": "Say good or bad.",
        "demonstrations": [{"input": "sun", "expected": "good"}],
        "frame": None,
    }


def test_a_card_never_changes():
    with pytest.raises(FrozenInstanceError):
        CARD.version = 4


def test_a_score_is_a_share_and_none_of_nothing():
    assert Score("prompt", 9, 10, 0, 0).share == 0.9
    assert Score("prompt", 0, 0, 0, 0).share == 0.0
