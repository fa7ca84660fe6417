import csv
import io
import json

import pytest

from tests.proxy.replay.samples import MESSAGES, answer_of, lines

FROM_UI = {
    "id": "o-1",
    "traceId": "t-1",
    "type": "GENERATION",
    "name": "feel",
    "startTime": "2026-09-21T14:13:20.250Z",
    "endTime": "2026-09-21T14:13:21.750Z",
    "model": "gpt-4.1",
    "modelParameters": {"temperature": 0, "max_tokens": "Infinity", "top_p": 1, "max_retries": 2},
    "input": {"messages": MESSAGES, "tools": []},
    "output": {"role": "assistant", "content": "upset"},
    "usageDetails": {"input": 4, "input_cached_tokens": 20, "output": 2, "total": 26},
    "totalCost": 0.0021,
    "level": "DEFAULT",
}
FROM_STORAGE = {
    "id": "o-1",
    "trace_id": "t-1",
    "type": "GENERATION",
    "start_time": "2026-09-21 14:13:20.250000",
    "end_time": "2026-09-21 14:13:21.750000",
    "provided_model_name": "gpt-4.1",
    "model_parameters": json.dumps({"temperature": 0, "top_p": 1}),
    "input": json.dumps(MESSAGES),
    "output": json.dumps({"role": "assistant", "content": "upset"}),
    "usage_details": {"input": 4, "input_cached_tokens": 20, "output": 2, "total": 26},
    "cost_details": {"input": 0.002, "output": 0.0001, "total": 0.0021},
    "total_cost": 0.0021,
    "level": "DEFAULT",
}
USAGE = {"prompt_tokens": 24, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 20}}


def as_csv(record):
    cells = io.StringIO()
    table = csv.DictWriter(cells, list(record))
    table.writeheader()
    table.writerow({k: json.dumps(v) if isinstance(v, dict) else v for k, v in record.items()})
    return cells.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ui.json", json.dumps([FROM_UI])),
        ("ui.csv", as_csv(FROM_UI)),
        ("storage.jsonl", lines(FROM_STORAGE)),
        ("storage.json", json.dumps([FROM_STORAGE], indent=1)),
        ("storage.csv", as_csv(FROM_STORAGE)),
        ("api.json", json.dumps({"data": [FROM_UI], "meta": {"page": 1}})),
        ("trace.json", json.dumps({"trace": {"id": "t-1"}, "observations": [FROM_UI]})),
    ],
)
def test_a_generation_is_a_call_in_each_of_its_exports(read, name, content):
    (call,), reading = read(name, content)
    assert call.request == {"temperature": 0, "top_p": 1, "model": "gpt-4.1", "messages": MESSAGES}
    assert (answer_of(call), call.response["usage"]) == ("upset", USAGE)
    assert (call.time, call.seconds, call.cost, call.status) == (1_790_000_000.25, 1.5, 0.0021, 200)
    assert list(reading.forms.values()) == ["langfuse"]


def test_tools_beside_the_messages_are_parameters(read):
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    (call,), _ = read("log.jsonl", lines({**FROM_UI, "input": {"messages": MESSAGES, "tools": tools}}))
    assert call.request["tools"] == tools


def test_a_text_is_one_user_message(read):
    (call,), _ = read("log.jsonl", lines({**FROM_UI, "input": "How does she feel?"}))
    assert call.request["messages"] == [{"role": "user", "content": "How does she feel?"}]


def test_an_answer_of_json_is_its_text(read):
    (call,), _ = read("log.jsonl", lines({**FROM_UI, "output": {"feeling": "upset"}}))
    assert json.loads(answer_of(call)) == {"feeling": "upset"}


def test_spans_are_passed_over_and_embeddings_are_no_chats(read):
    records = [FROM_UI, {**FROM_UI, "type": "SPAN"}, {**FROM_UI, "type": "EVENT"}, {**FROM_UI, "type": "EMBEDDING"}]
    calls, reading = read("log.jsonl", lines(*records))
    assert [call.endpoint for call in calls] == ["/v1/chat/completions", "/v1/embeddings"]
    assert (reading.passed_over, reading.unreadable) == (2, 0)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"usage": {"input": 24, "output": 2, "total": 26, "unit": "TOKENS"}}, (24, 2)),
        ({"usage": {"promptTokens": 24, "completionTokens": 2, "totalTokens": 26}}, (24, 2)),
        ({"inputUsage": 24, "outputUsage": 2, "totalUsage": 26}, (24, 2)),
        ({"usageDetails": {"input": 24, "input_cached_tokens": 20, "output": 2, "total": 26}}, (24, 2)),
    ],
)
def test_each_way_it_counts_tokens_is_understood(read, usage, expected):
    record = {k: v for k, v in FROM_UI.items() if k != "usageDetails"} | usage
    (call,), _ = read("log.jsonl", lines(record))
    assert (call.response["usage"]["prompt_tokens"], call.response["usage"]["completion_tokens"]) == expected


def test_an_export_without_inputs_says_so(read):
    calls, reading = read("log.jsonl", lines({**FROM_UI, "input": None}))
    assert calls == []
    assert "export it with inputs" in reading.problems[0]


def test_an_error_is_no_answer(read):
    (call,), _ = read("log.jsonl", lines({**FROM_UI, "level": "ERROR", "output": None}))
    assert (call.status, call.response) == (500, None)
