import json
from typing import Any

import pytest

from proxy.answer import Answer, read_answer

CALL = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Oslo"}'}}
OTHER = {"id": "2", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def whole(*choices: dict[str, Any]) -> Answer:
    return read_answer(json.dumps({"choices": choices}).encode(), streamed=False)


def streamed(*deltas: dict[str, Any] | None, finish: str | None = "stop") -> Answer:
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    if finish:
        choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    events = [b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" for choice in choices]
    return read_answer(b"".join([*events, b'data: {"choices":[],"usage":{}}\n\n', b"data: [DONE]\n\n"]), streamed=True)


def test_a_text_is_read_whole_and_in_pieces():
    expected = Answer("good ☀ day", [], "stop", 1)
    assert whole({"message": {"content": "good ☀ day"}, "finish_reason": "stop"}) == expected
    assert streamed({"role": "assistant", "content": ""}, {"content": "good ☀"}, {"content": " day"}) == expected


def test_calls_are_put_together_from_their_pieces():
    expected = Answer("", [CALL, OTHER], "tool_calls", 1)
    message = {"content": None, "tool_calls": [CALL, OTHER]}
    assert whole({"message": message, "finish_reason": "tool_calls"}) == expected
    pieces = [
        {"tool_calls": [{"index": 0, **CALL, "function": {"name": "look_up", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 1, **OTHER, "function": {"name": "add", "arguments": "{"}}]},
        {
            "tool_calls": [
                {"index": 0, "function": {"arguments": ' "Oslo"}'}},
                {"index": 1, "function": {"arguments": "}"}},
            ]
        },
    ]
    assert streamed({"content": None}, *pieces, finish="tool_calls") == expected


def test_a_function_called_the_old_way_is_a_call():
    called = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"content": None, "function_call": called["function"]}
    assert whole({"message": message, "finish_reason": "function_call"}).tool_calls == [called]
    deltas = [{"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}]
    assert streamed(*deltas, finish="function_call").tool_calls == [called]


@pytest.mark.parametrize("finish", ["length", "content_filter", None])
def test_why_it_ended_is_told(finish):
    assert whole({"message": {"content": "x"}, "finish_reason": finish}).finish == (finish or "")
    assert streamed({"content": "x"}, finish=finish).finish == (finish or "")


def test_several_answers_are_counted():
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    assert whole(choice, choice).choices == 2
    event = b'data: {"choices":[{"index":%d,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'
    assert read_answer(event % 0 + event % 1, streamed=True).choices == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"[]",
        b'{"choices": null}',
        b'{"choices": {}}',
        b'{"choices": []}',
        b'{"choices": ["x"]}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": "x", "delta": "x", "finish_reason": 3}]}',
        b'{"choices": [{"message": {"content": 3, "tool_calls": "x"}, "delta": {"content": 3, "tool_calls": [3]}}]}',
        b'{"choices": [{"delta": {"tool_calls": [{"index": "x", "function": 3}]}, "message": {"tool_calls": [null]}}]}',
        b'{"error": {"message": "overloaded"}}',
    ],
)
def test_what_is_no_answer_has_no_end_and_no_text(data, stream):
    found = read_answer(b"data: " + data + b"\n\n" if stream else data, streamed=stream)
    assert (found.text, found.finish) == ("", "")
