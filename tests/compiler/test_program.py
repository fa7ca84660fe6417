import json

import pytest

from compiler.example import Example
from compiler.families import Family
from compiler.frame import Frame
from compiler.program import Prompt, rewrite

PROMPT = Prompt("Say good or bad.", (Example("sun", "good"), Example("rain", "bad")))
SHOWN = [
    {"role": "user", "content": "sun"},
    {"role": "assistant", "content": "good"},
    {"role": "user", "content": "rain"},
    {"role": "assistant", "content": "bad"},
]
OTHER = Family(openai=False)


def test_static_text_comes_first_and_the_input_last():
    assert PROMPT.messages("snow") == [
        {"role": "system", "content": "Say good or bad."},
        *SHOWN,
        {"role": "user", "content": "snow"},
    ]


def test_a_prompt_comes_back_from_json_as_it_was():
    assert Prompt.from_json(json.loads(json.dumps(PROMPT.to_json()))) == PROMPT


@pytest.mark.parametrize("role", ["system", "developer"])
def test_the_instructions_that_were_compiled_are_dropped(role):
    body = {
        "model": "strong",
        "messages": [{"role": role, "content": "You are a judge."}, {"role": "user", "content": "x"}],
    }
    out = rewrite(body, PROMPT, "nano", OTHER, replaces="You are a judge.")
    assert out["model"] == "nano"
    assert out["messages"] == PROMPT.messages("x")


@pytest.mark.parametrize("content", ["You are a judge. Speak French.", "you are a judge.", "You are a judge. "])
def test_instructions_that_differ_by_one_letter_stay_behind_the_prompts(content):
    own = {"role": "system", "content": content}
    body = {"messages": [own, {"role": "user", "content": "x"}]}
    messages = rewrite(body, PROMPT, "nano", OTHER, replaces="You are a judge.")["messages"]
    assert messages == [
        {"role": "system", "content": "Say good or bad."},
        own,
        *SHOWN,
        {"role": "user", "content": "x"},
    ]


def test_nothing_is_dropped_where_nothing_was_replaced():
    own = {"role": "system", "content": "Speak French."}
    assert own in rewrite({"messages": [own]}, PROMPT, "nano", OTHER)["messages"]


def test_every_turn_of_the_request_is_kept_as_it_is_and_in_order():
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "x"}], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": "y"},
        {"role": "user", "content": "z"},
    ]
    assert rewrite({"messages": turns}, PROMPT, "nano", OTHER)["messages"] == [*PROMPT.opening(), *turns]


def test_other_parameters_stay_and_are_translated_for_the_models_family():
    body = {"messages": [], "stream": True, "max_completion_tokens": 5, "reasoning_effort": "low", "user": "u"}
    out = rewrite(body, PROMPT, "nano", OTHER)
    assert {k: v for k, v in out.items() if k not in ("model", "messages")} == {
        "stream": True,
        "max_tokens": 5,
        "user": "u",
    }


def test_the_request_itself_is_left_as_it_was():
    body = {"model": "strong", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    before = json.dumps(body)
    rewrite(body, PROMPT, "nano", Family(reasoning=True), replaces="x")
    assert json.dumps(body) == before


FRAMED = Prompt("Say good or bad.", (Example("sun", "good"),), Frame.of(("Mood of: ", "")))


def test_a_prompt_that_says_what_the_apps_message_said_is_sent_its_data_alone():
    body = {"model": "m", "messages": [{"role": "user", "content": "Mood of: snow"}]}
    assert rewrite(body, FRAMED, "n", OTHER)["messages"] == FRAMED.messages("Mood of: snow")
    assert FRAMED.messages("Mood of: snow")[-1] == {"role": "user", "content": "snow"}
    assert Prompt.from_json(json.loads(json.dumps(FRAMED.to_json()))) == FRAMED


def test_a_message_of_another_form_goes_in_whole():
    for content in ("The mood of: snow", [{"type": "text", "text": "Mood of: snow"}]):
        body = {"model": "m", "messages": [{"role": "user", "content": content}]}
        assert rewrite(body, FRAMED, "n", OTHER)["messages"][-1]["content"] == content


def test_it_knows_which_inputs_it_shows():
    assert FRAMED.shows("Mood of: sun") and not FRAMED.shows("Mood of: snow")
    assert PROMPT.shows("sun") and not PROMPT.shows("Mood of: sun")
