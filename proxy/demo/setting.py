"""Where the demo plays: which models on which upstreams, at whose prices, and how much it may spend."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml

from compiler.pricing import PriceBook, Usage
from compiler.search import META_TOKENS
from proxy.demo.fetch import CANDIDATE, INCUMBENT, Weights
from proxy.demo.rows import EXAMPLES_A_LABEL, TASKS, instruction, rows_of

__all__ = ["ANSWER_TOKENS", "LOCAL", "OPENAI", "OPENAI_META", "SETTINGS", "DemoError", "Setting", "bare"]

OPENAI_META = "openai/gpt-4.1"
ANSWER_TOKENS = 16
CARD_TOKENS = (
    max(META_TOKENS.values()) + 4_000
)  # the longest prompt the meta model can write, its labels and 24 demonstrations
COMPILE_USD = 0.10  # a compile's own cap: the meta model's longest answer ($0.03) and the scoring, at its dearest

Price = Mapping[str, float]


def bare(model: str) -> str:
    return model.partition("/")[2]


class DemoError(Exception):
    """The message says what went wrong and what to do about it."""


@dataclass(frozen=True)
class Setting:
    """Models carry their upstream's name (`upstream/model`). `weights`: upstreams to start here, by name.

    `key`: the environment variable that holds the key of a real account; None where no call is paid for.
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

    def capped(self, max_usd: float) -> Self:
        """With real money, half of it at most is for the compiles; without, as it is."""
        if self.key is None:
            return self
        return replace(self, max_usd=max_usd, compile_usd=min(COMPILE_USD, max_usd / 2 / len(TASKS)))

    @cached_property
    def _book(self) -> PriceBook:
        return PriceBook(self.prices)

    def most(self, model: str, task: str, text: str) -> float:
        """USD that one call can cost at most: every byte a token, nothing cached, the longest answer.

        A `task:` call is counted twice, on the cheap model with the longest card and on the current model after it.
        """
        size = len(json.dumps([{"role": "system", "content": instruction(task)}, {"role": "user", "content": text}]))
        if model.startswith("task:"):
            return self._usd(self.cheap, CARD_TOKENS + size) + self._usd(self.current, size)
        return self._usd(model, size)

    def _usd(self, model: str, tokens: int) -> float:
        rates = self._book.rates(model)
        if rates is None:
            raise DemoError(f"{model} has no known price, so nothing can be promised about its cost")
        return rates.cost(Usage(input=tokens, output=ANSWER_TOKENS))

    def write(self, folder: Path, cache: Path, upstreams: Mapping[str, Mapping[str, str]]) -> Path:
        """cuecard.yaml and its examples. A key stays the name of its variable: `serve` fills it in memory."""
        settings = {
            "listen": {"port": 0},
            "upstreams": {name: dict(upstream) for name, upstream in upstreams.items()},
            "models": {"meta": self.meta, "production": [self.cheap]},
            "background": {"usd_per_day": self.compile_usd * len(TASKS)},
            "compile": {"max_usd": self.compile_usd, "concurrency": self.concurrency},
            "log": {"requests": False},
            "prices": {model: dict(price) for model, price in self.prices.items()},
            "timeouts": {"candidate": "60s", "first_call_wait": "5m"},
            "store": {"url": f"file:{folder / 'store'}"},
            "tasks": {name: self._task(name, folder, cache) for name in TASKS},
        }
        file = folder / "cuecard.yaml"
        file.write_text(yaml.safe_dump(settings), "utf-8")
        return file

    def _task(self, name: str, folder: Path, cache: Path) -> dict[str, Any]:
        examples = folder / f"{name}.jsonl"
        rows = rows_of(name, "train", EXAMPLES_A_LABEL, cache)
        examples.write_text("".join(json.dumps({"input": t, "expected": label}) + "\n" for t, label in rows), "utf-8")
        return {
            "description": instruction(name),
            "incumbent": self.current,
            "examples": str(examples),
            "trust": "declared",
            "output": {"kind": "label", "labels": list(TASKS[name])},
        }


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
SETTINGS = {"local": LOCAL, "openai": OPENAI}
