"""The learner's side of capturing, in a test's own process, and what it kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compiler.observation import Observation, Observations
from compiler.pricing import PriceBook
from compiler.tokens import TokenCounter
from proxy.capture import SOCKET, Offer
from proxy.capture_server import Recorder, recording
from proxy.metrics import Metrics
from tests.conftest import PRICES
from tests.proxy.gateway import Proxy

PATIENCE = 20.0
LAST = "the last one"


def text_of(observation: Observation) -> str:
    return str(observation.request["messages"][-1]["content"])


@dataclass
class Kept:
    """`folder` is the store's."""

    folder: Path

    def now(self) -> list[Observation]:
        with Observations(self.folder, retention_days=14) as observations:
            return [observation for _, observation in observations.since()]

    async def at_least(self, number: int) -> list[Observation]:
        async with asyncio.timeout(PATIENCE):
            while len(found := self.now()) < number:
                await asyncio.sleep(0.01)
        return found

    async def all(self, proxy: Proxy, **headers: str) -> list[Observation]:
        """What was kept of all that was asked so far: the requests after it are kept after it."""
        answer = await proxy.chat({"model": "fake-mini", "messages": [{"role": "user", "content": LAST}]}, **headers)
        assert answer.status == 200
        async with asyncio.timeout(PATIENCE):
            while not (found := self.now()) or text_of(found[-1]) != LAST:
                await asyncio.sleep(0.01)
        return found[:-1]


def recorder(store: Path, metrics: Metrics, **more: Any) -> Recorder:
    return Recorder(partial(Observations, store, retention_days=14), metrics, TokenCounter(), PriceBook(PRICES), **more)


@asynccontextmanager
async def learner(sockets: Path, store: Path, metrics: Metrics, **more: Any) -> AsyncIterator[Kept]:
    async with recording(sockets / SOCKET, recorder(store, metrics, **more)):
        yield Kept(store)


async def keep(into: Recorder, *offers: Offer) -> None:
    """As if a worker had sent them."""
    running = asyncio.create_task(into.run())
    for offer in offers:
        await into.put(offer)
    await into.drain()
    running.cancel()
