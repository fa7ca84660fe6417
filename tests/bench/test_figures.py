"""The bench's arithmetic: ratios are taken inside a round, so that what slows a whole round slows nobody's ratio."""

import pytest

from bench.figures import Bar, Case, Rounds, Sample, bars, cpu_ratio, rows
from bench.load import Load

ONE = Case("whole", 1, 1)


def whole(p50: float, requests: int = 100, cpu: float = 0.0) -> Sample:
    return Sample(Load(elapsed=1.0, latencies=[p50] * requests, first_bytes=[p50] * requests, events=0), cpu)


def streams(events: int, first_event: float = 0.001, cpu: float = 0.0) -> Sample:
    return Sample(Load(elapsed=1.0, latencies=[0.5], first_bytes=[first_event], events=events), cpu)


def seen(cases: dict[Case, Rounds], name: str) -> float | None:
    return next(bar.seen for bar in bars(cases) if bar.name == name)


def test_added_time_is_compared_round_by_round() -> None:
    rounds = {
        "direct": [whole(0.001), whole(0.010), whole(0.001)],
        "bare": [whole(0.002), whole(0.030), whole(0.003)],
        "original": [whole(0.003), whole(0.040), whole(0.004)],
    }
    assert seen({ONE: rounds}, "added p50, c=1: original / bare") == pytest.approx(1.5)
    row = next(row for row in rows(ONE, rounds) if row.server == "original")
    assert (row.wait_ms, row.added_ms) == (pytest.approx(4), pytest.approx(3))
    assert row.added_to_bare == pytest.approx(1.5)


def test_a_round_in_which_the_bare_proxy_added_nothing_has_no_ratio() -> None:
    rounds = {
        "direct": [whole(0.002), whole(0.001)],
        "bare": [whole(0.002), whole(0.002)],
        "original": [whole(0.009), whole(0.003)],
    }
    assert seen({ONE: rounds}, "added p50, c=1: original / bare") == pytest.approx(2)


def test_streams_are_counted_in_events_and_waited_for_until_the_first() -> None:
    case = Case("stream", 8, 1)
    rounds = {"direct": [streams(9_000)], "bare": [streams(1_000, 0.002)], "original": [streams(800, 0.003)]}
    assert seen({case: rounds}, "events/s, c=8: original / bare") == pytest.approx(0.8)
    row = next(row for row in rows(case, rounds) if row.server == "original")
    assert (row.rate, row.rate_to_bare, row.added_to_bare) == (800, pytest.approx(0.8), pytest.approx(2))


def test_processor_time_is_summed_over_the_rounds() -> None:
    rounds = {"bare": [whole(1, 100, 0.01), whole(1, 300, 0.03)], "original": [whole(1, 100, 0.0), whole(1, 100, 0.04)]}
    assert cpu_ratio(rounds, "original", "bare") == pytest.approx(2)


def test_what_was_not_measured_has_no_figure_and_does_not_pass() -> None:
    assert all(bar.seen is None and not bar.passed for bar in bars({}))
    rounds = {"direct": [whole(0.001)], "original": [whole(0.002)]}
    assert seen({ONE: rounds}, "added p50, c=1: original / bare") is None
    assert [row.rate_to_bare for row in rows(ONE, rounds)] == [None, None]


@pytest.mark.parametrize(("at_most", "value", "passed"), [(True, 1.5, True), (True, 1.51, False), (False, 1.49, False)])
def test_a_bar_is_passed_at_its_limit(at_most: bool, value: float, passed: bool) -> None:
    assert Bar("x", 1.5, at_most, value).passed is passed
