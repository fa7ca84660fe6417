"""What is certified is never less than the loss, at any look; what has to stop a candidate stops it."""

import json
import math
import random
from collections.abc import Callable, Iterable, Iterator

import orjson
import pytest

from compiler.evidence import (
    ALARM,
    COVERED_AFTER,
    ODDS,
    SEGMENT_LABELS,
    Capital,
    Drift,
    Evidence,
    Futility,
    Loss,
    Segments,
    bets,
    bound,
    fewest,
    held_traffic,
    kappa_lower_bound,
    rare,
    threshold,
    traffic,
)

MARGINS = [0.02, 0.05]


def log_capital(ds: Iterable[float], delta: float, margin: float) -> float:
    """K_n(δ) as it is defined, d by d."""
    logs = [math.log(w) + math.fsum(math.log1p(part * (delta - d)) for d in ds) for part, w in bets(margin)]
    return max(logs) + math.log(sum(math.exp(log - max(logs)) for log in logs))


def exact_bound(ds: list[float], margin: float, k: int = 1) -> float:
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if log_capital(ds, middle, margin) >= threshold(k) else (middle, high)
    return high


def seen(ds: Iterable[float], margin: float = 0.02) -> Loss:
    loss = Loss(margin)
    for d in ds:
        loss.add(d)
    return loss


def drawn(seed: int, pairs: int, one: Callable[[random.Random], float]) -> list[float]:
    rng = random.Random(seed)
    return [one(rng) for _ in range(pairs)]


KINDS: dict[str, Callable[[random.Random], float]] = {
    "labels": lambda rng: rng.choice((0,) * 18 + (-1, 1)),
    "thirds": lambda rng: rng.choice((0,) * 8 + (1 / 3, -1 / 3)),
    "fields of JSON": lambda rng: rng.choice((0.0,) * 20 + (1 / 7, -2 / 7, 0.999, -0.999)),
    "anything": lambda rng: rng.uniform(-0.2, 0.2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("margin", MARGINS)
def test_the_bound_is_that_of_the_formula_and_never_less(kind, margin):
    ds = drawn(1, 1_000, KINDS[kind])
    exact = exact_bound(ds, margin)
    assert exact <= seen(ds, margin).bound() <= exact * (1 + 1e-4)


def test_a_small_bound_is_precise_too():
    ds = [0.0] * 3_000
    exact = exact_bound(ds, 0.02)
    assert exact < 0.0025
    assert exact <= seen(ds).bound() <= exact * (1 + 1e-4)


def test_capital_is_never_more_than_what_the_pairs_give():
    ds = drawn(2, 300, lambda rng: rng.uniform(-1, 1))
    for delta in (0.0, 0.02, 0.5, 1.0):
        assert seen(ds).log_capital(delta) <= log_capital(ds, delta, 0.02)


def test_without_pairs_or_with_the_worst_of_them_nothing_is_certified():
    assert seen([]).bound() == 1.0
    assert seen([1.0] * 500).bound() == 1.0
    assert seen([0.0] * 3).bound() == 1.0


def test_a_candidate_that_is_better_gets_a_bound_of_next_to_nothing_and_all_but_the_control_group():
    loss = seen([-1.0] * 100)
    assert loss.bound() < 1e-6
    assert traffic(loss.bound(), 0.02, control=0.02) == traffic(0.0, 0.02, control=0.02) == 0.98


def test_pairs_count_the_same_in_any_order():
    ds = drawn(3, 500, lambda rng: rng.uniform(-1, 1))
    assert seen(ds).to_json() == seen(reversed(ds)).to_json()
    assert seen(ds).bound() == seen(sorted(ds)).bound()


def test_what_lies_between_two_parts_is_rounded_to_the_worse():
    parts = 1 << 20
    assert seen([1e-12]).to_json() == [(0, parts - 1), (1, 1)]
    assert seen([-1e-12]).to_json() == [(0, parts)]


def test_later_proofs_of_a_task_need_more_and_all_together_err_in_a_twentieth():
    assert math.exp(threshold(1)) == pytest.approx(40)
    assert sum(math.exp(-threshold(k)) for k in range(1, 100_000)) == pytest.approx(0.05, abs=1e-6)
    loss = seen([0.0] * 300)
    assert loss.bound(1) < loss.bound(2) < loss.bound(10)


@pytest.mark.parametrize("k", [0, -1])
def test_proofs_are_counted_from_one(k):
    with pytest.raises(ValueError, match="counted from 1"):
        Evidence(0.02, k)


def test_a_loss_on_the_edge_is_understated_in_no_more_than_a_fortieth_of_runs_however_often_one_looks():
    """K at the true loss is a supermartingale: its peak is over 40 in at most 2.5 %."""
    margin, runs, over = 0.05, 200, 0
    for run in range(runs):
        capital = Capital(bets(margin))
        for d in drawn(run, 300, lambda rng: float(rng.random() < margin)):
            capital.add(margin - d)
        over += capital.peak >= threshold(1)
    assert over <= 0.025 * runs + 3 * math.sqrt(0.025 * runs)


def test_millions_of_pairs_fit_in_the_same_memory_and_give_a_bound_at_the_loss():
    millions = 1 << 20
    loss = Loss(0.02, [(0, 5_000_000 * millions), (1 << 10, 60_000 * millions), (-(1 << 10), 10_000 * millions)])
    true = 50_000 / 5_070_000
    assert loss.pairs == 5_070_000
    assert true < loss.bound() < true + 0.001
    loss.add(1.0)
    assert loss.pairs == 5_070_001
    assert json.loads(orjson.dumps(loss.to_json()))[-1] == [1_024, 60_001 * millions]


def test_state_is_bounded_whatever_d_is():
    loss = seen(drawn(4, 20_000, lambda rng: rng.uniform(-1, 1)))
    assert len(loss.to_json()) <= 2 * 1_024 + 1


@pytest.mark.parametrize("d", [1.001, -2, math.nan, math.inf])
def test_a_score_outside_of_its_range_is_refused_and_leaves_no_trace(d):
    evidence = Evidence(0.02)
    evidence.add(0.5, "a")
    before = evidence.to_json()
    with pytest.raises(ValueError, match=r"not in \[-1, 1\]"):
        evidence.add(d, "a")
    assert evidence.to_json() == before


@pytest.mark.parametrize("margin", [0, -0.1, 0.34, 1, math.nan])
def test_a_margin_that_means_nothing_is_refused(margin):
    with pytest.raises(ValueError, match="margin"):
        Evidence(margin)


def test_evidence_that_was_saved_goes_on_as_if_nothing_had_happened():
    ds = drawn(5, 600, KINDS["fields of JSON"])
    whole, half = Evidence(0.02, 3), Evidence(0.02, 3)
    for n, d in enumerate(ds):
        whole.add(d, f"label {n % 70}")
        half.add(d, f"label {n % 70}")
        if n % 50 == 0:
            half = Evidence.from_json(orjson.loads(orjson.dumps(half.to_json())))
    assert half.to_json() == whole.to_json()
    assert (half.pairs, half.bound()) == (600, whole.bound())
    assert len(orjson.dumps(half.to_json())) < 10_000


@pytest.mark.parametrize(
    ("certified", "margin", "served"),
    [(1.0, 0.02, 0), (0.0601, 0.02, 0), (0.06, 0.02, 1 / 3), (0.04, 0.02, 0.5), (0.0201, 0.02, 0.98), (0.0, 0.02, 0.98),
     (0.15, 0.05, 1 / 3), (0.1, 0.05, 0.5), (1.0, 0.4, 0)],
)  # fmt: skip
def test_what_is_served_times_the_loss_bound_is_never_over_the_margin(certified, margin, served):
    given = traffic(certified, margin, control=0.02)
    assert given == pytest.approx(served)
    assert given * certified <= margin + 1e-12


def test_a_judge_that_sees_half_of_a_loss_doubles_its_bound_and_one_that_sees_less_certifies_nothing():
    assert bound(0.02) == 0.02
    assert bound(0.02, 0.5) == 0.04
    assert bound(0.7, 0.5) == bound(0.0, 0.499) == bound(0.0, -1.0) == 1.0


@pytest.mark.parametrize("margin", MARGINS)
def test_a_candidate_five_margins_worse_is_futile_within_200_pairs_and_an_equal_one_is_not(margin):
    bad, equal = Futility(margin), Futility(margin)
    for n in range(200):
        bad.add(float(n % round(1 / (5 * margin)) == 0))
        equal.add([0, 1, 0, 0, -1][n % 5])
    assert bad.futile
    assert not equal.futile


def test_what_was_futile_once_stays_so():
    futility = Futility(0.05)
    for d in [1.0] * 20 + [-1.0] * 50:
        futility.add(d)
    assert futility.futile
    assert futility.capital.log < 0


def test_drift_is_seen_however_long_all_was_well_before():
    for before in (0, 5_000):
        drift = Drift(0.02)
        for _ in range(before):
            drift.add(0.0)
        assert not drift.drifted
        assert not drift.is_uneasy()
        pairs = 0
        while not drift.drifted:
            drift.add(float(pairs % 10 == 0))
            pairs += 1
        assert pairs < 200
        assert drift.is_uneasy()


def seen_of(loss: float, kappa: float, pairs: int) -> Iterator[float]:
    """d of a judge that sees `kappa` of a loss, spread evenly."""
    return (float(int(n * loss * kappa) < int((n + 1) * loss * kappa)) for n in range(pairs))


@pytest.mark.parametrize("kind", [Drift, Futility])
def test_a_loss_above_the_margin_is_seen_though_the_judge_sees_only_a_part_of_it(kind):
    margin, kappa = 0.05, 0.6
    knowing, unknowing = kind(margin), kind(margin)
    for d in seen_of(1.5 * margin, kappa, 5_000):
        knowing.add(d, kappa)
        unknowing.add(d)
    assert knowing.capital.peak > math.log(ALARM if kind is Drift else ODDS) > unknowing.capital.peak


@pytest.mark.parametrize("kind", [Drift, Futility])
def test_what_was_bet_before_the_judge_was_known_is_never_more_than_with_it(kind):
    """So that going on with it, from the middle, raises no more false alarms."""
    whole, late = kind(0.05), kind(0.05)
    for n, d in enumerate(drawn(8, 300, lambda rng: rng.choice([-1.0, 0.0, 0.0, 0.0, 1.0]))):
        whole.add(d, 0.6)
        late.add(d, 0.6 if n >= 100 else 1.0)
        assert late.capital.log <= whole.capital.log


def test_an_equal_candidate_is_at_ease_also_with_a_judge_that_sees_half():
    drift = Drift(0.02)
    for _ in range(3_000):
        drift.add(0.0, 0.5)
    for d in (1.0, 0.0, 0.0, 1.0):  # as may happen
        drift.add(d, 0.5)
    assert drift.is_uneasy() and not drift.is_uneasy(0.5)


def test_a_fright_passes():
    drift = Drift(0.02)
    for d in [1.0] * 13:
        drift.add(d)
    assert drift.is_uneasy()
    for _ in range(400):
        drift.add(0.0)
    assert not drift.is_uneasy()


def test_drift_is_the_sum_of_a_bet_begun_with_each_pair():
    ds = drawn(6, 30, lambda rng: rng.uniform(-1, 1))
    drift, sums = Drift(0.02), [0.0] * 7
    for d in ds:
        drift.add(d)
        sums = [(m + 1) * (1 + part * (d - 0.02) / 1.02) for m, (part, _) in zip(sums, bets(0.02), strict=True)]
    assert math.expm1(drift.capital.log) == pytest.approx(
        sum(m * w for m, (_, w) in zip(sums, bets(0.02), strict=True))
    )


@pytest.mark.parametrize("margin", [*MARGINS, 0.3])
def test_capital_never_runs_out_whatever_comes(margin):
    evidence = Evidence(margin)
    for d in (1.0, -1.0) * 200:
        evidence.add(d, "a")
    assert all(math.isfinite(evidence.loss.log_capital(delta)) for delta in (0.0, 1.0))
    assert math.isfinite(evidence.futility.capital.log)
    assert math.isfinite(evidence.drift.capital.log)


@pytest.mark.parametrize("margin", MARGINS)
def test_a_label_that_is_always_missed_is_found_before_it_counts_as_covered(margin):
    segments, pairs = Segments(margin), 0
    while not segments.worse():
        segments.add("refund", 1.0)
        pairs += 1
        for _ in range(99):
            segments.add("other", 0.0)
    assert segments.worse() == ["refund"]
    assert 10 <= pairs <= COVERED_AFTER


def test_a_label_with_fewer_than_ten_pairs_is_never_convicted_and_a_good_one_neither():
    segments = Segments(0.02)
    for _ in range(9):
        segments.add("rare", 1.0)
    for n in range(2_000):
        segments.add("even", [1.0, 0, 0, 0, -1.0][n % 5])
    assert segments.worse() == []


def test_a_label_that_was_convicted_stays_so():
    segments = Segments(0.02)
    for d in [1.0] * 20 + [-1.0] * 100:
        segments.add("a", d)
    assert segments.worse() == ["a"]


def test_labels_without_end_are_taken_together():
    segments = Segments(0.02)
    for n in range(SEGMENT_LABELS + 40):
        segments.add(f"label {n}", float(n >= SEGMENT_LABELS))
    assert len(segments.to_json()) == SEGMENT_LABELS + 1
    assert segments.worse() == [None]
    segments.add("label 3", 0.0)
    assert next(row for row in segments.to_json() if row[0] == "label 3")[1] == 2


def test_segments_are_covered_once_no_label_of_one_percent_can_lack_pairs():
    segments = Segments(0.02)
    assert not segments.covered
    for n in range(620):
        segments.add("ab"[n % 2], 0.0)
    assert not segments.covered  # one of 1 % may not have been seen yet
    for _ in range(20):
        segments.add("a", 0.0)
    assert segments.covered
    segments.add("c", 0.0)
    assert not segments.covered
    for _ in range(COVERED_AFTER - 1):
        segments.add("c", 0.0)
    assert segments.covered


def test_a_label_is_rare_when_one_percent_would_have_shown_more_of_it():
    assert not rare(0, 0)
    assert not rare(0, 621)
    assert rare(0, 622)
    assert not rare(5, 1_400)
    assert rare(5, 1_700)


def test_until_segments_are_covered_no_more_is_served_than_is_compared():
    assert held_traffic(1.0) == 0.5
    assert held_traffic(0.05) == 0.05
    assert held_traffic(0.0) == 0.0


@pytest.mark.parametrize(("sees", "n", "at_least"), [(1.0, 60, 0.8), (1.0, 120, 0.89), (0.9, 60, 0.6)])
def test_kappa_of_a_good_judge_is_well_over_what_is_needed(sees, n, at_least):
    degraded = [1.0] * round(sees * n) + [0.0] * round((1 - sees) * n)
    assert at_least <= kappa_lower_bound(degraded, [0.0] * n) < sees


@pytest.mark.parametrize("always", [0.0, 1.0, -1.0])
def test_a_judge_that_says_the_same_to_everything_sees_nothing(always):
    assert kappa_lower_bound([always] * 60, [always] * 60) < 0


def test_kappa_takes_what_the_judge_invents_off_what_it_sees():
    assert kappa_lower_bound([1.0] * 60, [0.25] * 60) < kappa_lower_bound([1.0] * 60, [0.0] * 60) - 0.2


def test_kappa_is_over_the_truth_in_no_more_than_a_twentieth_of_runs():
    rng, runs, over = random.Random(7), 150, 0
    for _ in range(runs):
        degraded = [float(rng.random() < 0.6) for _ in range(60)]
        over += kappa_lower_bound(degraded, [rng.choice((0, 0, 0, -1, 1)) for _ in range(60)]) > 0.6
    assert over <= 0.05 * runs


def test_nothing_is_known_of_a_judge_that_was_not_tried():
    assert kappa_lower_bound([], []) == kappa_lower_bound([1.0] * 60, []) == -1.0
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        kappa_lower_bound([2.0], [0.0])


# How many pairs a proof takes


@pytest.mark.parametrize(("margin", "k"), [(0.02, 1), (0.02, 3), (0.05, 1), (0.1, 2)])
def test_the_fewest_pairs_are_as_many_as_show_it_where_none_differs(margin, k):
    needed = fewest(margin, k)
    loss = Loss(margin)
    for _ in range(needed - 1):
        loss.add(0.0)
    assert loss.bound(k) > margin * 0.99
    loss.add(0.0)
    assert loss.bound(k) <= margin


def test_what_is_in_reach_is_reached_and_what_is_not_is_not():
    loss = Loss(0.05)
    for n in range(100):
        loss.add(float(n % 33 == 0))
    more = next(n for n in range(1_000) if loss.in_reach(0.05, 1, n))
    for _ in range(more - 1):
        loss.add(0.0)
    assert loss.bound(1) > 0.05
    loss.add(0.0)
    assert loss.bound(1) <= 0.05


def test_the_pairs_that_are_wanted_are_about_those_that_it_takes():
    loss, real = Loss(0.05), Loss(0.05)
    for n in range(100):
        loss.add(float(n % 50 == 0))
    wanted = loss.wanted(0.05, 1)
    for n in range(round(wanted * 1.01)):
        real.add(float(n % 50 == 0))
    assert real.bound(1) <= 0.051
    assert loss.mean == pytest.approx(0.02)


def test_where_too_much_is_lost_no_number_of_pairs_would_do():
    loss = Loss(0.05)
    for n in range(100):
        loss.add(float(n % 10 == 0))
    assert loss.wanted(0.05, 1) == math.inf
    assert Loss(0.05).mean == 0.0
