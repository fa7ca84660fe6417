import csv
import io
import json

import pytest

from tests.proxy.replay.samples import MESSAGES, RESPONSE, answer_of, lines

PAYLOAD = {
    "id": "chatcmpl-1",
    "call_type": "acompletion",
    "status": "success",
    "cache_hit": False,
    "response_cost": 0.0021,
    "prompt_tokens": 24,
    "completion_tokens": 2,
    "startTime": 1_790_000_000.25,
    "endTime": 1_790_000_001.75,
    "model": "gpt-4.1",
    "model_group": "our-best",
    "messages": MESSAGES,
    "response": RESPONSE,
    "model_parameters": {"temperature": 0, "max_retries": 0, "extra_body": {}, "stream": True},
}
SPEND = {
    "request_id": "chatcmpl-1",
    "call_type": "completion",
    "spend": 0.0021,
    "prompt_tokens": 24,
    "completion_tokens": 2,
    "startTime": "2026-09-21T14:13:20.250000+00:00",
    "endTime": "2026-09-21T14:13:21.750000+00:00",
    "model": "gpt-4.1",
    "cache_hit": "False",
    "messages": "{}",
    "response": json.dumps(RESPONSE),
    "proxy_server_request": json.dumps({"model": "our-best", "messages": MESSAGES, "temperature": 0}),
    "status": "success",
}


def test_a_standard_payload_is_a_call(read):
    (call,), reading = read("log.jsonl", lines(PAYLOAD))
    assert call.request == {"temperature": 0, "stream": True, "model": "gpt-4.1", "messages": MESSAGES}
    assert (answer_of(call), call.response["usage"]["prompt_tokens"]) == ("upset", 24)
    assert (call.time, call.seconds, call.cost) == (1_790_000_000.25, 1.5, 0.0021)
    assert (call.endpoint, call.status) == ("/v1/chat/completions", 200)
    assert list(reading.forms.values()) == ["litellm"]


def test_the_payload_inside_a_callbacks_arguments_is_found(read):
    (call,), _ = read("log.jsonl", lines({"kwargs": 1, "standard_logging_object": PAYLOAD}))
    assert call.request["messages"] == MESSAGES


def test_one_object_a_file_is_read_too_as_s3_keeps_them(read):
    (call,), _ = read("one.json", json.dumps(PAYLOAD, indent=4))
    assert call.cost == 0.0021
    (call,), _ = read("one.json", json.dumps(PAYLOAD))
    assert call.cost == 0.0021


def test_the_spend_table_gives_the_same_from_json_and_csv(read):
    cells = io.StringIO()
    table = csv.DictWriter(cells, list(SPEND))
    table.writeheader()
    table.writerow(SPEND)
    from_json, _ = read("spend.json", json.dumps([SPEND]))
    from_csv, _ = read("spend.csv", cells.getvalue())
    for (call,) in (from_json, from_csv):
        assert call.request == {"temperature": 0, "model": "gpt-4.1", "messages": MESSAGES}
        assert (answer_of(call), call.time, call.seconds, call.cost) == ("upset", 1_790_000_000.25, 1.5, 0.0021)
    assert from_csv[0].place.endswith("spend.csv:2")


def test_older_tables_have_the_messages_in_a_column(read):
    (call,), _ = read("log.jsonl", lines({**SPEND, "proxy_server_request": "{}", "messages": json.dumps(MESSAGES)}))
    assert call.request["messages"] == MESSAGES


def test_without_a_response_the_tokens_of_the_table_count(read):
    (call,), _ = read("log.jsonl", lines({**SPEND, "response": "{}"}))
    assert call.response["usage"] == {"prompt_tokens": 24, "completion_tokens": 2}


def test_a_table_without_prompts_says_how_to_have_them(read):
    calls, reading = read("log.jsonl", lines({**SPEND, "proxy_server_request": "{}"}))
    assert calls == []
    assert "store_prompts_in_spend_logs" in reading.problems[0]


def test_redacted_messages_are_no_prompt(read):
    redacted = [{"role": "user", "content": "redacted-by-litellm"}]
    calls, reading = read("log.jsonl", lines({**PAYLOAD, "messages": redacted}))
    assert calls == []
    assert "redacted" in reading.problems[0]


@pytest.mark.parametrize("hit", [True, "True", "true"])
def test_an_answer_from_its_cache_called_no_model(read, hit):
    calls, reading = read("log.jsonl", lines({**PAYLOAD, "cache_hit": hit}))
    assert (calls, reading.passed_over, reading.unreadable) == ([], 1, 0)


def test_other_kinds_of_calls_keep_their_cost(read):
    embedding = {**PAYLOAD, "call_type": "aembedding", "model": "text-embedding-3-small", "messages": "a text"}
    (call,), _ = read("log.jsonl", lines(embedding))
    assert (call.endpoint, call.cost, call.request["model"]) == ("/v1/embeddings", 0.0021, "text-embedding-3-small")


def test_a_failure_has_its_code_and_no_answer(read):
    failed = {**PAYLOAD, "status": "failure", "response": {}, "error_information": {"error_code": "429"}}
    (call,), _ = read("log.jsonl", lines(failed))
    assert (call.status, call.response) == (429, None)


def test_a_cost_of_nothing_for_tokens_is_an_unknown_price(read):
    (call,), _ = read("log.jsonl", lines({**PAYLOAD, "response_cost": 0.0}))
    assert call.cost is None
