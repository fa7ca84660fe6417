import json

from tests.proxy.replay.samples import MESSAGES, RESPONSE, USAGE, answer_of, lines

STORED = {
    **RESPONSE,
    "request_id": "req_1",
    "temperature": 0,
    "seed": 7,
    "tools": None,
    "tool_choice": None,
    "response_format": None,
    "input_user": "u-1",
    "metadata": {},
}
STORED_MESSAGES = [{"id": f"chatcmpl-1-{i}", **m, "name": None, "content_parts": None} for i, m in enumerate(MESSAGES)]
AS_ASKED = {
    "model": "gpt-4.1-2025-04-14",
    "temperature": 0,
    "seed": 7,
    "user": "u-1",
    "messages": MESSAGES,
}


def test_a_stored_completion_with_its_messages_becomes_the_request_it_was(read):
    (call,), reading = read("log.jsonl", lines({**STORED, "messages": STORED_MESSAGES}))
    assert call.request == AS_ASKED
    assert (answer_of(call), call.response["usage"], call.time) == ("upset", USAGE, 1_790_000_000)
    assert list(reading.forms.values()) == ["openai"]


def test_the_messages_may_be_the_page_the_api_gives(read):
    page = {"object": "list", "data": STORED_MESSAGES, "has_more": False}
    (call,), _ = read("log.jsonl", lines({**STORED, "messages": page}))
    assert call.request["messages"] == MESSAGES


def test_a_message_of_parts_has_them_as_its_content(read):
    parts = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    message = {"id": "m-1", "role": "user", "content": None, "content_parts": parts, "name": None}
    (call,), _ = read("log.jsonl", lines({**STORED, "messages": [message]}))
    assert call.request["messages"] == [{"role": "user", "content": parts}]


def test_pages_of_completions_are_opened(read):
    page = {"object": "list", "data": [{**STORED, "messages": STORED_MESSAGES}] * 3, "has_more": True}
    calls, _ = read("pages.jsonl", lines(page, page))
    assert [call.request for call in calls] == [AS_ASKED] * 6
    calls, _ = read("page.json", json.dumps(page, indent=2))
    assert len(calls) == 3


def test_a_completion_without_its_messages_says_where_they_are(read):
    calls, reading = read("log.jsonl", lines(STORED))
    assert calls == []
    assert "GET /v1/chat/completions/{id}/messages" in reading.problems[0]


def test_an_input_and_its_output_are_a_call(read):
    records = [
        {"input": MESSAGES, "output": "upset", "model": "gpt-4.1"},
        {"input": MESSAGES, "output": [{"role": "assistant", "content": "upset"}], "model": "gpt-4.1"},
        {"input": MESSAGES, "output": {"role": "assistant", "content": "upset"}, "model": "gpt-4.1"},
    ]
    calls, reading = read("log.jsonl", lines(*records))
    assert [call.request for call in calls] == [{"model": "gpt-4.1", "messages": MESSAGES}] * 3
    assert [answer_of(call) for call in calls] == ["upset"] * 3
    assert list(reading.forms.values()) == ["openai"]


def test_an_evals_item_and_sample_are_a_call(read):
    sample = {"model": "gpt-4.1", "output_text": "upset", "usage": {**USAGE, "cached_tokens": 20}, "temperature": 0}
    exported = {"item": {"input": MESSAGES}, "sample": sample}
    from_api = {
        "object": "eval.run.output_item",
        "created_at": 1_790_000_000,
        "datasource_item": {"label": "upset"},
        "sample": {**sample, "input": MESSAGES, "output": [{"role": "assistant", "content": "upset"}], "error": None},
    }
    calls, _ = read("log.jsonl", lines(exported, from_api))
    assert [call.request for call in calls] == [{"model": "gpt-4.1", "temperature": 0, "messages": MESSAGES}] * 2
    assert [answer_of(call) for call in calls] == ["upset"] * 2
    assert calls[0].response["usage"]["prompt_tokens_details"] == {"cached_tokens": 20}
    assert (calls[1].time, calls[1].status) == (1_790_000_000, 200)


def test_a_sample_that_failed_is_no_answer(read):
    sample = {"model": "gpt-4.1", "input": MESSAGES, "error": {"code": "x", "message": "y"}}
    (call,), _ = read("log.jsonl", lines({"item": {}, "sample": sample}))
    assert (call.status, call.response) == (500, None)
