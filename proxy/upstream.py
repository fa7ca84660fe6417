"""The connections to upstreams: nothing added to what is sent, nothing decoded of what returns."""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache

import aiohttp
from yarl import URL

from compiler.endpoint import Endpoint
from proxy.headers import Headers, path_to_upstream
from proxy.settings import Timeouts
from proxy.wire import Outgoing, Wire, WireAnswer

READ_BUFFER = 2**17
Answer = WireAnswer


class Upstream:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @classmethod
    @asynccontextmanager
    async def open(cls, timeouts: Timeouts) -> AsyncIterator["Upstream"]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=55, ttl_dns_cache=60)
        async with connector:
            yield cls(Wire(connector, connect_seconds=timeouts.connect, read_buffer=READ_BUFFER))

    async def post(
        self, endpoint: Endpoint, raw_path: str, headers: Headers, body: bytes, leaves: Callable[[], None]
    ) -> Answer:
        """The answer's head; its body is read from it. The caller closes it. `leaves` is told when it goes out."""
        return await self.send("POST", endpoint, raw_path, headers, body, leaves)

    async def send(
        self,
        method: str,
        endpoint: Endpoint,
        raw_path: str,
        headers: Headers,
        data: bytes | AsyncIterable[bytes] | None,
        leaves: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Any method, and a body that is here or still coming in. The caller closes it."""
        origin, base = _base(endpoint.base_url)
        path = target(base, path_to_upstream(raw_path, endpoint))
        return await self._wire.send(Outgoing(method, origin, path, headers, data, leaves))


@lru_cache(64)
def _base(base_url: str) -> tuple[URL, str]:
    url = URL(base_url, encoded=True)
    return url.origin(), url.raw_path.rstrip("/")


def target(base: str, raw_path: str) -> str:
    """`raw_path` as the client wrote it, percent-encoding and all, but for its first part: for /v1, however it is
    written, stands the upstream's `base`."""
    if not raw_path.startswith("/"):  # a client that takes us for its HTTP proxy writes the whole address
        raw_path = raw_path.partition("://")[2].partition("/")[2]
        return f"{base}/{raw_path.partition('/')[2]}"
    return f"{base}/{raw_path[1:].partition('/')[2]}"
