"""What aiohttp's server gets wrong about a request that comes in chunks. Others have a length, and no part in this."""

from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError

from proxy.errors import BadRequestError
from proxy.headers import TRANSFER_ENCODING


def receive(request: web.Request) -> None:
    """Before its body is read. Raises BadRequestError where a coding around the chunks (gzip, chunked) would be lost:
    the header goes no further than here."""
    if not request._message.chunked:
        return
    if request.version < HttpVersion11 or request.headers[TRANSFER_ENCODING].lower() != "chunked":
        raise BadRequestError("Transfer-Encoding may be `chunked` and nothing else here")
    protocol: Any = request.protocol
    protocol._parser = _Telling(protocol._parser, request.content)


class _Telling:
    """The parser, which tells nobody who waits for a body that its chunks are no chunks: they would wait for ever."""

    def __init__(self, parser: Any, body: StreamReader) -> None:
        self._parser = parser
        self._body = body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> Any:
        try:
            return self._parser.feed_data(data)
        except HttpProcessingError:
            self._body.set_exception(BadRequestError("the request's body is not in chunks as its head says"))
            raise
