"""The real server: `cuecard serve` as a process of its own, on a free port, beside a recording fake upstream."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio
import yaml
from openai import AsyncOpenAI

from compiler.store import Store
from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream

PATIENCE = 60.0  # seconds until a server that is not ready fails the test; on a quiet machine it takes two


@dataclass
class Server:
    url: str
    process: asyncio.subprocess.Process
    store: Path
    log: list[str]
    http: aiohttp.ClientSession
    opened: list[AsyncOpenAI] = field(default_factory=list)  # SDK clients, closed with the server

    async def chat(self, body: dict[str, Any], **headers: str) -> aiohttp.ClientResponse:
        return await self.http.post(f"{self.url}/v1/chat/completions", json=body, headers=headers)

    async def metrics(self) -> str:
        async with self.http.get(f"{self.url}/metrics") as answer:
            return await answer.text()

    async def stop(self) -> None:
        for sdk in self.opened:
            await sdk.close()
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()

    def open_store(self) -> Store:
        return Store(self.store)


def settings_for(fake: FakeUpstream, folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "listen": {"port": 0},
        "upstreams": {"fake": {"base_url": fake.url, "api_key": "sk-ours"}},
        "models": {"meta": "fake-strong", "judge": "fake-judge", "production": ["fake-nano"]},
        "prices": {name: dict(price) for name, price in PRICES.items()},
        "store": {"url": f"file:{folder / 'store'}"},
        **more,
    }


@asynccontextmanager
async def serving(folder: Path, settings: dict[str, Any]) -> AsyncIterator[Server]:
    config = folder / "cuecard.yaml"
    config.write_text(yaml.safe_dump(settings))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from proxy.cli import main; main()", "serve", "--config", str(config),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    log: list[str] = []
    assert process.stdout
    url = ""
    async with asyncio.timeout(PATIENCE):
        while not url and (line := await process.stdout.readline()):
            log.append(line.decode())
            if found := re.search(r"listens on (http://\S+)/v1", log[-1]):
                url = found[1]
    assert url, "".join(log)
    draining = asyncio.create_task(_drain(process.stdout, log))
    async with aiohttp.ClientSession() as http:
        server = Server(url, process, folder / "store", log, http)
        await _ready(server)
        try:
            yield server
        finally:
            await server.stop()
            await draining


async def _drain(stream: asyncio.StreamReader, log: list[str]) -> None:
    while line := await stream.readline():
        log.append(line.decode())


async def _ready(server: Server) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            async with server.http.get(f"{server.url}/health/ready") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.02)  # polled as an orchestrator would


@pytest.fixture
async def start(tmp_path: Path, fake: FakeUpstream) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """`await start(**settings)`: a running server over the fake upstream, stopped after the test."""
    async with AsyncExitStack() as stack:

        async def run(**more: Any) -> Server:
            return await stack.enter_async_context(serving(tmp_path, settings_for(fake, tmp_path, **more)))

        yield run


class World(NamedTuple):
    server: Server
    fake: FakeUpstream


@pytest.fixture(scope="module")
def shared_settings() -> dict[str, Any]:
    """Of the server that a module's tests share; a module that wants others has a fixture of this name."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory, shared_settings: dict[str, Any]) -> AsyncIterator[World]:
    """One server for all tests of a module, which run in that module's loop."""
    folder = tmp_path_factory.mktemp("shared")
    async with FakeUpstream() as fake, serving(folder, settings_for(fake, folder, **shared_settings)) as server:
        yield World(server, fake)


@pytest.fixture
def world(shared: World) -> World:
    """The shared server, over an upstream that has heard nothing yet and answers as if nobody had told it anything."""
    shared.fake.calls.clear()
    shared.fake.answers.clear()
    shared.fake.release.clear()
    return shared
