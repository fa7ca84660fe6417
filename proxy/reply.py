"""An upstream's answer as the client gets it: the header bytes that came, and nothing of aiohttp's but a Date."""

import asyncio
import re
from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time, should_remove_content_length
from aiohttp.http import HttpVersion10, HttpVersion11, StreamWriter

from proxy.headers import CONNECTION, CONTENT_LENGTH, DATE, SERVER, TRANSFER_ENCODING, Headers

STOPPING = web.AppKey("stopping", asyncio.Event)  # set when the worker is told to stop
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # a model's name is whatever a body says


class Reply(web.StreamResponse):
    """Its head is written here: aiohttp's own drops bytes that are not UTF-8, and takes twice the time."""

    def __init__(self, status: int, reason: str | None, headers: Headers) -> None:
        super().__init__(status=status, reason=reason, _real_headers=headers)

    async def whole(self, request: web.BaseRequest, body: bytes) -> "Reply":
        """Send it, head and body in one write."""
        self._send_headers_immediately = False
        if self.status not in (204, 304):
            self._headers[CONTENT_LENGTH] = str(len(body))
        await self.prepare(request)
        await self.write_eof(b"" if self._must_be_empty_body else body)
        return self

    async def _start(self, request: web.BaseRequest) -> AbstractStreamWriter:
        self._req = request
        self._payload_writer = request._payload_writer
        writer = cast(StreamWriter, self._payload_writer)
        self._frame(request, writer)
        if DATE not in self._headers:
            self._headers[DATE] = rfc822_formatted_time()
        items = list(self._headers.items())
        if CONTROL.search("".join([value for _, value in items])):
            items = [(name, CONTROL.sub("", value)) for name, value in items]
        major, minor = request.version
        lines = [f"HTTP/{major}.{minor} {self.status} {self.reason}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in items]
        lines.append("\r\n")
        writer._headers_written = False
        writer._headers_buf = "".join(lines).encode("utf-8", "surrogateescape")
        if self._send_headers_immediately:
            writer.send_headers()
        return writer

    def _frame(self, request: web.BaseRequest, writer: StreamWriter) -> None:
        """How the client knows where it ends, and whether the connection stays."""
        headers, length = self._headers, self._headers.get(CONTENT_LENGTH)
        keep = request.keep_alive if self._keep_alive is None else self._keep_alive
        if self._must_be_empty_body:
            if should_remove_content_length(request.method, self.status):
                headers.pop(CONTENT_LENGTH, None)
        elif length is not None:
            writer.length = int(length)
        elif request.version >= HttpVersion11:
            writer.enable_chunking()
            headers[TRANSFER_ENCODING] = "chunked"
        else:
            keep = False
        if CONNECTION not in headers:
            keep = keep and not is_last(request)
            if not keep:
                headers[CONNECTION] = "close"
            elif request.version == HttpVersion10:
                headers[CONNECTION] = "keep-alive"
        self._keep_alive = keep


def is_last(request: web.BaseRequest) -> bool:
    """Whether its connection has to end with it. When the worker stops: a client that is told so sends its next request
    elsewhere, and not to a connection that is about to close. After a request in chunks: aiohttp's parser keeps a
    trailer that follows the last one, and would put it into the head of the next request."""
    return request._message.chunked or cast(web.Request, request).app[STOPPING].is_set()


def finish(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """The same for an answer that is our own: no name of aiohttp's, and an end where there must be one."""
    response.headers[SERVER] = "cuecard"
    if is_last(request):
        response.force_close()
        response.headers[CONNECTION] = "close"
