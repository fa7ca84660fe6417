"""The learner's side of capturing, in a test's own process, and what it kept."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compiler.observation import Observation, Observations
from compiler.pricing import PriceBook
from compiler.redaction.redact import redact_values
from compiler.tokens import TokenCounter
from proxy.capture import SOCKET, Offer
from proxy.capture_server import Recorder, recording
from proxy.metrics import Metrics
from proxy.surrogates import Redact, Surrogates
from tests.conftest import PRICES
from tests.proxy.gateway import Proxy

PATIENCE = 20.0
LAST = "the last one"
MAIL, CARD = "anna.weber@klinik-nord.de", "4111 1111 1111 1111"
PLANTED = {
    "mail": MAIL,
    "another mail": "j.o'neill+x@example.co.uk",
    "card": CARD,
    "card without spaces": "5500005555555559",
    "key": "sk-proj-4Kq9bT2vXw8Lm3Zr7Yp1Nc6Hd5Jf0Gs",
    "aws key": "AKIAIOSFODNN7EXAMPLE",
}


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


def recorder(store: Path, metrics: Metrics, *, redact: Redact | None = redact_values) -> Recorder:
    opened = partial(Observations, store, retention_days=14)
    return Recorder(opened, metrics, TokenCounter(), PriceBook(PRICES), Surrogates(redact))


@asynccontextmanager
async def learner(sockets: Path, store: Path, metrics: Metrics, **more: Any) -> AsyncIterator[Kept]:
    async with recording(sockets / SOCKET, recorder(store, metrics, **more)):
        yield Kept(store)


async def keep(into: Recorder, *offers: Offer) -> None:
    """As if a worker had sent them."""

    async def put() -> None:
        for offer in offers:
            await into.put(offer)
        await into.drain()

    running, putting = asyncio.create_task(into.run()), asyncio.create_task(put())
    await asyncio.wait((running, putting), return_when=asyncio.FIRST_COMPLETED)
    assert putting.done(), "nothing is kept any more"
    running.cancel()


def leaves(value: Any) -> list[str]:
    """All texts in a JSON value, and in texts that are JSON themselves."""
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in leaves(part)]
    if isinstance(value, list):
        return [text for part in value for text in leaves(part)]
    if isinstance(value, str):
        with suppress(ValueError):
            if not isinstance(inner := json.loads(value), str):
                return [value, *leaves(inner)]
    return [str(value)]


def decoded(folder: Path) -> str:
    """Every row, and every page of the database and its log, as text."""
    connection = sqlite3.connect(f"file:{folder / 'cache.db'}?mode=ro", uri=True)
    rows = connection.execute("SELECT key, value FROM Cache").fetchall()
    connection.close()
    texts = [text for key, value in rows for text in (key, *leaves(json.loads(value)))]
    pages = [path.read_bytes().decode("utf-8", "ignore") for path in folder.iterdir() if path.is_file()]
    return "\n".join([*texts, *pages])
