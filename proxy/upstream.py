"""The connections to upstreams: nothing added to what is sent, nothing decoded of what returns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache

import aiohttp
from multidict import istr
from yarl import URL

from compiler.endpoint import Endpoint
from proxy.headers import Headers, path_to_upstream
from proxy.settings import Timeouts
from proxy.wire import Wire, WireAnswer

NOT_ADDED = (istr("Accept"), istr("Accept-Encoding"), istr("User-Agent"), istr("Content-Type"))
READ_BUFFER = 2**17
Answer = aiohttp.ClientResponse | WireAnswer


class Upstream:
    def __init__(self, session: aiohttp.ClientSession, wire: Wire) -> None:
        self.session = session
        self._wire = wire

    @classmethod
    @asynccontextmanager
    async def open(cls, timeouts: Timeouts) -> AsyncIterator["Upstream"]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=55, ttl_dns_cache=60)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect),
            read_bufsize=READ_BUFFER,
        ) as session:
            yield cls(session, Wire(connector, connect_seconds=timeouts.connect, read_buffer=READ_BUFFER))

    async def post(self, endpoint: Endpoint, raw_path: str, headers: Headers, body: bytes) -> WireAnswer:
        """The answer's head; its body is read from it. The caller closes it."""
        path = path_to_upstream(raw_path, endpoint)
        return await self._wire.post(address(endpoint.base_url, path), headers, body)

    async def send(
        self, method: str, endpoint: Endpoint, raw_path: str, headers: Headers, data: AsyncIterator[bytes] | None
    ) -> aiohttp.ClientResponse:
        """Any method, and a body that is still coming in. The caller closes it."""
        return await self.session.request(
            method,
            address(endpoint.base_url, path_to_upstream(raw_path, endpoint)),
            headers=headers,
            data=data,
            allow_redirects=False,
            skip_auto_headers=[name for name in NOT_ADDED if name not in headers] or None,
        )


@lru_cache(1_024)
def address(base_url: str, raw_path: str) -> URL:
    """`raw_path` as the client wrote it (percent-encoding kept), its /v1 replaced by the upstream's base.

    Whatever a client wrote stays behind a slash: directly behind a host it would name another one.
    """
    path = raw_path[3:] if raw_path.startswith("/v1/") else raw_path
    return URL(base_url + (path if path.startswith("/") else f"/{path}"), encoded=True)
