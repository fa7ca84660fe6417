"""What an upstream's headers say about its quota."""

import pytest

from compiler.quota import AFTER_429, LONGEST, duration, pause

NOW = 1_790_000_000.0  # Mon, 21 Sep 2026 14:13:20 GMT


def asked(status: int = 200, /, **told: str) -> float:
    return pause(status, {name.replace("_", "-"): value for name, value in told.items()}, now=NOW)


def quota(kind: str, limit: str, remaining: str, reset: str | None = None) -> dict[str, str]:
    told = {f"x-ratelimit-limit-{kind}": limit, f"x-ratelimit-remaining-{kind}": remaining}
    return told | ({} if reset is None else {f"x-ratelimit-reset-{kind}": reset})


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        *[("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("1h2m3.5s", 3_723.5), ("8.64s", 8.64), ("2d", 172_800)],
        *[("0s", 0), ("59", 59), ("0.5", 0.5), (" 7s ", 7), ("500us", 0.0005), ("500µs", 0.0005), ("10ns", 1e-8)],
    ],
)
def test_a_duration_is_read_in_its_units(written, seconds):
    assert duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", ["", "s", "soon", "1x", "-1s", "1s!", "s1", "1 s", "nan", "inf", "1e9", "1.2.3s", "2026-09-21T14:13:20Z"]
)
def test_what_is_no_duration_is_none(written):
    assert duration(written) is None


def test_after_a_429_there_are_60_seconds_of_rest():
    assert asked(429) == AFTER_429 == 60


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({"retry_after": "7"}, 60),
        ({"retry_after": "300"}, 300),
        ({"retry_after": "90.5"}, 90.5),
        ({"retry_after_ms": "90000"}, 90),
        ({"retry_after_ms": "20"}, 60),
        ({"retry_after_ms": "90000", "retry_after": "300"}, 90),
        ({"retry_after": "Mon, 21 Sep 2026 14:15:20 GMT"}, 120),
        ({"retry_after": "Mon, 21 Sep 2026 14:15:20"}, 120),
        ({"retry_after": "Mon, 21 Sep 2020 14:13:20 GMT"}, 60),
        ({"retry_after": "tomorrow"}, 60),
        ({"retry_after": "-5"}, 60),
        ({"retry_after": "nan"}, 60),
        ({"retry_after": "999999999"}, LONGEST),
        ({"x_ratelimit_limit_tokens": "100", "x_ratelimit_remaining_tokens": "0"}, 60),
    ],
    ids=str,
)
def test_a_longer_retry_after_is_obeyed_and_a_shorter_one_is_not_enough(told, seconds):
    assert asked(429, **told) == pytest.approx(seconds)


@pytest.mark.parametrize("kind", ["requests", "tokens"])
@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "seconds"),
    [
        ("10000", "9999", "6ms", 0),
        ("10000", "2000", "48s", 0),
        ("10000", "1999", "48s", 48),
        ("10000", "0", "59.9s", 59.9),
        ("10000", "1999", "20ms", 0.02),
        ("10000", "100", "19h24m", 60),
        ("10000", "100", None, 60),
        ("10000", "100", "soon", 60),
        ("1", "0", "1s", 1),
    ],
)
def test_under_a_fifth_of_the_quota_there_is_rest_until_its_reset_but_no_more_than_a_minute(
    kind, limit, remaining, reset, seconds
):
    assert pause(200, quota(kind, limit, remaining, reset), now=NOW) == pytest.approx(seconds)


def test_the_scarcer_of_requests_and_tokens_counts():
    told = quota("requests", "100", "10", "12s") | quota("tokens", "1000", "10", "30s")
    assert pause(200, told, now=NOW) == 30
    assert pause(400, told | quota("tokens", "1000", "999", "30s"), now=NOW) == 12


@pytest.mark.parametrize(
    ("limit", "remaining"), [("0", "0"), ("", "0"), ("x", "0"), ("-1", "0"), ("100", "x"), ("nan", "1")]
)
def test_a_quota_that_is_no_number_means_nothing(limit, remaining):
    assert pause(200, quota("tokens", limit, remaining, "30s"), now=NOW) == 0


def test_without_any_header_there_is_no_rest():
    assert asked() == asked(500) == asked(200, retry_after="300") == 0
