"""Where the demo plays: which models on which upstreams, at whose prices, and how much it may ask and spend."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml

from compiler.pricing import PriceBook, Usage
from compiler.search import META_TOKENS
from proxy.demo.fetch import CANDIDATE, INCUMBENT, Weights
from proxy.demo.rows import KINDS

__all__ = [
    "ANSWER_TOKENS", "FULL", "LOCAL", "MARGIN", "OPENAI", "OPENAI_META", "QUICK", "SETTINGS", "DemoError", "Pace",
    "Setting", "bare",
]  # fmt: skip

OPENAI_META = "openai/gpt-4.1"
ANSWER_TOKENS = 16
CARD_TOKENS = (
    max(META_TOKENS.values()) + 4_000
)  # the longest prompt the meta model can write, its labels and 24 demonstrations
MARGIN = 0.1
COMPILE_USD = 0.03  # a compile's own cap: two answers of the meta model, as long as may be, and the scoring
BACKGROUND_USD = 0.20  # with all proofs
META_CALLS, SCORING_CALLS = 2, 50  # of a compile: so few that no meta call is made, which takes minutes here

Price = Mapping[str, float]


def bare(model: str) -> str:
    return model.partition("/")[2]


class DemoError(Exception):
    """The message says what went wrong and what to do about it."""


@dataclass(frozen=True)
class Pace:
    """How often the app asks each kind at most, for how many seconds in all, how many answers of a card are enough, and
    on how many test rows of each kind accuracy is measured."""

    calls: int
    seconds: float
    served: int
    gold: int


QUICK = Pace(calls=160, seconds=370.0, served=12, gold=24)
FULL = Pace(calls=360, seconds=900.0, served=120, gold=60)


@dataclass(frozen=True)
class Setting:
    """Models carry their upstream's name (`upstream/model`). `weights`: upstreams to start here, by name.

    `key`: the environment variable that holds the key of a real account; None where no call is paid for.
    `compile_usd` of each compile; `background_usd` of these and all proofs.
    """

    current: str
    cheap: str
    meta: str
    footnote: str
    upstreams: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    concurrency: int = 8
    key: str | None = None
    max_usd: float = math.inf
    compile_usd: float = COMPILE_USD
    background_usd: float = BACKGROUND_USD
    meta_calls: int = META_CALLS
    scoring_calls: int = SCORING_CALLS

    def capped(self, max_usd: float) -> Self:
        """With real money, half of it at most is for compiling and proving; without, as it is."""
        if self.key is None:
            return self
        background = min(BACKGROUND_USD, max_usd / 2)
        compiling = min(COMPILE_USD, background / len(KINDS))
        return replace(self, max_usd=max_usd, background_usd=background, compile_usd=compiling)

    @cached_property
    def _book(self) -> PriceBook:
        return PriceBook(self.prices)

    def most(self, model: str, messages: Sequence[Any]) -> float:
        """USD that one call can cost at most: every byte a token, nothing cached, the longest answer."""
        return self._usd(model, len(json.dumps(messages)))

    def most_with_card(self, messages: Sequence[Any]) -> float:
        """The same on the cheap model, with the longest card."""
        return self._usd(self.cheap, CARD_TOKENS + len(json.dumps(messages)))

    def most_served(self, messages: Sequence[Any]) -> float:
        """Of a call of the app: on its card, and on the current model after it."""
        return self.most_with_card(messages) + self.most(self.current, messages)

    def _usd(self, model: str, tokens: int) -> float:
        rates = self._book.rates(model)
        if rates is None:
            raise DemoError(f"{model} has no known price, so nothing can be promised about its cost")
        return rates.cost(Usage(input=tokens, output=ANSWER_TOKENS))

    def write(self, folder: Path, upstreams: Mapping[str, Mapping[str, str]]) -> Path:
        """cuecard.yaml, without a task. A key stays the name of its variable: `serve` fills it in memory.

        No judge, for a model that judges neither itself nor what stands in for it is not there: what differs is worse.
        A day's saving may go into proofs at once, because this day is over in minutes.
        """
        settings = {
            "listen": {"port": 0},
            "mode": "auto",
            "upstreams": {name: dict(upstream) for name, upstream in upstreams.items()},
            "models": {"meta": self.meta, "judge": self.current, "production": [self.cheap]},
            "margin": {"default": MARGIN, "text": MARGIN},
            "background": {"usd_per_day": self.background_usd, "max_share_of_saving": 1},
            "compile": {
                "max_usd": self.compile_usd,
                "meta_calls": self.meta_calls,
                "calls": self.scoring_calls,
                "concurrency": self.concurrency,
            },
            "capture": {"per_second": 100},
            "log": {"requests": False},
            "prices": {model: dict(price) for model, price in self.prices.items()},
            "timeouts": {"candidate": "60s"},
            "store": {"url": f"file:{folder / 'store'}"},
        }
        file = folder / "cuecard.yaml"
        file.write_text(yaml.safe_dump(settings), "utf-8")
        return file


LOCAL = Setting(
    current="big/qwen2.5-coder-1.5b",
    cheap="small/qwen2.5-coder-0.5b",
    meta="big/qwen2.5-coder-1.5b",
    footnote="Costs: qwen2.5-coder-1.5b priced as gpt-4.1, qwen2.5-coder-0.5b as gpt-4.1-nano; nobody is billed.",
    weights={"big": INCUMBENT, "small": CANDIDATE},
    prices={
        "qwen2.5-coder-1.5b": {"input": 2.0, "cached_input": 0.5, "output": 8.0},
        "qwen2.5-coder-0.5b": {"input": 0.1, "cached_input": 0.025, "output": 0.4},
    },
    concurrency=1,
)
OPENAI = Setting(
    current="openai/gpt-4.1",
    cheap="openai/gpt-4.1-nano",
    meta=OPENAI_META,
    footnote="Costs: usage as OpenAI reported it, at its list prices; your account's usage page has the bill.",
    upstreams={"openai": {"base_url": "${OPENAI_BASE_URL:-https://api.openai.com/v1}", "api_key": "${OPENAI_API_KEY}"}},
    key="OPENAI_API_KEY",
)
UNDISCOUNTED = {  # real models' discount for cached input begins at 1,024 tokens, which no call here has
    model: {"input": price["input"], "output": price["output"]} for model, price in LOCAL.prices.items()
}
SETTINGS = {"local": replace(LOCAL, prices=UNDISCOUNTED), "openai": OPENAI}
