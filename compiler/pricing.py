"""Usage → dollars. Prices come from genai-prices and the user's own list; an unknown price stays unknown."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from compiler.lazy import lazy

if TYPE_CHECKING:
    import genai_prices.types

    Listed = Decimal | genai_prices.types.TieredPrices | None
else:
    genai_prices = lazy("genai_prices")

MILLION = 1_000_000
FRESH_SECONDS = 3_600  # a listed price may change with the date
REMEMBERED = 2_000


class Usage(NamedTuple):
    """Tokens of one call. `cached_input` and `cache_write` are parts of `input`, `reasoning` is a part of `output`."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    reasoning: int = 0
    counted: bool = False  # counted by us, because the upstream sent none

    @classmethod
    def from_openai(cls, usage: Mapping[str, Any]) -> Self:
        """Chat Completions' `prompt_tokens` or Responses' `input_tokens` form; missing parts count as 0."""
        inputs = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
        outputs = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
        return cls(
            input=_count(usage.get("prompt_tokens", usage.get("input_tokens"))),
            output=_count(usage.get("completion_tokens", usage.get("output_tokens"))),
            cached_input=_part(inputs, "cached_tokens"),
            cache_write=_part(inputs, "cache_write_tokens"),
            reasoning=_part(outputs, "reasoning_tokens"),
        )

    def by_type(self) -> dict[str, int]:
        """Disjoint counts under the metric's `type` labels: they add up to input + output."""
        return {
            "input": max(0, self.input - self.cached_input - self.cache_write),
            "cached_input": self.cached_input,
            "cache_write": self.cache_write,
            "output": max(0, self.output - self.reasoning),
            "reasoning": self.reasoning,
        }


TOKEN_TYPES = tuple(Usage().by_type())


def _part(details: Any, name: str) -> int:
    return _count(details.get(name)) if isinstance(details, dict) else 0


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


@dataclass(frozen=True)
class Tier:
    """USD per million tokens, for a call whose input is longer than `above` tokens (all of it at this price)."""

    above: int
    input: float
    cached_input: float
    cache_write: float
    output: float


@dataclass(frozen=True)
class Rates:
    tiers: tuple[Tier, ...]  # descending `above`; the last one is 0

    def cost(self, usage: Usage) -> float:
        return self.cost_of(usage.input, usage.cached_input, usage.cache_write, usage.output)

    def cost_of(self, inputs: float, cached: float, written: float, outputs: float) -> float:
        """The same for mean tokens, which are no whole numbers."""
        tier = self.tiers[-1]
        if len(self.tiers) > 1:
            tier = next((t for t in self.tiers if inputs > t.above), tier)
        fresh = max(0, inputs - cached - written)
        return (
            fresh * tier.input + cached * tier.cached_input + written * tier.cache_write + outputs * tier.output
        ) / MILLION


class PriceBook:
    """`rates(model)` is a dictionary look-up after the first call for a model (57 µs then, 0.1 µs later).

    Made with `warm`, it loads the bundled list at once (200 ms) and not when a price is first looked up in it.
    """

    def __init__(self, own: Mapping[str, Mapping[str, float]] | None = None, *, warm: bool = False) -> None:
        if warm:
            _listed_rates("gpt-4.1", time())
        self._own = {model: _own_rates(prices) for model, prices in (own or {}).items()}
        self._found: dict[str, tuple[float, Rates | None]] = {}

    def rates(self, *names: str) -> Rates | None:
        """The price of the first of `names` that has one: the model that answered, then the one that was asked for."""
        for name in names:
            if name and (rates := self._own.get(name) or self._own.get(name.rpartition("/")[2]) or self._listed(name)):
                return rates
        return None

    def _listed(self, model: str) -> Rates | None:
        now = time()
        known = self._found.get(model)
        if known is None or now - known[0] > FRESH_SECONDS:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            known = self._found[model] = (now, _listed_rates(model.rpartition("/")[2], now))
        return known[1]


def _own_rates(prices: Mapping[str, float]) -> Rates:
    fresh = prices["input"]
    cached = prices.get("cached_input", fresh)
    return Rates((Tier(0, fresh, cached, prices.get("cache_write", fresh), prices["output"]),))


def _listed_rates(model: str, now: float) -> Rates | None:
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=1),
            model_ref=model,
            genai_request_timestamp=datetime.fromtimestamp(now, UTC),
        ).model_price
    except LookupError:
        return None
    listed = (found.input_mtok, found.cache_read_mtok, found.cache_write_mtok, found.output_mtok)
    if listed[0] is None or listed[3] is None:
        return None
    starts = {0} | {
        tier.start for price in listed if isinstance(price, genai_prices.types.TieredPrices) for tier in price.tiers
    }
    return Rates(tuple(_tier(start, *listed) for start in sorted(starts, reverse=True)))


def _tier(above: int, *listed: "Listed") -> Tier:
    fresh, cached, write, output = (_at(price, above) for price in listed)
    base = fresh or 0.0
    return Tier(above, base, base if cached is None else cached, base if write is None else write, output or 0.0)


def _at(price: "Listed", above: int) -> float | None:
    if isinstance(price, genai_prices.types.TieredPrices):
        reached = [tier.price for tier in price.tiers if tier.start <= above]
        return float(reached[-1] if reached else price.base)
    return None if price is None else float(price)
