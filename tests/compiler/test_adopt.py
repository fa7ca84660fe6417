import json
from dataclasses import replace

import pytest

from compiler.adopt import adopted, examples_of, unfit
from compiler.families import Family
from compiler.frame import Frame
from compiler.program import Prompt, rewrite
from compiler.recognition.template import Pattern, Slot, Template
from compiler.task import Task
from tests.learned import observed, request

SLOT = Slot(longest=99)
ASKED = Pattern(("Mail: ", ""), (SLOT,))
PLAIN = Template("t1", "shop", "s", ("user",), (ASKED,), model="fake-strong")
SYSTEM = Template("t2", "shop", "s", ("system", "user"), (Pattern(("Sum it up.",)), ASKED), model="fake-strong")


def test_a_constant_system_prompt_is_what_a_card_replaces():
    task = adopted("sum-up", [SYSTEM])
    assert (task.system, task.instructions, task.incumbent) == ("Sum it up.", "Sum it up.", "fake-strong")
    assert (task.tenant, task.trust, task.recognised) == ("shop", "proven", True)
    assert "Mail: {text1}" in task.description


def test_without_a_system_prompt_the_message_says_it_all_and_is_sent_as_it_is():
    task = adopted("sum-up", [PLAIN])
    assert (task.system, task.instructions) == (None, "")
    body = request("Mail: {}", "Hello")
    sent = rewrite(body, Prompt(task.instructions), "fake-nano", Family(), replaces=task.system)
    assert sent["messages"] == body["messages"]


def test_another_wording_is_another_definition():
    other = replace(PLAIN, patterns=(Pattern(("Letter: ", ""), (SLOT,)),))
    assert adopted("sum-up", [PLAIN]).definition() != adopted("sum-up", [other]).definition()
    wider = replace(PLAIN, patterns=(Pattern(("Mail: ", ""), (Slot(longest=500),)),))
    assert adopted("sum-up", [PLAIN]).definition() == adopted("sum-up", [wider]).definition()


@pytest.mark.parametrize(
    ("templates", "why"),
    [
        ([PLAIN], None),
        ([SYSTEM], None),
        ([], "free chat"),
        ([replace(PLAIN, catch_all=True)], "free chat"),
        ([replace(SYSTEM, patterns=(ASKED, ASKED))], "system prompt holds data"),
        ([replace(SYSTEM, roles=("user", "user"))], "several turns"),
        ([replace(SYSTEM, roles=("assistant", "user"))], "several turns"),
        ([SYSTEM, replace(SYSTEM, patterns=(Pattern(("Sum up.",)), ASKED))], "different system prompts"),
        (
            [replace(SYSTEM, roles=("system", "developer", "user"), patterns=(*SYSTEM.patterns[:1] * 2, ASKED))],
            "several system prompts",
        ),
    ],
)
def test_what_no_card_can_serve_yet_says_why(templates, why):
    found = unfit(templates)
    assert found is None if why is None else found and why in found


def test_examples_are_whole_messages_and_their_newest_answers():
    asked = [request("Mail: {}", text) for text in ("one", "two", "one", "three")]
    answers = ["a", "b", "c", " "]
    found = examples_of(observed(body, answer=answer) for body, answer in zip(asked, answers, strict=True))
    assert [(example.input, example.expected) for example in found] == [("Mail: one", "c"), ("Mail: two", "b")]


def test_an_answer_that_calls_a_tool_is_no_example():
    called = replace(observed(request("Mail: {}", "one")), tool_calls=[{"function": {"name": "f"}}])
    assert examples_of([called]) == []


def test_what_a_user_expected_goes_before_what_was_answered_whenever_that_was():
    asked = [("a", "yes", None), ("b", "yes", "no"), ("b", "yes", None), ("c", "", "no"), ("a", "no", None)]
    found = [replace(observed(request("{}", text), answer=answer), expected=e) for text, answer, e in asked]
    assert [(one.input, one.expected) for one in examples_of(found)] == [("a", "no"), ("b", "no"), ("c", "no")]


def test_a_template_with_instructions_around_its_data_becomes_a_frame():
    assert adopted("sum-up", [PLAIN]).frame == Frame(("Mail: ", ""), ("mail",))
    assert adopted("sum-up", [PLAIN]).wording == "Mail: {mail}"
    assert adopted("sum-up", [SYSTEM]).wording == "Sum it up.\n\nMail: {mail}"
    assert Task.from_json(json.loads(json.dumps(adopted("sum-up", [PLAIN]).to_json()))) == adopted("sum-up", [PLAIN])


@pytest.mark.parametrize(
    "templates",
    [
        [PLAIN, replace(PLAIN, id="t3", patterns=(Pattern(("Letter: ", ""), (SLOT,)),))],
        [replace(PLAIN, patterns=(Pattern(("", ""), (SLOT,)),))],
        [replace(PLAIN, patterns=(Pattern(("Always the same.",)),))],
        [replace(PLAIN, patterns=(Pattern(("Into ", ": ", ""), (Slot("enumerated", values=frozenset("ab")), SLOT)),))],
    ],
)
def test_what_can_be_said_in_several_ways_or_says_nothing_has_no_frame(templates):
    assert adopted("sum-up", templates).frame is None


def test_examples_know_how_often_their_input_came():
    asked = [request("Mail: {}", text) for text in ("one", "two", "one")]
    assert [example.times for example in examples_of(observed(body, answer="a") for body in asked)] == [2, 1]
