"""The connections to upstreams: nothing added to what is sent, nothing decoded of what returns."""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache

import aiohttp
from yarl import URL

from compiler.endpoint import Endpoint
from proxy.headers import Headers, origin_form, path_to_upstream
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

    async def send(
        self,
        method: str,
        endpoint: Endpoint,
        raw_path: str,
        headers: Headers,
        data: bytes | AsyncIterable[bytes] | None,
        leaves: Callable[[], None] = lambda: None,
    ) -> Answer:
        """The answer's head; its body is read from it. The caller closes it. `data` is a body that is here, or still
        coming in; `leaves` is told when it goes out."""
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
    return f"{base}/{origin_form(raw_path)[1:].partition('/')[2]}"
