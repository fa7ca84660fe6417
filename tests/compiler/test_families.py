import pytest

from compiler.families import DEFAULT_REASONING_ROOM, Family, translate

REASONING = Family(reasoning=True)
OPENAI = Family()
OTHER = Family(openai=False)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-3.5-turbo", Family(json_schema=False)),
        ("gpt-35-turbo", Family()),
        ("gpt-4", Family(json_schema=False)),
        ("gpt-4-turbo", Family(json_schema=False)),
        ("gpt-4o", Family()),
        ("gpt-4o-mini-2024-07-18", Family()),
        ("gpt-4.1-nano", Family()),
        ("chatgpt-4o-latest", Family()),
        ("ft:gpt-4o-mini:acme::x", Family()),
        ("gpt-5", Family(reasoning=True)),
        ("gpt-5-mini-2025-08-07", Family(reasoning=True)),
        ("gpt-5.1", Family(reasoning=True)),
        ("gpt-5-chat-latest", Family()),
        ("gpt-10", Family(reasoning=True)),
        ("o1", Family(reasoning=True)),
        ("o3-mini", Family(reasoning=True)),
        ("openai/o4-mini", Family(reasoning=True)),
        ("GPT-5", Family(reasoning=True)),
        ("qwen2.5-coder-0.5b", Family(openai=False)),
        ("meta-llama/Llama-3.1-8B", Family(openai=False)),
        ("olmo-2", Family(openai=False)),
        ("claude-haiku-4-5", Family(openai=False)),
    ],
)
def test_the_family_is_read_off_the_name(model, family):
    assert Family.of(model) == family


def test_the_users_word_on_a_model_stands_over_the_name():
    own = {"gpt-5": OTHER, "local/qwen": REASONING}
    assert Family.of("gpt-5", own) == OTHER
    assert Family.of("cloud/gpt-5", own) == OTHER
    assert Family.of("local/qwen", own) == REASONING
    assert Family.of("gpt-4o", own) == OPENAI


@pytest.mark.parametrize(
    ("body", "target", "expected"),
    [
        ({"max_tokens": 5}, OPENAI, {"max_completion_tokens": 5}),
        ({"max_completion_tokens": 5}, OPENAI, {"max_completion_tokens": 5}),
        ({"max_tokens": 9, "max_completion_tokens": 5}, OPENAI, {"max_completion_tokens": 5}),
        ({"max_completion_tokens": 5}, OTHER, {"max_tokens": 5}),
        ({"max_tokens": 5}, OTHER, {"max_tokens": 5}),
        ({"max_tokens": 5}, REASONING, {"max_completion_tokens": 5 + DEFAULT_REASONING_ROOM}),
        ({"max_tokens": None}, OTHER, {}),
        ({}, REASONING, {}),
        ({"temperature": 0, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "stop": "x"}, REASONING, {}),
        ({"temperature": 0, "top_p": 1, "stop": "x"}, OTHER, {"temperature": 0, "top_p": 1, "stop": "x"}),
        ({"reasoning_effort": "low", "verbosity": "low"}, REASONING, {"reasoning_effort": "low", "verbosity": "low"}),
        ({"reasoning_effort": "low", "verbosity": "low"}, OPENAI, {}),
        ({"seed": 1, "response_format": {"type": "text"}}, OTHER, {"seed": 1, "response_format": {"type": "text"}}),
    ],
)
def test_parameters_are_translated_between_families(body, target, expected):
    head = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert translate({**head, **body}, target) == {**head, **expected}


def test_the_translated_request_is_left_as_it_was():
    body = {"max_tokens": 5, "temperature": 1}
    translate(body, REASONING)
    assert body == {"max_tokens": 5, "temperature": 1}
