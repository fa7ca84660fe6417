import json
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import PlanError
from compiler.plan import MOST_ANSWER_CHARS, Plan, read_plan
from tests.compiler.plans import node, plan

PLAN = plan(
    node("facts", "text", output={"type": "array", "items": {"type": "string"}}),
    node("checked", "facts", map_over="facts", optional=True, timeout=5.0),
    needs=("checked", "text"),
    quorum=1,
)
WRITTEN = json.dumps(PLAN.to_json())


def test_a_plan_comes_back_from_json_as_it_was():
    assert Plan.from_json(json.loads(WRITTEN)) == PLAN
    assert PLAN.to_json()["kind"] == "plan"


def test_a_plan_is_read_by_a_person():
    assert PLAN.in_words() == (
        "given: text\n"
        "facts = nano(text) → JSON\n"
        "checked = nano(facts), for each of facts → text (may fail)\n"
        "answer = mini(checked, text), 1 of them at least"
    )


def test_a_plan_can_not_be_changed():
    with pytest.raises(FrozenInstanceError):
        PLAN.slots = ()  # type: ignore[misc]


def test_what_a_plan_leaves_out_has_its_default():
    short = {
        "slots": ["text"],
        "nodes": [{"id": "a", "expert": "nano", "prompt": "{{text}}", "inputs": ["text"]}],
        "synthesis": {"expert": "mini", "prompt": "{{a}}", "needs": ["a"], "quorum": None},
    }
    (one,) = Plan.from_json(short).nodes
    assert (one.output, one.max_tokens, one.timeout, one.optional, one.map_over) == (None, 500, 30.0, False, None)


@pytest.mark.parametrize(
    "answer",
    [
        WRITTEN,
        f"Here is the plan {{as asked}}:\n```json\n{WRITTEN}\n```\nIt maps [the facts].",
        f"<thinking>one {{call}} won't do</thinking> {WRITTEN} That's it.",
    ],
)
def test_a_plan_is_read_out_of_what_stands_around_it(answer):
    assert read_plan(answer) == PLAN


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("", "unreadable"),
        ("I'm sorry, I can't help with that.", "unreadable"),
        ("[1, 2]", "unreadable"),
        ('{"nodes"', "unreadable"),
        ("{" * 5_000, "unreadable"),
        ('{"nodes": ' + "[" * 40_000, "unreadable"),
        ('{"nodes": ' + "[" * 400 + "]" * 400 + "}", "unreadable"),
        (f'{{"nodes": {"9" * 5_000}}}', "unreadable"),
        ("```json\n" + " " * 90_000, "unreadable"),
        ("[" + "\n" * 90_000, "unreadable"),
        ("```" * 30_000, "unreadable"),
        ("x" * (MOST_ANSWER_CHARS + 1), "size"),
        ('{"nodes": 7}', "form"),
        ('{"nodes": [], "synthesis": null}', "form"),
        ('{"nodes": [7]}', "form"),
        (WRITTEN.replace('"nano"', "null"), "form"),
        (WRITTEN.replace("500", "true"), "form"),
        (WRITTEN.replace("500", "1e2"), "form"),
        (WRITTEN.replace("5.0", '"5"'), "form"),
        (WRITTEN.replace('["text"]', '[["text"]]'), "form"),
        (WRITTEN.replace("true", '"yes"'), "form"),
        (WRITTEN.replace('{"type": "array"', '"x", "y": {"type": "array"'), "form"),
    ],
)
def test_an_answer_without_a_plan_says_what_is_wrong(answer, code):
    with pytest.raises(PlanError) as error:
        read_plan(answer)
    assert error.value.code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.text() | JSON.map(json.dumps) | st.lists(st.integers(0, len(WRITTEN) - 1), min_size=2, max_size=2))
def test_whatever_the_answer_is_nothing_else_is_raised(answer):
    if isinstance(answer, list):  # a plan, a piece of which is missing
        start, end = sorted(answer)
        answer = WRITTEN[:start] + WRITTEN[end:]
    try:
        read_plan(answer)
    except PlanError as error:
        assert error.code in ("unreadable", "form")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_stands_in_a_field_nothing_else_is_raised(data):
    made = json.loads(WRITTEN)
    part = data.draw(st.sampled_from([made, made["synthesis"], *made["nodes"]]))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(JSON | st.just(10**400) | st.just(float("inf")))
    try:
        read_plan(json.dumps(made))
    except PlanError as error:
        assert error.code in ("unreadable", "form")


def test_a_circle_is_named():
    circle = replace(PLAN, nodes=(node("a", "c"), node("b", "a"), node("c", "b"), node("d", "text")))
    with pytest.raises(PlanError, match=r"a → b → c → a|b → c → a → b|c → a → b → c") as error:
        circle.ordered()
    assert error.value.code == "cycle"
