import csv
import io
import json

from tests.proxy.replay.samples import REQUEST, RESPONSE, answer_of, lines

ROW = {
    "response_id": "r-1",
    "response_created_at": "2026-09-21T14:13:21.750Z",
    "response_body": RESPONSE,
    "response_status": 200,
    "response_model": "gpt-4.1-2025-04-14",
    "request_id": "q-1",
    "request_model": "gpt-4.1",
    "request_created_at": "2026-09-21T14:13:20.250Z",
    "request_body": REQUEST,
    "request_path": "https://api.openai.com/v1/chat/completions",
    "delay_ms": 1500,
    "prompt_tokens": 24,
    "completion_tokens": 2,
    "costUSD": 0.0021,
    "cache_reference_id": "00000000-0000-0000-0000-000000000000",
}


def test_a_row_is_a_call(read):
    (call,), reading = read("log.jsonl", lines(ROW))
    assert (call.request, call.response) == (REQUEST, RESPONSE)
    assert (call.time, call.seconds, call.cost) == (1_790_000_000.25, 1.5, 0.0021)
    assert (call.endpoint, call.status) == ("/v1/chat/completions", 200)
    assert list(reading.forms.values()) == ["helicone"]


def test_an_array_and_the_apis_answer_are_read_too(read):
    for content in (json.dumps([ROW, ROW], indent=2), json.dumps({"data": [ROW, ROW], "error": None})):
        calls, _ = read("output.json", content)
        assert [call.cost for call in calls] == [0.0021] * 2


def test_bodies_under_shorter_names_are_found(read):
    row = {k: v for k, v in ROW.items() if not k.endswith("_body")} | {"request": REQUEST, "response": RESPONSE}
    (call,), reading = read("log.jsonl", lines(row))
    assert (call.request, answer_of(call)) == (REQUEST, "upset")
    assert list(reading.forms.values()) == ["helicone"]


def test_the_tools_csv_has_tokens_and_no_answer(read):
    row = {
        "response_id": "r-1",
        "response_created_at": "2026-09-21T14:13:21.750Z",
        "response_status": "200",
        "request_created_at": "2026-09-21T14:13:20.250Z",
        "request_body": json.dumps(REQUEST),
        "model": "gpt-4.1",
        "prompt_tokens": "24",
        "completion_tokens": "2",
        "latency": "1500",
        "cost": "0.0021",
    }
    cells = io.StringIO()
    table = csv.DictWriter(cells, list(row))
    table.writeheader()
    table.writerow(row)
    (call,), _ = read("data.csv", cells.getvalue())
    assert call.request == REQUEST
    assert call.response["usage"] == {"prompt_tokens": 24, "completion_tokens": 2}
    assert call.response["choices"] == []
    assert (call.endpoint, call.seconds, call.cost) == ("/v1/chat/completions", 1.5, 0.0021)


def test_an_answer_from_its_cache_called_no_model(read):
    row = {**ROW, "cache_reference_id": "5e3a7e0a-0000-4000-8000-000000000001"}
    calls, reading = read("log.jsonl", lines(row))
    assert (calls, reading.passed_over) == ([], 1)


def test_a_body_it_did_not_keep_is_no_request(read):
    too_large = {"helicone_message": "request body too large"}
    calls, reading = read("log.jsonl", lines({**ROW, "request_body": too_large}, {**ROW, "request_body": ""}))
    assert calls == []
    assert "too large" in reading.problems[0]
    assert "--include-body" in reading.problems[1]


def test_its_own_codes_mean_that_no_answer_came(read):
    (call,), _ = read("log.jsonl", lines({**ROW, "response_status": -3, "response_body": None}))
    assert call.status == 0
