import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.degrade import OPERATORS, Planted, Recorded, plant
from compiler.score import Answer, Pair, Question, score
from compiler.task import Contract, Kind
from compiler.worsen import CODE, JSON, TEXT, exchanged_field, without_field, worse_field

MAILS = (
    "Your order 4711 is on its way. It was sent on 3 May and should arrive before Friday.",
    "Ihr Paket ist noch nicht da. Bitte warten Sie bis 12. Mai; danach erstatten wir immer den vollen Betrag.",
    "No, the warranty does not cover water damage. You can send the phone in for a repair that takes 5 days.",
)
BILL = {"total": 12, "city": "Bonn", "paid": True, "items": [{"n": 1, "what": "a red ball"}, {"n": 2, "what": "a bat"}]}
WANTED = {"what": "a ball that is red", "sizes": [1, 2], "new": True}
FUNCTION = "```python\ndef f(x):\n    # a note\n    if x > 2 and x <= 9:\n        return x + 1\n    return True\n```"
QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def recorded(kind: Kind, number: int) -> list[Recorded]:
    """As an app's own model may have answered inputs of such a task."""
    made: dict[Kind, Any] = {
        "label": lambda i: Answer(("good", "bad", "ugly")[i % 3]),
        "json": lambda i: Answer(json.dumps({**BILL, "total": 10 + 7 * i, "paid": bool(i % 2), "city": f"C{i % 5}"})),
        "tool_call": lambda i: Answer("", (call(("find", "buy")[i % 2], {"n": i, **WANTED}), call("log", {"x": i}))),
        "code": lambda i: Answer(FUNCTION.replace("2", str(20 + i))),
        "text": lambda i: Answer(MAILS[i % 3].replace("4711", str(5000 + i)).replace("5 days", f"{i + 3} days")),
    }
    return [Recorded(f"input {i}", made[kind](i)) for i in range(number)]


CONTRACTS = [
    Contract("label", ("bad", "good", "ugly")),
    Contract("json", keys=("total",)),
    Contract("tool_call"),
    Contract("code"),
    Contract("text"),
]
each_kind = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.kind)


def operators(planted: list[Planted]) -> set[str]:
    return {one.operator for one in planted}


@each_kind
def test_forty_answers_make_sixty_degradations_none_twice_and_every_operator_has_its_turn(contract):
    planted = plant(recorded(contract.kind, 40), contract, at_most=60)
    assert len(planted) == len({(one.input, one.question.candidate) for one in planted}) == 60
    assert operators(planted) >= set(OPERATORS[contract.kind]) - {"negated", "cut_off"}


@each_kind
def test_what_is_planted_is_always_a_question_for_a_judge(contract):
    made = recorded(contract.kind, 12)
    by_input = {one.input: one.answer for one in made}
    for one in plant(made, contract, at_most=200):
        assert score(Pair(one.input, by_input[one.input], one.degraded), contract) == one.question
        assert one.question.incumbent != one.question.candidate


@each_kind
def test_the_same_answers_are_degraded_in_the_same_way(contract):
    made, again = recorded(contract.kind, 12), recorded(contract.kind, 12)
    assert plant(made, contract, at_most=60) == plant(again, contract, at_most=60)


@each_kind
def test_nothing_comes_of_nothing(contract):
    assert plant([], contract, at_most=60) == []


def test_one_input_that_came_twice_is_not_another_input():
    made = [Recorded("the same", Answer("One way to say it.")), Recorded("the same", Answer("Another way to say it."))]
    assert "other_input" not in operators(plant(made, Contract("text"), at_most=60))


def test_what_production_would_notice_is_not_planted():
    (one,) = recorded("json", 1)
    contract = Contract("json", keys=tuple(BILL))
    shown = [json.loads(p.degraded.text) for p in plant([one], contract, at_most=200)]
    assert all(set(BILL) <= set(data) for data in shown)
    labels = plant(recorded("label", 6), CONTRACTS[0], at_most=60)
    assert {p.degraded.text for p in labels} == {"bad", "good", "ugly"}


def test_the_answer_to_another_input_is_one():
    made = recorded("text", 3)
    others = [p for p in plant(made, Contract("text"), at_most=60) if p.operator == "other_input"]
    own = {one.input: one.answer for one in made}
    assert all(p.degraded in own.values() and p.degraded != own[p.input] for p in others)
    assert others


# Operators


@pytest.mark.parametrize(
    ("operator", "text", "worse"),
    [
        ("wrong_number", "It costs 1,250 EUR.", {"It costs 5,250 EUR.", "It costs 1,350 EUR."}),
        ("negated", "It is open.", {"It is not open."}),
        ("negated", "It is not open.", {"It is open."}),
        ("negated", "It isn't open.", {"It is open."}),
        ("negated", "You cannot enter.", {"You can enter."}),
        ("negated", "Das ist offen.", {"Das ist nicht offen."}),
        ("opposite", "Always before noon.", {"Never before noon.", "Always after noon."}),
        ("without_sentence", "Yes. It comes on Friday. Bye.", {"Yes. Bye."}),
        ("looped", "Yes. It comes.", {"Yes. Yes. Yes. Yes."}),
        ("cut_off", "one two three four five six", {"one two"}),
        ("other_language", "The train is late and full.", {"Das lässt sich so nicht sagen; bitte fragen Sie später."}),
        ("other_language", "Der Zug ist zu spät.", {"That can't be said like this; please ask again later."}),
    ],
)
def test_an_operator_makes_one_error(operator, text, worse):
    assert {TEXT[operator](text, seed) for seed in range(8)} >= worse


@pytest.mark.parametrize(
    ("operator", "code", "worse"),
    [
        ("wrong_operator", "if a == b and c:", {"if a != b and c:", "if a == b or c:"}),
        ("without_line", "a = 1\n# note\nb = 2", {"# note\nb = 2", "a = 1\n# note"}),
        ("half_of_lines", "a\nb\nc\nd", {"a\nb"}),
    ],
)
def test_an_operator_makes_one_error_in_code(operator, code, worse):
    assert {CODE[operator](code, seed) for seed in range(8)} == worse


@pytest.mark.parametrize(
    ("operator", "data", "worse"),
    [
        ("flipped", {"a": 1, "b": [True]}, [{"a": 1, "b": [False]}]),
        ("without_item", {"b": [1, 2]}, [{"b": [2]}, {"b": [1]}]),
        ("emptied", {"a": "x", "b": []}, [{"a": "", "b": []}]),
        ("wrong_text", {"a": "It is red."}, [{"a": "It is not red."}]),
        ("wrong_number", {"a": True, "b": "1"}, []),
    ],
)
def test_an_operator_makes_one_field_worse(operator, data, worse):
    found = [worse_field(JSON[operator], data, seed) for seed in range(8)]
    assert all(one in found for one in worse)
    assert all(one in worse for one in found if one is not None)


def test_a_field_is_exchanged_or_left_out():
    assert exchanged_field({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}, 1) == {"a": 1, "b": {"c": 3}}
    assert [without_field({"a": 1, "b": {"c": 2}}, seed) for seed in range(3)] == [
        {"b": {"c": 2}},
        {"a": 1},
        {"a": 1, "b": {}},
    ]


@QUICK
@given(st.text(st.characters() | st.sampled_from("123 .\nisnot"), max_size=60), st.integers(0, 2**64))
def test_no_operator_leaves_a_text_as_it_was_or_fails(text, seed):
    for name, worsen in (*TEXT.items(), *CODE.items()):
        assert worsen(text, seed) != text or name == "looped"


@QUICK
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    st.integers(0, 2**64),
)
def test_no_operator_leaves_json_as_it_was_or_fails(data, seed):
    before = json.dumps(data)
    for way in JSON.values():
        worse = worse_field(way, data, seed)
        assert worse is None or json.dumps(worse) != before
    assert (without_field(data, seed), json.dumps(data)) != (data, before) or data is None
    assert json.dumps(data) == before


@QUICK
@given(st.lists(st.text(st.sampled_from("ab1. \n"), max_size=30), min_size=1, max_size=6))
def test_whatever_was_answered_is_degraded_into_something_else(texts):
    made = [Recorded(str(i), Answer(text)) for i, text in enumerate(texts)]
    for one in plant(made, Contract("text"), at_most=30):
        assert isinstance(one.question, Question)
        assert one.question.candidate.strip() != one.question.incumbent.strip()
