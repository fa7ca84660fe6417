"""aiohttp's server, but what is no HTTP is refused in OpenAI's shape, and without a word of what was sent: aiohttp
itself quotes the broken line, which may be the one that holds the key."""

import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from proxy.errors import BadRequestError, HeadersTooLargeError, ProxyError

log = logging.getLogger("cuecard.server")

TOO_MANY = "Too many headers"  # aiohttp has no type of its own for it


class _Connection(RequestHandler):
    __slots__ = ()

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun, and can't become another")
        error = _refusal(status, exc)
        if error.status < 500:
            log.info("a request was refused: %s", error)
        else:
            log.error("a request failed: %s", error, exc_info=exc)
        response = error.response()
        response.force_close()
        return response


def _refusal(status: int, exc: BaseException | None) -> ProxyError:
    if status != 400:
        return ProxyError("internal error", code="internal_error")
    if isinstance(exc, LineTooLong) or str(exc).find(TOO_MANY) >= 0:
        return HeadersTooLargeError("the request's first line or its headers are too long, or too many")
    return BadRequestError(f"this is not HTTP/1.1 ({type(exc).__name__})", code="invalid_http")


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **made._kwargs,
        )
