from datetime import UTC, datetime

import pytest
from genai_prices import Usage as ListedUsage
from genai_prices import calc_price

import compiler.pricing
from compiler.pricing import PriceBook, Rates, Tier, Usage

MODELS = [
    "gpt-3.5-turbo",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-4.1-nano",
    "o3",
    "o4-mini",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-nano",
    "gpt-5.4",
    "gpt-5.5-pro",
    "gpt-6-luna",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-1.5-flash",
    "grok-4.3",
    "deepseek-chat",
]
USAGES = [
    Usage(),
    Usage(input=1, output=1),
    Usage(input=1_000, output=200, cached_input=400),
    Usage(input=1_000, output=200, cached_input=1_000),
    Usage(input=100_000, output=5_000),
    Usage(input=128_000, output=1),
    Usage(input=128_001, output=1),
    Usage(input=199_999, output=10, cached_input=150_000),
    Usage(input=200_000, output=10, cached_input=150_000),
    Usage(input=200_001, output=10, cached_input=150_000),
    Usage(input=272_000, output=10),
    Usage(input=272_001, output=10, cached_input=1),
    Usage(input=1_000_000, output=60_000),
]


@pytest.mark.parametrize("model", MODELS)
def test_a_listed_model_costs_what_the_list_says_in_every_tier(model):
    rates = PriceBook().rates(model)
    assert rates
    for usage in USAGES:
        listed = calc_price(
            ListedUsage(
                input_tokens=usage.input, output_tokens=usage.output, cache_read_tokens=usage.cached_input or None
            ),
            model_ref=model,
            genai_request_timestamp=datetime.now(UTC),
        )
        assert rates.cost(usage) == pytest.approx(float(listed.total_price), rel=1e-9), usage


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "gpt-6-luna"])
def test_tokens_written_to_a_cache_cost_what_the_list_says(model):
    rates = PriceBook().rates(model)
    assert rates
    for size in (1_000, 300_000):
        listed = calc_price(ListedUsage(input_tokens=size, cache_write_tokens=size // 2), model_ref=model)
        cost = rates.cost(Usage(input=size, cache_write=size // 2))
        assert cost == pytest.approx(float(listed.total_price), rel=1e-9)


def test_an_unknown_price_stays_unknown():
    assert PriceBook().rates("my-local-model") is None
    assert PriceBook().rates("") is None
    assert PriceBook().rates("my-local-model", "another/one") is None


def test_the_model_that_answered_is_priced_before_the_one_that_was_asked_for():
    book = PriceBook({"asked": {"input": 1, "output": 1}, "answered": {"input": 2, "output": 2}})
    assert book.rates("answered", "asked") == book.rates("answered")
    assert book.rates("unheard-of-snapshot", "asked") == book.rates("asked")


def test_the_users_own_price_stands_over_the_list_with_and_without_a_prefix():
    book = PriceBook({"gpt-4o": {"input": 1.0, "output": 2.0}, "local/qwen": {"input": 3.0, "output": 4.0}})
    own = book.rates("gpt-4o")
    assert own == Rates((Tier(0, 1.0, 1.0, 1.0, 2.0),))
    assert book.rates("cloud/gpt-4o") == own
    assert book.rates("local/qwen") == Rates((Tier(0, 3.0, 3.0, 3.0, 4.0),))
    assert book.rates("qwen") is None


def test_own_prices_of_cached_tokens_are_used():
    rates = PriceBook({"m": {"input": 1.0, "cached_input": 0.1, "cache_write": 2.0, "output": 4.0}}).rates("m")
    assert rates
    cost = rates.cost(Usage(input=1_000_000, cached_input=500_000, cache_write=300_000, output=1_000_000))
    assert cost == pytest.approx(0.2 * 1 + 0.5 * 0.1 + 0.3 * 2 + 4)


def test_more_cached_tokens_than_input_never_make_a_negative_price():
    rates = PriceBook({"m": {"input": 1.0, "cached_input": 0.1, "output": 4.0}}).rates("m")
    assert rates
    assert rates.cost(Usage(input=10, cached_input=20)) == pytest.approx(20 * 0.1 / 1e6)


def test_a_listed_price_is_looked_up_once_and_again_after_an_hour(monkeypatch):
    looked_up = []
    now = datetime.now(UTC).timestamp()

    def listed(model, at):
        looked_up.append(model)

    monkeypatch.setattr(compiler.pricing, "_listed_rates", listed)
    monkeypatch.setattr(compiler.pricing, "time", lambda: now)
    book = PriceBook()
    for _ in range(3):
        book.rates("a", "b")
    assert looked_up == ["a", "b"]
    now += 3_601
    book.rates("a")
    assert looked_up == ["a", "b", "a"]


def test_names_that_clients_make_up_never_fill_the_memory():
    book = PriceBook()
    for i in range(compiler.pricing.REMEMBERED + 10):
        book._found[f"made-up-{i}"] = (0.0, None)
    book.rates("one-more")
    assert len(book._found) == 1


def test_usage_is_read_in_both_of_openais_forms():
    chat = {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    responses = {
        "input_tokens": 10,
        "output_tokens": 7,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
        "output_tokens_details": {"reasoning_tokens": 5},
    }
    expected = Usage(input=10, output=7, cached_input=4, cache_write=1, reasoning=5)
    assert Usage.from_openai(chat) == Usage.from_openai(responses) == expected


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": None, "completion_tokens": "7", "prompt_tokens_details": None},
        {"prompt_tokens": -5, "completion_tokens": 1.5, "completion_tokens_details": {}},
    ],
)
def test_missing_and_senseless_parts_of_usage_count_as_none(usage):
    assert Usage.from_openai(usage) == Usage()


def test_the_types_of_a_metric_are_disjoint_and_add_up():
    usage = Usage(input=10, output=7, cached_input=4, cache_write=1, reasoning=5)
    assert usage.by_type() == {"input": 5, "cached_input": 4, "cache_write": 1, "output": 2, "reasoning": 5}
    assert sum(usage.by_type().values()) == usage.input + usage.output
