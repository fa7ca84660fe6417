"""The connections to upstreams: one client session, nothing added to what is sent, nothing decoded of what returns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from compiler.endpoint import Endpoint
from proxy.settings import Timeouts

NOT_ADDED = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
READ_BUFFER = 2**17


class Upstream:
    def __init__(self, session: aiohttp.ClientSession, timeouts: Timeouts) -> None:
        self.session = session
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=timeouts.upstream)

    @classmethod
    @asynccontextmanager
    async def open(cls, timeouts: Timeouts) -> AsyncIterator["Upstream"]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=55, ttl_dns_cache=60)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=NOT_ADDED,
            read_bufsize=READ_BUFFER,
        ) as session:
            yield cls(session, timeouts)

    async def send(
        self, method: str, endpoint: Endpoint, raw_path: str, headers: CIMultiDict[str], data: Any
    ) -> aiohttp.ClientResponse:
        """The answer's head; its body is read from it. The caller closes it."""
        return await self.session.request(
            method,
            address(endpoint, raw_path),
            headers=headers,
            data=data,
            allow_redirects=False,
            timeout=self._timeout,
        )


def address(endpoint: Endpoint, raw_path: str) -> URL:
    """`raw_path` as the client wrote it (percent-encoding kept), its /v1 replaced by the upstream's base."""
    return URL(endpoint.base_url + raw_path.removeprefix("/v1"), encoded=True)
