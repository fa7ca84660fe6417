"""An OpenAI-SDK app as anybody has one: only its base URL is Cuecard's. It names no task."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import openai
from openai import AsyncOpenAI

from proxy import headers
from proxy.demo.setting import ANSWER_TOKENS, DemoError
from proxy.demo.spend import Purse

__all__ = ["TRIES", "UNRECORDED", "Answer", "App"]

TRIES = 3
UNRECORDED = {str(headers.BYPASS): "1"}  # answered by whom it names, and in no evidence


class Answer(NamedTuple):
    """`task`: what Cuecard took it for; empty while it does not know."""

    text: str
    route: str
    task: str


class App:
    """Every call is taken from the purse before it is sent."""

    def __init__(self, url: str, purse: Purse) -> None:
        self._sdk = AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", timeout=600, max_retries=TRIES - 1)
        self.purse = purse

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._sdk.close()

    async def ask(
        self, model: str, messages: list[Any], *, most: float = 0.0, more: Mapping[str, str] | None = None
    ) -> Answer:
        """`most`: USD that one try can cost. Raises PurseClosed before a call that could pass the cap."""
        self.purse.take(TRIES * most)
        try:
            raw = await self._sdk.chat.completions.with_raw_response.create(
                model=model, messages=messages, temperature=0, max_tokens=ANSWER_TOKENS, extra_headers=dict(more or {})
            )
        except openai.APIError as error:
            raise DemoError(f"{model}: {error.message}") from None
        route = raw.headers.get(headers.ROUTE, "")
        usd = float(raw.headers.get(headers.COST, most))
        # a failed attempt, here or on the card, is not in the header: it counts as the most it can have cost
        self.purse.give_back(TRIES * most - usd - (raw.retries_taken + (route == "fallback")) * most)
        text = raw.parse().choices[0].message.content or ""
        return Answer(text.strip(), route, raw.headers.get(headers.TASK, ""))
