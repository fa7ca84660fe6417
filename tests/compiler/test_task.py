import json
from dataclasses import replace

import pytest

from compiler.task import NAME, Contract, Task

TASK = Task("mood", "Tell the mood.", system="You tell moods.", contract=Contract("label", ("good", "bad")))


def test_a_task_comes_back_from_json_as_it_was():
    assert Task.from_json(json.loads(json.dumps(TASK.to_json()))) == TASK
    assert Task.from_json(json.loads(json.dumps(Task("t", "d").to_json()))) == Task("t", "d")


def test_the_apps_own_prompt_is_the_instructions_where_there_is_one():
    assert TASK.instructions == "You tell moods."
    assert replace(TASK, system=None).instructions == "Tell the mood."


@pytest.mark.parametrize(
    "change",
    [
        {"name": "moods"},
        {"description": "Tell the mood"},
        {"system": None},
        {"contract": None},
        {"contract": Contract("label", ("good",))},
        {"contract": Contract("json", keys=("good", "bad"))},
    ],
)
def test_the_definition_changes_with_the_wording_and_the_contract(change):
    assert replace(TASK, **change).definition() != TASK.definition()


@pytest.mark.parametrize(
    "change", [{"trust": "declared"}, {"mode": "auto"}, {"tenant": "shop"}, {"incumbent": "x"}, {"examples": "a.jsonl"}]
)
def test_the_definition_stays_when_only_the_serving_of_a_task_changes(change):
    assert replace(TASK, **change).definition() == TASK.definition()


def test_the_definition_survives_json():
    assert Task.from_json(json.loads(json.dumps(TASK.to_json()))).definition() == TASK.definition()


@pytest.mark.parametrize("name", ["a", "mood", "mood-2", "a.b_c", "0", "a" * 64])
def test_names_are_short_lower_case_words(name):
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "A", "-a", "a:b", "a/b", "a b", "ä", "a" * 65, "a\n"])
def test_names_that_could_break_a_key_or_a_header_are_no_names(name):
    assert not NAME.fullmatch(name)
