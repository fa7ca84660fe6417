"""The learner's side of feedback, in a test's own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from compiler.answers import Answers
from compiler.observation import Observations
from compiler.store import Store
from proxy.answered import SOCKET
from proxy.feedback_server import Noter, Opened, noting
from proxy.metrics import Metrics
from proxy.surrogates import Surrogates
from tests.proxy.gateway import Proxy

MARGIN = 0.02


def opened(store: Path) -> Opened:
    return Opened(Store(store), Answers(store), Observations(store, retention_days=14))


def noter(store: Path, metrics: Metrics, surrogates: Surrogates | None = None) -> Noter:
    return Noter(partial(opened, store), metrics, surrogates or Surrogates(), lambda kind: MARGIN)


@asynccontextmanager
async def learner(
    sockets: Path, store: Path, metrics: Metrics, surrogates: Surrogates | None = None
) -> AsyncIterator[None]:
    async with noting(sockets / SOCKET, noter(store, metrics, surrogates)):
        yield


async def say(proxy: Proxy, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    async with proxy.http.post(f"{proxy.url}/v1/feedback", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


def ids(answer: aiohttp.ClientResponse, body: dict[str, Any]) -> tuple[str, str]:
    """Of an answer: in its body, and Cuecard's own."""
    return body["id"], answer.headers["X-Cuecard-Request-Id"]
