import json

import pytest

from proxy import sse

EVENTS = [
    b": hello\n\n",
    b'event: x\ndata: {"model": "m-1", "choices": [{"delta": {"content": "\xc3\xa4"}}]}\n\n',
    b'data: {"a":\ndata: 1}\n\n',
    b'data: {"choices": [], "usage": {"prompt_tokens": 3}}\n\n',
    b"data: [DONE]\n\n",
]


def cut(*chunks: bytes) -> list[bytes]:
    events = sse.Events()
    found = [event for chunk in chunks for event in events.feed(chunk)]
    return found + ([rest] if (rest := events.rest()) else [])


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_events_are_whole_wherever_the_stream_is_cut(ending):
    expected = [event.replace(b"\n", ending) for event in EVENTS]
    stream = b"".join(expected)
    for at in range(len(stream) + 1):
        assert cut(stream[:at], stream[at:]) == expected
    assert cut(*(bytes([byte]) for byte in stream)) == expected


def test_a_stream_may_mix_its_line_ends():
    stream = b"data: 1\r\n\r\ndata: 2\n\ndata: 3\r\n\r\n"
    assert [sse.payload(event) for event in cut(stream)] == [b"1", b"2", b"3"]


def test_a_rest_without_its_blank_line_comes_last():
    assert cut(b"data: 1\n\nda", b"ta: 2") == [b"data: 1\n\n", b"data: 2"]
    assert cut() == []


def test_only_the_usage_event_is_hidden_however_the_stream_is_cut():
    stream, usage = b"".join(EVENTS), EVENTS[3]
    for at in range(len(stream) + 1):
        shorten = sse.WithoutUsage()
        assert b"".join((shorten(stream[:at]), shorten(stream[at:]), shorten(b""))) == stream.replace(usage, b"")


def test_a_last_event_without_its_end_is_shown_too():
    shorten = sse.WithoutUsage()
    assert shorten(b"data: 1\n\ndata: 2") + shorten(b"") == b"data: 1\n\ndata: 2"


@pytest.mark.parametrize(
    ("event", "value"),
    [
        (b'data: {"a": 1}\n\n', {"a": 1}),
        (b'data:{"a": 1}\r\n\r\n', {"a": 1}),
        (b'data: {"a":\ndata: 1}\n\n', {"a": 1}),
        (b"data: [DONE]\n\n", None),
        (b": comment\n\n", None),
        (b"data: [1]\n\n", None),
        (b"data: {broken\n\n", None),
        (b"data\n\n", None),
        (b"", None),
    ],
)
def test_an_event_says_an_object_or_nothing(event, value):
    assert sse.parsed(event) == value


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("done", [b"data: [DONE]\n\n", b"", b"data: [DONE]\n\n: bye\n\n"])
def test_usage_is_read_from_the_tail(ending, done):
    stream = b"".join(EVENTS[:-1]) + done
    assert sse.usage_of(stream.replace(b"\n", ending)) == {"prompt_tokens": 3}


def test_usage_is_found_after_a_long_answer():
    long = b"".join(
        b"data: " + json.dumps({"choices": [], "n": n, "usage": None}).encode() + b"\n\n" for n in range(5_000)
    )
    assert sse.usage_of(long + b"".join(EVENTS[-2:])) == {"prompt_tokens": 3}


def test_a_stream_without_usage_has_none():
    assert sse.usage_of(b"".join(EVENTS[:-2])) is None
    assert sse.usage_of(b'data: {"usage": null}\n\n') is None
    assert sse.usage_of(b"") is None


def test_the_last_usage_is_the_one_that_counts():
    stream = b'data: {"usage": {"prompt_tokens": 1}}\n\n' + b'data: {"usage": {"prompt_tokens": 2}}\n\n'
    assert sse.usage_of(stream) == {"prompt_tokens": 2}


def test_model_and_id_are_the_first_objects_that_has_them():
    named = b'data: {"model": "m-1", "id": "chatcmpl-1"}\n\n'
    for before in (b"", b'data: {"model": "", "id": "", "prompt_filter_results": []}\n\n'):
        first = sse.first_of(before + named + b'data: {"model": "m-2"}\n\n')
        assert (first["model"], first["id"]) == ("m-1", "chatcmpl-1")
    assert sse.first_of(b"".join(EVENTS))["model"] == "m-1"
    assert sse.first_of(b"data: [DONE]\n\n") == {}


@pytest.mark.parametrize(
    ("value", "delta"),
    [
        ({"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]}, {"content": "a"}),
        ({"choices": []}, {}),
        ({"choices": None}, {}),
        ({"choices": ["x"]}, {}),
        ({"choices": [{"delta": None}]}, {}),
        ({}, {}),
    ],
)
def test_a_delta_is_the_first_choices_or_empty(value, delta):
    assert sse.delta_of(value) == delta
