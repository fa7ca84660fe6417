"""An app that knows nothing of Cuecard: it asks through the SDK, as it always did."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI

from compiler.card import Card
from compiler.proof import Proof, Proofs
from compiler.registry import Registry, TaskState
from tests.e2e.conftest import Server
from tests.learned import mails, request

PATIENCE = 120.0
AT_ONCE = 20
TAKES = 0.2  # seconds, of the app's own model: what is cheap is quicker, also on a busy machine
META, INCUMBENT, CANDIDATE = "fake-mini", "fake-strong", "fake-nano"
Good = Callable[[Any, str], bool]
"""Whether a text answers a request's body."""


def right(body: Any) -> str:
    """What the app's own model answers: told by the text alone."""
    text = body["messages"][-1]["content"]
    words = ("high", "low") if "urgent" in text else ("yes", "no")
    return words[sum(map(ord, text)) % 3 == 0]


def wrong(body: Any) -> str:
    return {"high": "low", "low": "high", "yes": "no", "no": "yes"}[right(body)]


def good(body: Any, answer: str) -> bool:
    return answer == right(body)


class App:
    def __init__(self, server: Server, good: Good, texts: Iterator[str] | None = None) -> None:
        self._server = server
        self._good = good
        self._sdk = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-app", max_retries=0)
        server.opened.append(self._sdk)
        self._texts = texts or mails()
        self.routes: dict[str, list[str]] = {}  # of each prompt's calls
        self.asked: list[str] = []  # what was answered

    async def ask(self, prompt: str, times: int) -> list[bool]:
        """So many at once; whether each answer was good. One that does not come is an error."""
        return await asyncio.gather(*(self.say(prompt, self.next(prompt)) for _ in range(times)))

    async def try_to_ask(self, prompt: str, times: int) -> list[bool | APIStatusError]:
        """The same, but an error of the upstream's is an answer too."""

        async def one() -> bool | APIStatusError:
            try:
                return await self.say(prompt, self.next(prompt))
            except APIStatusError as error:
                return error

        return await asyncio.gather(*(one() for _ in range(times)))

    def next(self, prompt: str) -> dict[str, Any]:
        return request(prompt, next(self._texts))

    async def directly(self, url: str, prompt: str) -> APIStatusError:
        """The upstream's own error to such a request, without anything in between."""
        sdk = self._sdk.with_options(base_url=url)
        with pytest.raises(APIStatusError) as raised:
            await sdk.chat.completions.create(**self.next(prompt))
        return raised.value

    async def say(self, prompt: str, body: dict[str, Any]) -> bool:
        try:
            raw = await self._sdk.chat.completions.with_raw_response.create(**body)
        except APIStatusError as error:
            self.routes.setdefault(prompt, []).append(error.response.headers["X-Cuecard-Route"])
            raise
        self.routes.setdefault(prompt, []).append(raw.headers["X-Cuecard-Route"])
        self.asked.append(body["messages"][-1]["content"])
        return self._good(body, raw.parse().choices[0].message.content or "")

    async def until(self, prompt: str, stage: str) -> Proof:
        """Goes on asking until the prompt's task is at that stage."""
        _, proof = await self.until_at(prompt, stage)
        assert proof
        return proof

    async def until_at(self, prompt: str, stage: str) -> tuple[TaskState, Proof | None]:
        """The same, where there may be no proof."""
        async with asyncio.timeout(PATIENCE):
            while (found := self.state(prompt)) is None or found[0].stage != stage:
                await self.ask(prompt, AT_ONCE)
        return found

    def state(self, prompt: str) -> tuple[TaskState, Proof | None] | None:
        with self._server.open_store() as store:
            registry = Registry(store)
            for name, task in registry.adopted().items():
                if prompt.partition(".")[0] in task.description:
                    return registry.state(name), Proofs(store).get(name)
        return None

    def card(self, prompt: str) -> Card:
        with self._server.open_store() as store:
            registry = Registry(store)
            (name,) = [n for n, task in registry.adopted().items() if prompt.partition(".")[0] in task.description]
            card = registry.card(name, registry.state(name).version)
        assert card
        return card

    def proof(self, prompt: str) -> Proof:
        found = self.state(prompt)
        assert found and found[1]
        return found[1]
