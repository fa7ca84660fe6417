import json

import pytest

from tests.proxy.replay.samples import MESSAGES, REQUEST, RESPONSE, USAGE, answer_of, lines


def test_a_request_and_its_response_are_read_as_they_are(read):
    record = {"request": REQUEST, "response": RESPONSE, "time": 1_790_000_001.5, "path": "/v1/chat/completions?x=1"}
    (call,), reading = read("log.jsonl", lines(record))
    assert (call.request, call.response) == (REQUEST, RESPONSE)
    assert (call.time, call.endpoint, call.status, call.tenant) == (
        1_790_000_001.5,
        "/v1/chat/completions",
        200,
        "default",
    )
    assert call.place.endswith("log.jsonl:1")
    assert (call.cost, call.seconds) == (None, None)
    assert list(reading.forms.values()) == ["plain"]


def test_what_stands_beside_them_is_read_too(read):
    beside = {"timestamp": "2026-10-01T12:00:00Z", "status": 200, "cost": "0.002", "latency_ms": 1500, "tenant": "shop"}
    (call,), _ = read("log.jsonl", lines({"request": REQUEST, "response": RESPONSE, **beside}))
    assert (call.time, call.cost, call.seconds, call.tenant) == (1_790_856_000.0, 0.002, 1.5, "shop")


def test_a_body_and_its_response_may_be_one_object(read):
    record = {**REQUEST, "choices": RESPONSE["choices"], "usage": USAGE, "created": 1_790_000_000, "seed": None}
    (call,), reading = read("log.jsonl", lines(record))
    assert call.request == REQUEST
    assert (answer_of(call), call.response["usage"], call.time) == ("upset", USAGE, 1_790_000_000)
    assert list(reading.forms.values()) == ["plain"]


def test_a_body_alone_has_no_response(read):
    (call,), _ = read("log.jsonl", lines(REQUEST))
    assert (call.request, call.response) == (REQUEST, None)


def test_bodies_may_stand_in_an_envelope_or_be_text(read):
    enveloped = {
        "request": {"url": "https://api.openai.com/v1/chat/completions", "body": REQUEST},
        "response": {"status": 200, "body": RESPONSE},
    }
    as_text = {"request": json.dumps(REQUEST), "response": json.dumps(RESPONSE)}
    calls, _ = read("log.jsonl", lines(enveloped, as_text))
    assert [(call.request, answer_of(call), call.endpoint) for call in calls] == [
        (REQUEST, "upset", "/v1/chat/completions")
    ] * 2


def test_a_response_may_be_the_text_alone(read):
    (call,), _ = read("log.jsonl", lines({"request": REQUEST, "response": "upset"}))
    assert answer_of(call) == "upset"
    assert "usage" not in call.response


@pytest.mark.parametrize(
    ("record", "status"),
    [
        ({"request": REQUEST, "response": {"error": {"message": "overloaded"}}}, 500),
        ({"request": REQUEST, "response": {"error": {"message": "slow down"}}, "status": 429}, 429),
        ({"request": REQUEST, "response": {"status": 400, "body": {"error": {"message": "no"}}}}, 400),
    ],
)
def test_a_call_that_failed_is_known_by_status_or_error(read, record, status):
    (call,), _ = read("log.jsonl", lines(record))
    assert call.status == status


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ({"model": "text-embedding-3-small", "input": "a"}, "/v1/embeddings"),
        ({"model": "gpt-4.1", "input": "a"}, "/v1/responses"),
        ({"model": "babbage-002", "prompt": "a"}, "/v1/completions"),
        ({"model": "gpt-4.1", "messages": MESSAGES}, "/v1/chat/completions"),
    ],
)
def test_without_a_path_the_body_says_which_endpoint_it_was_for(read, request_, path):
    (call,), _ = read("log.jsonl", lines({"request": request_, "response": {}}))
    assert call.endpoint == path


def test_azures_path_is_a_chats(read):
    path = "/openai/deployments/mine/chat/completions?api-version=2026-01-01"
    (call,), _ = read("log.jsonl", lines({"request": REQUEST, "response": RESPONSE, "path": path}))
    assert call.endpoint == "/v1/chat/completions"


def test_a_request_that_is_no_object_is_refused(read):
    calls, reading = read("log.jsonl", lines({"request": REQUEST}, {"request": "hello"}))
    assert (len(calls), reading.unreadable) == (1, 1)
    assert "log.jsonl:2: `request` must be a JSON object" in reading.problems[0]


def test_a_csv_of_requests_and_responses_is_read(read):
    cells = [json.dumps(side).replace('"', '""') for side in (REQUEST, RESPONSE)]
    (call,), _ = read("log.csv", f'request,response,status\n"{cells[0]}","{cells[1]}",200\n')
    assert (call.request, call.response, call.status) == (REQUEST, RESPONSE, 200)


def test_without_a_time_beside_it_the_response_says_when_it_was_created(read):
    (call,), _ = read("log.jsonl", lines({"request": REQUEST, "response": RESPONSE}))
    assert call.time == 1_790_000_000


def test_what_stands_beside_one_object_is_no_parameter_of_the_request(read):
    beside = {"cost": 0.5, "tenant": "shop", "timestamp": 1_790_000_000, "status": 200, "latency_ms": 5}
    (call,), _ = read("log.jsonl", lines({**REQUEST, "choices": RESPONSE["choices"], **beside}))
    assert call.request == REQUEST
    assert (call.cost, call.tenant) == (0.5, "shop")


def test_a_body_with_a_parameter_called_body_is_no_envelope(read):
    request = {**REQUEST, "body": {"x": 1}}
    (call,), _ = read("log.jsonl", lines({"request": request, "response": RESPONSE}))
    assert call.request == request
