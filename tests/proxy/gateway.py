"""The proxy's application in this process, on a real socket, beside a recording fake upstream and a real store.

proxy = await run(tasks={…})          # settings as in cuecard.yaml
proxy.compiled("mood", …)             # a card in the store, adopted by the worker
await proxy.chat({...}), proxy.metric("requests_total", route="original")
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from compiler.card import Card
from compiler.registry import Registry
from compiler.store import Store
from compiler.tokens import TokenCounter
from proxy.app import READY, build_runner
from proxy.count_server import serve_counts
from proxy.counting import SOCKET
from proxy.declare import configured_tasks
from proxy.gateway import GATEWAY, Gateway
from proxy.metrics import Metrics
from proxy.settings import Settings
from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream
from tests.proxy.sockets import RawUpstream

PATIENCE = 10.0


@dataclass
class Proxy:
    url: str
    port: int
    fake: FakeUpstream | RawUpstream
    settings: Settings
    store: Store
    http: aiohttp.ClientSession
    runner: web.AppRunner
    metrics: Metrics

    @property
    def gateway(self) -> Gateway:
        return self.runner.app[GATEWAY]

    async def chat(self, body: dict[str, Any], **headers: str) -> aiohttp.ClientResponse:
        return await self.http.post(f"{self.url}/v1/chat/completions", json=body, headers=headers)

    def metric(self, name: str, **labels: str) -> float:
        """The sum over every label that is not named."""
        return sum(
            sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == f"cuecard_{name}" and labels.items() <= sample.labels.items()
        )

    async def metered(self, name: str, at_least: float, **labels: str) -> None:
        """Until that many are counted: the last of it is booked after the client has its answer."""
        async with asyncio.timeout(PATIENCE):
            while self.metric(name, **labels) < at_least:
                await asyncio.sleep(0.005)

    async def publish(self, card: Card) -> None:
        Registry(self.store).publish(card)
        async with asyncio.timeout(PATIENCE):
            while (view := self.gateway.snapshots.current.tasks.get(card.task)) is None or view.card != card:
                await self.gateway.snapshots.next()


@asynccontextmanager
async def running(fake: FakeUpstream | RawUpstream, folder: Path, **more: Any) -> AsyncIterator[Proxy]:
    settings = Settings.model_validate(
        {
            "upstreams": {"fake": {"base_url": fake.url, "api_key": "sk-ours"}},
            "models": {"meta": "fake-strong", "judge": "fake-judge", "production": ["fake-nano"]},
            "prices": PRICES,
            "store": {"url": f"file:{folder / 'store'}"},
            **more,
        }
    )
    metrics = Metrics()
    counting = await serve_counts(folder / SOCKET, TokenCounter())
    with Store(settings.store.folder) as store:
        Registry(store).declare(configured_tasks(settings), "config")
        runner = build_runner(settings, folder, metrics)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            async with aiohttp.ClientSession() as http:
                proxy = Proxy(f"http://127.0.0.1:{port}", port, fake, settings, store, http, runner, metrics)
                async with asyncio.timeout(PATIENCE):
                    while proxy.gateway.snapshots.current.generation == 0:
                        await proxy.gateway.snapshots.next()
                    await runner.app[READY].wait()
                yield proxy
        finally:
            await runner.cleanup()
            counting.close()
