import time

import pytest

from proxy.replay.values import answer, first, messages_of, number, usage_of, when, whole


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1_790_000_000, 1_790_000_000),
        ("1790000000.5", 1_790_000_000.5),
        (1_790_000_000_500, 1_790_000_000.5),
        (1_790_000_000_500_000, 1_790_000_000.5),
        (1_790_000_000_500_000_000, 1_790_000_000.5),
        ("2026-09-21T14:13:20.500Z", 1_790_000_000.5),
        ("2026-09-21T16:13:20.500+02:00", 1_790_000_000.5),
        ("2026-09-21 14:13:20.500000", 1_790_000_000.5),
        *[(value, None) for value in ("yesterday", "", None, True, [], 0, -5, float("nan"), 1e400)],
    ],
)
def test_a_time_is_understood_in_each_way_it_is_written(monkeypatch, value, seconds):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert when(value) == (None if seconds is None else pytest.approx(seconds))
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_a_field_that_holds_nothing_is_passed_over_but_zero_is_something():
    assert first({"a": "", "b": None, "c": {}, "d": 0, "e": 1}, "a", "b", "c", "d", "e") == 0
    assert first({}, "a") is None


def test_numbers_are_numbers():
    assert [number(value) for value in ("1.5", 2, True, "x", float("inf"), None)] == [1.5, 2.0, None, None, None, None]
    assert [whole(value) for value in ("7", -3, None)] == [7, 0, 0]


def test_no_tokens_at_all_are_unknown_tokens():
    assert usage_of(0, "0") is None
    assert usage_of(5, None) == {"prompt_tokens": 5, "completion_tokens": 0}


def test_an_empty_usage_gives_way_to_what_the_log_counted():
    counted = {"prompt_tokens": 5, "completion_tokens": 1}
    kept = answer({"choices": [], "usage": {}}, "m", counted)
    assert kept == {"choices": [], "usage": counted}
    own = answer({"choices": [], "usage": {"prompt_tokens": 6}}, "m", counted)
    assert own == {"choices": [], "usage": {"prompt_tokens": 6}}


def test_the_nulls_of_a_message_are_no_fields_but_its_content_may_be_null():
    called = {"role": "assistant", "content": None, "name": None, "tool_calls": [{"id": "c"}]}
    assert messages_of([called]) == [{"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}]
