"""A whole request and its answer on one of aiohttp's pooled connections, without what its client does for each request
(cookies, redirects, tracing, re-checking headers that its server has just parsed): a quarter of a short request's time.

Connections, TLS, DNS, keep-alive and the parser are aiohttp's. docs/decisions/0002 says why and what it leans on.
"""

import asyncio
from typing import Self
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

from proxy.call import now
from proxy.headers import Headers

MAX_LINE = MAX_FIELD = 65_536  # bytes of an answer's status line, and of one header
MAX_HEADERS = 256
CLOSED_SECONDS = 1.0  # within which a connection that was closed when we wrote to it says so


class BadAnswerError(aiohttp.ClientError):
    """What came is not HTTP."""


class WireAnswer:
    """As much of `aiohttp.ClientResponse` as is needed: head, body, and the connection given back at the end."""

    def __init__(self, connection: Connection, message: RawResponseMessage, content: StreamReader) -> None:
        self.status: int = message.code
        self.reason: str | None = message.reason
        self.headers: CIMultiDictProxy[str] = message.headers
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = message.raw_headers
        self.content = content
        self._connection: Connection | None = connection
        content.on_eof(self._ended)

    def _ended(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.release()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection:  # not read to its end: nobody else can use it
            connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


class Wire:
    def __init__(self, connector: aiohttp.TCPConnector, *, connect_seconds: float, read_buffer: int) -> None:
        self._connector = connector
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._read_buffer = read_buffer
        self._origins: dict[tuple[str, str], aiohttp.ClientRequest] = {}
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def post(self, url: URL, headers: Headers, body: bytes) -> WireAnswer:
        """The answer's head. Raises aiohttp.ClientError, OSError or TimeoutError.

        Sent twice in one case only: a kept connection that the upstream closes just as we write to it. That is how
        servers end idle connections, and an app that connects by itself would not have met it.
        """
        connection = await self._connect(url)
        kept, began = connection.protocol in self._used, now()
        try:
            return await self._post(connection, url, headers, body)
        except (aiohttp.ServerDisconnectedError, ConnectionError):
            if not kept or now() - began > CLOSED_SECONDS:
                raise
        return await self._post(await self._connect(url), url, headers, body)

    async def _connect(self, url: URL) -> Connection:
        return await self._connector.connect(self._origin(url), [], self._timeout)

    async def _post(self, connection: Connection, url: URL, headers: Headers, body: bytes) -> WireAnswer:
        try:
            protocol = connection.protocol
            if protocol is None or protocol.transport is None:
                raise aiohttp.ServerDisconnectedError
            self._used.add(protocol)
            protocol.set_response_params(
                read_until_eof=True,
                auto_decompress=False,
                read_bufsize=self._read_buffer,
                max_line_size=MAX_LINE,
                max_field_size=MAX_FIELD,
                max_headers=MAX_HEADERS,
            )
            protocol.transport.writelines((_head(url, headers, len(body)), body))
            message, content = await _answered(protocol)
            return WireAnswer(connection, message, content)
        except BaseException:
            connection.close()
            raise

    def _origin(self, url: URL) -> aiohttp.ClientRequest:
        """What the connector wants to know of a request, the same for all to one server."""
        key = url.scheme, url.raw_authority
        found = self._origins.get(key)
        if found is None:
            loop = asyncio.get_running_loop()
            found = self._origins[key] = aiohttp.ClientRequest("POST", url.origin(), loop=loop)
        return found


async def _answered(protocol: ResponseHandler) -> tuple[RawResponseMessage, StreamReader]:
    while True:
        try:
            message, content = await protocol.read()
        except HttpProcessingError as error:
            raise BadAnswerError(f"the answer is not HTTP ({type(error).__name__})") from None
        if message.code == 101:
            raise BadAnswerError("the upstream switched protocols unasked")
        if not 100 <= message.code < 200:  # 103 Early Hints, or a 100 nobody asked for
            return message, content


def _head(url: URL, headers: Headers, length: int) -> bytes:
    """Header bytes go out as they came in: decoded with surrogates, encoded with them."""
    lines = [f"POST {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}\r\nContent-Length: {length}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    lines.append("\r\n")
    return "".join(lines).encode("utf-8", "surrogateescape")
