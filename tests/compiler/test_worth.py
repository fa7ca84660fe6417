"""What a compile could save is a range, and it never promises what prices don't give."""

import json
import math
import random
from dataclasses import replace

import pytest

from compiler.pricing import PriceBook
from compiler.worth import DAYS, TIMES, Assumed, Range, Seen, Terms, Worth, best, worth

CERTAIN = Assumed(
    growth=Range(0, 0), output=Range(1, 1), servable=Range(1, 1), p_ok=1.0, control=0.0,
    meta_calls=1, meta_input=0, meta_output=100_000, scored=0, judge_output=Range(0, 0),
)  # fmt: skip
SEEN = Seen(calls_per_day=1_000, input=1_000, output=100, kind="label")


def terms(dear: float = 10.0, cheap: float = 1.0, **more: object) -> Terms:
    """Dollars per million tokens, of whatever kind; the meta model's and the judge's are 1."""
    prices = {name: {"input": usd, "output": usd} for name, usd in (("dear", dear), ("cheap", cheap), ("strong", 1.0))}
    prices["half cached"] = {"input": 10.0, "cached_input": 5.0, "output": 10.0}
    return replace(Terms(PriceBook(prices), ("cheap",), "strong", "strong"), **more)


def test_without_uncertainty_it_is_the_formula():
    """$0.011 against $0.0011 a call; a compile of $0.10; N* = (0.10 + 257 × 0.0011) / 0.0099."""
    found = worth(SEEN, "dear", "cheap", terms(max_usd=0.1, assumed=CERTAIN))
    assert found.incumbent_usd == pytest.approx(0.011)
    assert found.candidate_usd == pytest.approx((0.0011, 0.0011))
    assert found.net_saving == pytest.approx((0.0099, 0.0099))
    assert found.saving_per_day == pytest.approx((9.9, 9.9))
    assert found.compile_usd == pytest.approx((0.1, 0.1))
    assert found.pairs == (257, 2_400)
    assert found.proof_usd.low == pytest.approx(257 * 0.0011)
    assert found.break_even_calls.low == pytest.approx((0.1 + 257 * 0.0011) / 0.0099)
    assert found.payback_days.low == pytest.approx((257 + found.break_even_calls.low) / 1_000)


def test_a_longer_prompt_costs_at_the_cache_rate_that_was_seen():
    assumed = CERTAIN._replace(growth=Range(0, 1_000))
    prices = terms(assumed=assumed)
    fresh = worth(SEEN, "dear", "half cached", prices).candidate_usd
    cached = worth(replace(SEEN, cached_input=1_000), "dear", "half cached", prices).candidate_usd
    assert fresh.high - fresh.low == pytest.approx(1_000 * 10e-6)
    assert cached.high - cached.low == pytest.approx(1_000 * 5e-6)


def test_free_text_is_judged_pair_by_pair_in_both_orders():
    found = worth(replace(SEEN, kind="text"), "dear", "cheap", terms(assumed=CERTAIN))
    assert found.pairs == (285, 1_430)
    read = CERTAIN.judge_static + 1_000 + 2 * 100
    assert found.proof_usd.low == pytest.approx(285 * (0.0011 + 2 * read * 1e-6))


def test_the_lasting_control_group_is_taken_off():
    found = worth(SEEN, "dear", "cheap", terms(assumed=CERTAIN._replace(control=0.5)))
    assert found.net_saving.high == pytest.approx(0.0099 - 0.5 * 0.0011)


def test_a_dearer_candidate_saves_nothing_and_never_pays_back():
    for dear, cheap in ((1.0, 10.0), (1.0, 1.0)):
        found = worth(SEEN, "dear", "cheap", terms(dear, cheap))
        assert found.verdict == "no saving"
        assert found.saving_per_day == (0, 0)
        assert (found.break_even_calls, found.payback_days) == ((math.inf, math.inf), (math.inf, math.inf))
        shown = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert shown["payback_days"] == {"low": None, "high": None}


def test_a_model_of_the_same_price_is_no_cheaper_one():
    """However much its answers were assumed to be shorter."""
    found = worth(replace(SEEN, output=5_000), "dear", "cheap", terms(1.0, 1.0))
    assert (found.saving.high, found.verdict) == (0.0, "no saving")


def test_at_worst_a_dearer_card_serves_all_that_it_may():
    found = worth(SEEN, "dear", "cheap", terms(1.0, 10.0, assumed=CERTAIN._replace(servable=Range(0.5, 0.98))))
    assert found.net_saving.low == pytest.approx(0.98 * found.saving.low)
    assert found.net_saving.high == pytest.approx(0.5 * found.saving.high)


def test_a_compile_that_may_fail_is_paid_for_by_those_that_succeed():
    sure, halved = (worth(SEEN, "dear", "cheap", terms(assumed=CERTAIN._replace(p_ok=p))) for p in (1.0, 0.5))
    assert halved.break_even_calls == pytest.approx([2 * calls for calls in sure.break_even_calls])


def test_the_verdict_is_that_of_the_range():
    found = worth(SEEN, "dear", "cheap", terms())
    low, high = found.break_even_calls

    def verdict(calls_in_30_days: float) -> str:
        return replace(found, seen=replace(SEEN, calls_per_day=calls_in_30_days / DAYS)).verdict

    assert verdict(TIMES * low * 0.999) == "not worth it"
    assert verdict(TIMES * low * 1.001) == "perhaps"
    assert verdict(TIMES * high * 0.999) == "perhaps"
    assert verdict(TIMES * high * 1.001) == "worth it"
    assert verdict(0) == "not worth it"


def test_the_production_model_that_saves_most_is_taken():
    found = best(SEEN, "dear", terms(production=("half cached", "cheap", "strong")))
    assert found
    assert found.candidate == "cheap"


def test_without_a_price_nothing_is_guessed():
    assert best(SEEN, "unheard-of", terms()) is None
    assert terms().unpriced("unheard-of") == ("unheard-of",)
    assert terms(judge="x", meta="y", production=("cheap", "z")).unpriced("dear") == ("z", "y", "x")
    with pytest.raises(LookupError, match="unheard-of"):
        worth(SEEN, "unheard-of", "cheap", terms())


def test_traffic_of_nothing_is_worth_nothing():
    found = worth(Seen(0, 0, 0), "dear", "cheap", terms())
    assert found.saving_per_day == (0, 0)
    assert found.payback_days.high == math.inf


def random_case(dice: random.Random) -> tuple[Seen, Terms]:
    inputs = dice.choice((0, dice.random() * 10, dice.random() * 10_000))
    seen = Seen(
        calls_per_day=dice.choice((0.0, dice.random(), dice.random() * 1e6)),
        input=inputs,
        output=dice.choice((0.0, dice.random() * 5, dice.random() * 5_000)),
        cached_input=inputs * dice.choice((0.0, dice.random(), 1.0)),
        kind=dice.choice((None, "label", "json", "text")),
    )
    return seen, terms(10 ** dice.uniform(-3, 2), 10 ** dice.uniform(-3, 2), max_usd=dice.choice((0.0, 0.1, 2.0)))


def ranges(found: Worth) -> list[Range]:
    return [value for value in vars(found).values() if isinstance(value, Range)]


@pytest.mark.parametrize("seed", range(200))
def test_ranges_are_in_order_and_nothing_is_negative_that_can_not_be(seed):
    dice = random.Random(seed)
    seen, prices = random_case(dice)
    found = worth(seen, "dear", "cheap", prices)
    assert all(r.low <= r.high and not math.isnan(r.low) for r in (*ranges(found), found.saving_per_day))
    never_negative = (found.candidate_usd, found.saving_per_day, found.compile_usd, found.proof_usd)
    assert all(r.low >= 0 for r in (*never_negative, found.break_even_calls, found.payback_days))
    assert found.saving_per_day.high <= seen.calls_per_day * found.incumbent_usd + 1e-9, "no more than is paid"
    assert found.compile_usd.high <= prices.max_usd
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("seed", range(200))
def test_a_wider_price_gap_saves_more_and_pays_back_sooner(seed):
    dice = random.Random(seed)
    seen, _ = random_case(dice)
    dear = 10 ** dice.uniform(-3, 2)
    cheap = dice.random() * dear
    narrow, wide = (
        worth(seen, "dear", "cheap", terms(dear, cheap)),
        worth(seen, "dear", "cheap", terms(2 * dear, cheap)),
    )
    for end in (0, 1):
        assert wide.saving[end] >= narrow.saving[end]
        assert wide.net_saving[end] >= narrow.net_saving[end]
        assert wide.saving_per_day[end] >= narrow.saving_per_day[end]
        assert wide.break_even_calls[end] <= narrow.break_even_calls[end]
        assert wide.payback_days[end] <= narrow.payback_days[end]


@pytest.mark.parametrize("seed", range(100))
def test_more_calls_pay_back_sooner(seed):
    dice = random.Random(seed)
    seen, prices = random_case(dice)
    busier = replace(seen, calls_per_day=seen.calls_per_day * 3 + 1)
    few, many = worth(seen, "dear", "cheap", prices), worth(busier, "dear", "cheap", prices)
    assert many.break_even_calls == few.break_even_calls
    assert all(many.payback_days[end] <= few.payback_days[end] for end in (0, 1))
