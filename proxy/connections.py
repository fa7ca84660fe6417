"""The clients' connections: closed when they never ask anything, and ended so that no request is lost when the worker
is told to stop."""

import asyncio
from collections.abc import Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from proxy.call import now

QUIET_SECONDS = 0.25  # without a new request: the clients that keep connections have heard that we are closing
LOOK_SECONDS = 0.02


async def close_silent(server: web.Server, patience: float) -> None:
    """Until cancelled: close each connection that had `patience` seconds for its first request. (aiohttp allows an
    hour.) One that did ask may be idle for as long as aiohttp's keep-alive lasts."""
    since: dict[RequestHandler, float] = {}
    while True:
        await asyncio.sleep(patience / 4)
        at = now()
        since = {c: since.get(c, at) for c in server.connections if not c._request_count}
        for connection, first_seen in since.items():
            if at - first_seen > patience:
                connection.force_close()


async def drain(server: web.Server, requests_now: Callable[[], int], seconds: float) -> None:
    """When nobody new can connect, and answers say that they are the connection's last: wait until every request that
    came in has its answer, and those that were on their way have come in.

    (aiohttp's own shutdown comes after: it stops reading at once, also from a client in the middle of an upload.)
    """
    end = now() + seconds
    seen, quiet_since = server.requests_count, now()
    while server.connections and now() < end:
        if server.requests_count != seen or requests_now() or _unsent(server):
            seen, quiet_since = server.requests_count, now()
        elif now() - quiet_since > QUIET_SECONDS:
            return
        await asyncio.sleep(LOOK_SECONDS)


def _unsent(server: web.Server) -> bool:
    """Whether a client that reads slowly has yet to take the end of its answer."""
    return any(c.transport is not None and c.transport.get_write_buffer_size() for c in server.connections)
