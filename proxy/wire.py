"""A request and its answer on one of aiohttp's pooled connections, byte for byte, without what its client does for each
request: cookies, redirects, a second try, headers of its own, headers that differ in case made one.

Connections, TLS, DNS, keep-alive and the parser are aiohttp's. docs/decisions/0002 says why and what it leans on.
"""

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import NamedTuple, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

from proxy.call import now
from proxy.headers import CONTENT_LENGTH, UPGRADE, Headers
from proxy.upload import Upload

MAX_LINE = MAX_FIELD = 65_536  # bytes of an answer's status line, and of one header
MAX_HEADERS = 256
ONE_PIECE = 2**16  # bytes of a body: below it, a copy is cheaper than two buffers
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
CLOSED_SECONDS = 1.0  # within which a connection that was closed when we wrote to it says so


class Outgoing(NamedTuple):
    """A request as it is to be sent. A body of bytes is a chat request's; one still coming in has its length in
    `headers`, or goes in chunks. `leaves` is told when there is a connection and it goes out on that."""

    method: str
    origin: URL
    target: str  # path and query
    headers: Headers
    body: bytes | AsyncIterable[bytes] | None = None
    leaves: Callable[[], None] = lambda: None

    @property
    def repeatable(self) -> bool:
        return self.method in SAFE or isinstance(self.body, bytes)


class BadAnswerError(aiohttp.ClientError):
    """What came is not HTTP."""


class WireAnswer:
    """As much of `aiohttp.ClientResponse` as is needed: head, body, and the connection given back at the end."""

    def __init__(
        self, connection: Connection, message: RawResponseMessage, content: StreamReader, upload: Upload | None
    ) -> None:
        self.status: int = message.code
        self.reason: str | None = message.reason
        self.headers: CIMultiDictProxy[str] = message.headers
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = message.raw_headers
        self.content = content
        self.connection: Connection | None = connection
        self._upload = upload
        if message.code != 101:  # what was switched over has no end of its own
            content.on_eof(self._ended)

    async def read(self) -> bytes:
        return await self.content.read()

    def _ended(self) -> None:
        connection, self.connection = self.connection, None
        if connection and (self._upload is None or self._upload.whole):
            connection.release()
        elif connection:  # answered before it had heard the request out
            self._drop(connection)

    def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection:  # not read to its end: nobody else can use it
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if self._upload:
            self._upload.stop()
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
        self._origins: dict[URL, aiohttp.ClientRequest] = {}

    async def send(self, request: Outgoing) -> WireAnswer:
        """The answer's head; the caller reads or closes the rest.

        Raises aiohttp.ClientError (an UploadError is the client's doing), OSError or TimeoutError.

        Sent twice in one case only: a kept connection that the upstream closes just as we write to it. That is how
        servers end idle connections, and an app that connects by itself would not have met it. Never what may change
        something there: a file deleted twice is a 404.
        """
        connection = await self._connect(request)
        kept = connection.protocol is not None and connection.protocol._parser is not None  # it has had a request
        began = now()
        try:
            return await self._send(connection, request)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):  # a FIN, or the RST of a close
            if not kept or not request.repeatable or now() - began > CLOSED_SECONDS:
                raise
        return await self._send(await self._connect(request), request)

    async def _connect(self, request: Outgoing) -> Connection:
        while True:
            connection = await self._connector.connect(self._origin(request.origin), [], self._timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()  # it said something nobody asked for: it would be taken for this request's answer

    async def _send(self, connection: Connection, request: Outgoing) -> WireAnswer:
        upload: Upload | None = None
        body = request.body
        try:
            protocol = self._ready(connection, request.method)
            transport = protocol.transport
            if transport is None:
                raise aiohttp.ServerDisconnectedError
            request.leaves()
            if isinstance(body, bytes):
                head = _head(request, f"Content-Length: {len(body)}\r\n")
                if len(body) < ONE_PIECE:
                    transport.write(head + body)
                else:
                    transport.writelines((head, body))
            else:
                in_chunks = body is not None and CONTENT_LENGTH not in request.headers
                transport.write(_head(request, "Transfer-Encoding: chunked\r\n" if in_chunks else ""))
                upload = Upload(protocol, body, in_chunks=in_chunks) if body is not None else None
            message, content = await _answered(protocol, may_switch=UPGRADE in request.headers)
            return WireAnswer(connection, message, content, upload)
        except BaseException:
            if upload:
                upload.stop()
            connection.close()
            raise

    def _ready(self, connection: Connection, method: str) -> ResponseHandler:
        """The connection's protocol with a parser of its own: what trailed the last answer is not in this one."""
        protocol = connection.protocol
        if protocol is None:
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=self._read_buffer,
            max_line_size=MAX_LINE,
            max_field_size=MAX_FIELD,
            max_headers=MAX_HEADERS,
        )
        return protocol

    def _origin(self, origin: URL) -> aiohttp.ClientRequest:
        """What the connector wants to know of a request, the same for all to one server."""
        found = self._origins.get(origin)
        if found is None:
            loop = asyncio.get_running_loop()
            found = self._origins[origin] = aiohttp.ClientRequest("POST", origin, loop=loop)
        return found


async def _answered(protocol: ResponseHandler, *, may_switch: bool) -> tuple[RawResponseMessage, StreamReader]:
    while True:
        try:
            message, content = await protocol.read()
        except HttpProcessingError as error:
            raise BadAnswerError(f"the answer is not HTTP ({type(error).__name__})") from None
        if message.code == 101 and not may_switch:
            raise BadAnswerError("the upstream switched protocols unasked")
        if message.code == 101 or not 100 <= message.code < 200:  # 103 Early Hints, or a 100 nobody asked for
            return message, content


def _head(request: Outgoing, framing: str) -> bytes:
    """Header bytes go out as they came in: decoded with surrogates, encoded with them."""
    host = request.origin.host_port_subcomponent
    lines = [f"{request.method} {request.target} HTTP/1.1\r\nHost: {host}\r\n{framing}"]
    lines += [f"{name}: {value}\r\n" for name, value in request.headers.items()]
    lines.append("\r\n")
    return "".join(lines).encode("utf-8", "surrogateescape")
