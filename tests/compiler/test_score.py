import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.score import (
    HELD_CHARS,
    Answer,
    Pair,
    Question,
    Scored,
    Scoring,
    breach,
    caught,
    parse_json,
    plain_code,
    same,
    score,
)
from compiler.task import Contract, Kind

LABEL = Contract("label", ("good", "bad"))
JSON = Contract("json", keys=("total",))
TEXT = Contract("text")
CODE = Contract("code")
CALL = Contract("tool_call")
SAME = Scored(0.0, "same")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "b", "1,250 EUR", "1,550 EUR", 0.5, 1.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc~/"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)
TEXTS = st.text("ab1 \n`", max_size=12)
QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def pair(incumbent: Any, candidate: Any, expected: Any = None, *, streamed: bool = False) -> Pair:
    return Pair("the input", said(incumbent), said(candidate), written(expected), streamed)


def said(answer: Any) -> Answer:
    return answer if isinstance(answer, Answer) else Answer(written(answer) or "", finish_reason="stop")


def written(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def calls(*named: tuple[str, Any], text: str = "") -> Answer:
    """As a completion has them, each with an id of its own."""
    made = [
        {"id": f"call_{id(part)}_{i}", "type": "function", "function": {"name": name, "arguments": written(part)}}
        for i, (name, part) in enumerate(named)
    ]
    return Answer(text, tuple(made), "tool_calls")


def compared(found: Scored | Question) -> tuple[float, float]:
    """What is settled, and what is left to the judge."""
    return (found.settled, found.weight) if isinstance(found, Question) else (found.d, 0.0)


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
        ('{"a": 1e999}', '{"a": 2e999}', JSON, False),
        ("```py\nx = 1\n```", "x = 1\n", CODE, True),
        ("x = 1", "x = 2", CODE, None),
    ],
)
def test_two_answers_are_the_same_or_not_and_never_nearly(answer, expected, contract, verdict):
    assert same(answer, expected, contract) is verdict


def test_what_is_no_json_is_nothing():
    assert parse_json("{") is None
    assert parse_json("") is None


def test_json_that_is_nested_deeper_than_functions_can_call_each_other_is_compared():
    deep = '{"a":' * 600 + "1" + "}" * 600
    assert same(deep, deep, JSON) is True
    assert same(deep, deep.replace("1", "2"), JSON) is False
    assert compared(score(pair(deep, deep.replace("1", "2")), Contract("json"))) == (0.0, 1.0)


# Labels


def test_equal_labels_are_a_tie_and_different_ones_are_for_the_judge():
    assert score(pair("good", " good\n"), LABEL) == SAME
    assert score(pair("good", "bad"), LABEL) == Question("the input", "good", "bad")


@pytest.mark.parametrize(
    ("incumbent", "candidate", "d"), [("good", "bad", 1.0), ("bad", "good", -1.0), ("ugly", "bad", 0.0)]
)
def test_where_the_label_is_known_both_are_held_against_it(incumbent, candidate, d):
    assert score(pair(incumbent, candidate, "good"), LABEL) == Scored(d, "expected")


# JSON


@pytest.mark.parametrize(
    ("incumbent", "candidate", "weight", "shown"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, 1 / 2, ({"/b": 2}, {"/b": 3})),
        ({"a": 1, "b": "1,250 EUR"}, {"a": 1.0, "b": "1,550 EUR"}, 1 / 2, ({"/b": "1,250 EUR"}, {"/b": "1,550 EUR"})),
        ({"a": 1}, {"a": True}, 1.0, ({"/a": 1}, {"/a": True})),
        ({"a": {"x": 1, "y": 2}, "b": 2}, {"a": {"x": 1, "y": 9}, "b": 2}, 1 / 4, ({"/a/y": 2}, {"/a/y": 9})),
        ({"a": [1, 2, 3, 4]}, {"a": [1, 2, 0, 4]}, 1 / 4, ({"/a/2": 3}, {"/a/2": 0})),
        ({"a": [1, 2]}, {"a": [2]}, 1.0, ({"/a": [1, 2]}, {"/a": [2]})),
        ({"a": 1, "b": 2}, {"a": 1}, 1 / 2, ({"/b": 2}, {})),
        ({"a": 1, "b": None}, {"a": 1}, 1 / 2, ({"/b": None}, {})),
        ({"a": 1}, {"a": 1, "b": 2, "c": 3}, 1 / 2, ({"/*": {}}, {"/*": {"b": 2, "c": 3}})),
        ({"a/b": 1}, {"a/b": 2}, 1.0, ({"/a~1b": 1}, {"/a~1b": 2})),
    ],
)
def test_only_the_fields_that_differ_are_for_the_judge_and_weigh_their_share(incumbent, candidate, weight, shown):
    found = score(pair(incumbent, candidate), Contract("json"))
    assert isinstance(found, Question)
    assert (json.loads(found.incumbent), json.loads(found.candidate)) == shown
    assert found.weight == pytest.approx(weight)
    assert found.answered(1.0).d == pytest.approx(weight)


def test_fields_that_a_candidate_adds_do_not_dilute_its_error():
    right, wrong = {"total": 1}, {"total": 2, **{f"more{i}": i for i in range(100)}}
    found = score(pair(right, wrong, right), JSON)
    assert isinstance(found, Scored)
    assert found.d == 1.0
    assert score(pair(right, {"total": 2}, right), JSON) == Scored(1.0, "expected")


def test_fields_whose_value_is_known_are_settled_and_only_words_that_both_have_otherwise_are_judged():
    expected = {"total": 5, "city": "Bonn", "why": "it was late", "when": 1}
    incumbent = {"total": 5, "city": "Köln", "why": "late", "when": 2}
    candidate = {"total": 6, "city": "Bonn", "why": "delayed", "when": 3}
    found = score(pair(incumbent, candidate, expected), JSON)
    assert isinstance(found, Question)
    assert (found.settled, found.weight) == (0.0, 0.25)  # +1/4 for the total, -1/4 for the city, 0 for `when`
    assert (json.loads(found.incumbent), json.loads(found.expected or "")) == (
        {"/why": "late"},
        {"/why": "it was late"},
    )


def test_json_that_can_not_be_read_and_would_be_shown_all_the_same_is_worse():
    long = '{"total": "' + "x" * HELD_CHARS
    assert score(pair({"total": 1}, long, streamed=True), JSON) == Scored(1.0, "broken", "json")
    assert compared(score(pair("total: 1", long, streamed=True), JSON)) == (0.0, 1.0)
    assert score(pair("total: 1", {"total": 1}), JSON) == Question("the input", "total: 1", '{"total": 1}')


@QUICK
@given(OBJECTS, OBJECTS, st.none() | OBJECTS)
def test_d_of_json_lies_between_minus_one_and_one_and_swapping_the_arms_of_known_answers_swaps_its_sign(a, b, expected):
    found = score(pair(a, b, expected), Contract("json"))
    settled, weight = compared(found)
    assert abs(settled) + weight <= 1 + 1e-9
    if expected is not None:
        swapped = compared(score(pair(b, a, expected), Contract("json")))
        assert swapped == (pytest.approx(-settled), pytest.approx(weight))


@QUICK
@given(VALUES, VALUES)
def test_two_answers_are_a_tie_without_a_judge_exactly_if_they_are_equal_as_json(a, b):
    found = score(pair({"v": a}, {"v": b}), Contract("json"))
    assert (found == SAME) is same(json.dumps({"v": a}), json.dumps({"v": b}), JSON)


# Tool calls


def test_calls_are_equal_by_name_and_arguments_as_json_whatever_their_ids():
    one, other = calls(("find", '{"q": "a", "n": 1}')), calls(("find", '{"n":1.0,"q":"a"}'))
    assert score(pair(one, other), CALL) == SAME


@pytest.mark.parametrize(
    "candidate",
    [
        calls(("find", {"q": "b"})),
        calls(("seek", {"q": "a"})),
        calls(("find", {"q": "a"}), ("find", {"q": "a"})),
        calls(("find", {"q": "a"}), text="Let me look."),
        "I'll find it for you.",
        {"calls": [{"name": "find", "arguments": {"q": "a"}}], "text": ""},
    ],
    ids=["arguments", "name", "one more", "text beside it", "text instead", "a call as text"],
)
def test_another_call_or_a_text_is_for_the_judge(candidate):
    found = score(pair(calls(("find", {"q": "a"})), candidate), CALL)
    assert isinstance(found, Question)
    assert json.loads(found.incumbent) == {"calls": [{"name": "find", "arguments": {"q": "a"}}], "text": ""}
    assert json.loads(found.incumbent) != json.loads(found.candidate) or not said(candidate).tool_calls


def test_several_calls_count_in_their_order():
    first, second = ("a", {}), ("b", {})
    assert score(pair(calls(first, second), calls(first, second)), CALL) == SAME
    assert isinstance(score(pair(calls(first, second), calls(second, first)), CALL), Question)


@pytest.mark.parametrize(
    "expected",
    [
        {"name": "find", "arguments": {"q": "a"}},
        [{"type": "function", "function": {"name": "find", "arguments": '{"q": "a"}'}}],
    ],
)
def test_calls_are_held_against_the_call_that_is_expected(expected):
    right, wrong = calls(("find", {"q": "a"})), calls(("find", {"q": "b"}))
    assert score(pair(right, wrong, expected), CALL) == Scored(1.0, "expected")
    assert score(pair(wrong, right, expected), CALL) == Scored(-1.0, "expected")
    assert isinstance(score(pair(wrong, "no", expected), CALL), Question)


def test_a_text_can_be_what_is_expected_instead_of_a_call():
    assert score(pair("Which city?", calls(("find", {})), "Which city?"), CALL) == Scored(1.0, "expected")


def test_arguments_that_no_program_can_read_are_noticed_streamed_or_not():
    right, broken = calls(("find", {"q": "a"})), calls(("find", '{"q": '))
    for streamed in (False, True):
        found = score(Pair("hi", right, broken, streamed=streamed), CALL)
        assert found == Scored(0.0, "fallback", "arguments")


# Code


@pytest.mark.parametrize(
    "candidate",
    ["def f():\n    return 1", "```python\ndef f():  \n    return 1\n```\n", "def f():\t\r\n    return 1  \n\n"],
)
def test_code_is_equal_but_for_a_fence_and_whitespace_at_ends(candidate):
    assert score(pair("def f():\n    return 1\n", candidate), CODE) == SAME


@pytest.mark.parametrize(
    "candidate",
    [
        "def f():\n  return 1",
        "def f():\n\n    return 1",
        "  def f():\n    return 1",
        "Here:\n```\ndef f():\n    return 1\n```",
        "```\ndef f():\n    return 1\n```\n```\n```",
    ],
)
def test_indentation_blank_lines_and_words_around_are_for_the_judge(candidate):
    assert isinstance(score(pair("def f():\n    return 1", candidate), CODE), Question)


def test_whitespace_behind_a_backslash_means_something():
    assert isinstance(score(pair("a = 1 + \\\n2", "a = 1 + \\ \n2"), CODE), Question)


@QUICK
@given(TEXTS)
def test_what_is_plain_stays_plain(text):
    assert plain_code(f"```\n{plain_code(text)}\n```") == plain_code(text) or "```" in text
    assert plain_code(plain_code(text) + " \n") == plain_code(text) or "```" in text


def test_code_that_both_write_otherwise_than_expected_may_be_right():
    assert score(pair("a", "b", "a"), CODE) == Scored(1.0, "expected")
    assert score(pair("a", "b", "c"), CODE) == Question("the input", "a", "b", "c")


# Text


def test_text_is_for_the_judge_unless_it_is_the_same_and_the_judge_sees_what_is_expected():
    assert score(pair("1,250 EUR", " 1,250 EUR\n"), TEXT) == SAME
    assert score(pair("1,250 EUR", "1,550 EUR"), TEXT) == Question("the input", "1,250 EUR", "1,550 EUR")
    assert score(pair("a", "b", "a"), TEXT) == Question("the input", "a", "b", "a")


@QUICK
@given(TEXTS, TEXTS)
def test_no_two_texts_that_differ_are_ever_settled(a, b):
    found = score(pair(a, b), TEXT)
    assert isinstance(found, Question) is (bool(b.strip()) and a.strip() != b.strip())


# What would not be served


@pytest.mark.parametrize(
    ("candidate", "contract", "why"),
    [
        (None, LABEL, "failed"),
        (Answer(""), TEXT, "empty"),
        (Answer("", refused=True), TEXT, "refusal"),
        (Answer("goodish"), LABEL, "label"),
        (Answer("{}"), JSON, "json"),
        (Answer("half of it", finish_reason="length"), TEXT, "finish_reason"),
        (calls(("find", {})), TEXT, "tool_calls"),
        (Answer(""), CALL, "empty"),
        (replace(calls(("find", {})), finish_reason="length"), CALL, "finish_reason"),
    ],
)
def test_what_production_would_notice_costs_no_quality_because_the_incumbent_answers(candidate, contract, why):
    found = score(Pair("in", Answer("good"), candidate, "good"), contract)
    assert found == Scored(0.0, "fallback", why)


@pytest.mark.parametrize(
    ("text", "contract", "noticed"),
    [
        ("half of it", TEXT, False),
        ("half of it", CODE, False),
        ("", TEXT, True),
        ("goo", LABEL, True),
        ('{"total": ', JSON, True),
        ('{"total": "' + "x" * HELD_CHARS, JSON, False),
    ],
)
def test_what_a_stream_has_shown_already_can_not_be_taken_back_and_is_compared(text, contract, noticed):
    answer = Answer(text, finish_reason="length")
    assert (caught(answer, contract, streamed=True) is not None) is noticed
    assert caught(answer, contract, streamed=False) is not None
    assert compared(score(Pair("in", Answer("whole"), answer, streamed=True), contract)) == (0.0, float(not noticed))


# What becomes of a question


@pytest.mark.parametrize("kind", ["label", "json", "tool_call", "code", "text"])
def test_without_a_verdict_a_difference_counts_as_worse(kind: Kind):
    found = score(pair('{"a": 1}', '{"a": 2}'), Contract(kind, ('{"a": 1}', '{"a": 2}')))
    assert isinstance(found, Question)
    assert found.unjudged("refused") == Scored(1.0, "unjudged", "refused")
    assert found.without_judge() == Scored(1.0, "different")
    assert found.answered(-0.5) == Scored(-0.5, "judged")


def test_a_definition_of_d_comes_back_from_json_as_it_was():
    made = Scoring("text", "fake-strong", "judge.v1")
    assert Scoring.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made != Scoring("text", "fake-mini", "judge.v1")
