"""An upstream's answer as the client gets it: the header bytes that came, and nothing of aiohttp's but a Date."""

import re
from typing import cast

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE, StreamWriter

from proxy.headers import CONTENT_TYPE, SERVER

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # a model's name is whatever a body says


class Reply(web.StreamResponse):
    """Its body as it comes."""

    async def _prepare_headers(self) -> None:
        named = CONTENT_TYPE in self.headers
        await super()._prepare_headers()
        if not named:
            self.headers.pop(CONTENT_TYPE, None)

    async def _write_headers(self) -> None:
        """aiohttp's own drops bytes that are not UTF-8."""
        assert self._req
        version = self._req.version
        lines = [f"HTTP/{version.major}.{version.minor} {self.status} {self.reason}\r\n"]
        lines += [f"{name}: {_CONTROL.sub('', value)}\r\n" for name, value in self.headers.items()]
        lines.append("\r\n")
        writer = cast(StreamWriter, self._payload_writer)
        writer._headers_written = False
        writer._headers_buf = "".join(lines).encode("utf-8", "surrogateescape")
        if self._send_headers_immediately:
            writer.send_headers()


class WholeReply(Reply, web.Response):
    """Its body at once, in one write with its head."""


def without_name(response: web.StreamResponse) -> None:
    """aiohttp names itself and its version where no Server is given. (An upstream's own is another object.)"""
    if response.headers.get(SERVER) is SERVER_SOFTWARE:
        del response.headers[SERVER]
