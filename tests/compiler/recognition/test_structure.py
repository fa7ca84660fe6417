import pytest

from compiler.recognition.structure import CHAT, structure_key, texts_of

TEXT = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Looks up an order."}}
BODY = {"model": "gpt-big", "messages": [TEXT]}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


def key(tenant: str = "shop", endpoint: str = CHAT, /, **more) -> str:
    return structure_key(tenant, endpoint, BODY | more)


def told(description: str) -> list:
    return [TOOL | {"function": TOOL["function"] | {"description": description}}]


def schema(name: str) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": {"properties": {name: {"type": "string"}}}}}


DIFFERENT = {
    "plain": key(),
    "tenant": key("other"),
    "endpoint": key("shop", "/v1/responses"),
    "model": key(model="gpt-small"),
    "no model": key(model=None),
    "tools": key(tools=[TOOL]),
    "a tool more": key(tools=[TOOL, TOOL]),
    "a word of a tool": key(tools=told("Looks up an invoice.")),
    "a negation in a tool": key(tools=told("Never looks up an order.")),
    "functions": key(functions=[TOOL]),
    "tool choice": key(tool_choice="none"),
    "function call": key(function_call="none"),
    "an object": key(response_format={"type": "json_object"}),
    "a schema": key(response_format=schema("city")),
    "another schema": key(response_format=schema("town")),
    "system": key(messages=[{"role": "system", "content": "hi"}, TEXT]),
    "developer": key(messages=[{"role": "developer", "content": "hi"}, TEXT]),
    "another order": key(messages=[TEXT, {"role": "system", "content": "hi"}]),
    "a turn more": key(messages=[TEXT, TEXT]),
    "none": key(messages=[]),
    "two parts": key(messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}] * 2}]),
    "an image": key(messages=[{"role": "user", "content": [IMAGE]}]),
    "no content": key(messages=[{"role": "user", "content": None}]),
    "calls": key(messages=[{"role": "user", "content": "hi", "tool_calls": [{"id": "1"}]}]),
    "a name": key(messages=[TEXT | {"name": "ann"}]),
    "no messages": key(messages=None),
    "a broken message": key(messages=["hi"]),
    "a broken part": key(messages=[{"role": "user", "content": ["hi"]}]),
}


def test_whatever_differs_beside_the_texts_is_another_structure():
    assert len(set(DIFFERENT.values())) == len(DIFFERENT) - 1
    assert DIFFERENT["no messages"] != DIFFERENT["none"]
    # a message that is no object and a list that is none are both of no known form
    assert DIFFERENT["a broken message"] == DIFFERENT["no messages"]


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "user", "content": "something else"}]},
        {"temperature": 0.5, "max_tokens": 7, "user": "ann", "seed": 3, "stream": True, "metadata": {"a": "b"}},
        {"tools": None, "response_format": None},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    ],
)
def test_texts_and_parameters_make_no_other_structure(more):
    assert key(**more) == key()


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"n": 2**70, "s": "\ud800"}]},
        {"model": "\ud800"},
        {"model": ["a"]},
        {"messages": [{"role": "\udfff", "content": 5}]},
        {"messages": [{"role": {"a": 1}, "content": [{"type": ["x"]}]}, 5, None]},
        {"messages": {"a": 1}},
    ],
)
def test_nothing_is_raised_for_a_body_of_no_known_form(more):
    assert key(**more) == key(**more) != key()


def test_names_that_run_into_each_other_are_told_apart():
    assert structure_key("ab", "c", BODY) != structure_key("a", "bc", BODY)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hi", "hi"),
        ("", ""),
        ([{"type": "text", "text": "hi"}], "hi"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\x1fb"),
    ],
)
def test_a_message_has_one_text(content, text):
    assert texts_of([{"role": "user", "content": content}, TEXT]) == (text, "hi")


@pytest.mark.parametrize(
    "content", [None, 5, [], ["hi"], [IMAGE], [{"type": "text", "text": "a"}, IMAGE], {"text": "a"}]
)
def test_what_is_not_all_text_has_no_texts(content):
    assert texts_of([TEXT, {"role": "user", "content": content}]) is None


@pytest.mark.parametrize("messages", [None, "hi", {"a": 1}, ["hi"], [None]])
def test_messages_of_no_known_form_have_no_texts(messages):
    assert texts_of(messages) is None


def test_no_messages_have_no_texts_each():
    assert texts_of([]) == ()
