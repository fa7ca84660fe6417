import pytest

from compiler.score import breach, parse_json, same
from compiler.task import Contract

LABEL = Contract("label", ("good", "bad"))
JSON = Contract("json", keys=("total",))
TEXT = Contract("text")


@pytest.mark.parametrize(
    ("text", "finish", "contract", "why"),
    [
        ("good", "stop", LABEL, None),
        (" good\n", None, LABEL, None),
        ("Good", "stop", LABEL, "label"),
        ("good.", "stop", LABEL, "label"),
        ("good bad", "stop", LABEL, "label"),
        ('{"total": 1, "more": 2}', "stop", JSON, None),
        ('{"more": 2}', "stop", JSON, "json"),
        ('["total"]', "stop", JSON, "json"),
        ('"total"', "stop", JSON, "json"),
        ('```json\n{"total": 1}\n```', "stop", JSON, "json"),
        ('{"total": 1', "stop", JSON, "json"),
        ("[" * 200_000, "stop", JSON, "json"),
        ("anything", "stop", TEXT, None),
        ("", "stop", TEXT, "empty"),
        (" \n", "stop", LABEL, "empty"),
        ("good", "length", LABEL, "finish_reason"),
        ("anything", "content_filter", TEXT, "finish_reason"),
        ("anything", "tool_calls", TEXT, "finish_reason"),
    ],
)
def test_an_answer_is_held_to_its_contract(text, finish, contract, why):
    assert breach(text, finish, contract) == why


@pytest.mark.parametrize(
    ("answer", "expected", "contract", "verdict"),
    [
        ("good", "good\n", LABEL, True),
        ("good", "bad", LABEL, False),
        ("good", "Good", LABEL, False),
        ("1,250 EUR", "1,250 EUR ", TEXT, True),
        ("1,250 EUR", "1,550 EUR", TEXT, None),
        ('{"a": 1, "b": [2]}', '{"b":[2],"a":1}', JSON, True),
        ('{"a": 1}', '{"a": 1.0}', JSON, True),
        ('{"a": 1}', '{"a": true}', JSON, False),
        ('{"a": [0]}', '{"a": [false]}', JSON, False),
        ('{"a": 1}', '{"a": "1"}', JSON, False),
        ('{"a": 1250}', '{"a": 1550}', JSON, False),
        ('{"a": 1}', '{"a": 1, "b": null}', JSON, False),
        ('{"a": [1, 2]}', '{"a": [2, 1]}', JSON, False),
        ('{"a": [1, 2]}', '{"a": [1]}', JSON, False),
        ("no json", '{"a": 1}', JSON, False),
        ("no json", "no json", JSON, False),
    ],
)
def test_two_answers_are_the_same_or_not_and_never_nearly(answer, expected, contract, verdict):
    assert same(answer, expected, contract) is verdict


def test_what_is_no_json_is_nothing():
    assert parse_json("{") is None
    assert parse_json("") is None
