"""The process that serves: `python -m proxy.worker`, started by the supervisor. Says `ready` once it listens."""

import asyncio
import gc
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from proxy.app import DRAIN_SECONDS, READY, build_runner
from proxy.connections import close_silent, drain
from proxy.gateway import GATEWAY
from proxy.listening import listening
from proxy.metrics import Metrics
from proxy.process import READY as READY_LINE
from proxy.process import Boot, run
from proxy.reply import STOPPING
from proxy.settings import Settings
from proxy.uncounted import Uncounted

SNAPSHOT_SECONDS = 5.0


async def serve(settings: Settings, boot: Boot, stop: asyncio.Event) -> None:
    metrics = Metrics()
    runner = build_runner(settings, Path(boot.sockets), metrics, Uncounted(boot.uncounted))
    await runner.setup()
    with suppress(TimeoutError):  # a locked store is not waited for
        async with asyncio.timeout(SNAPSHOT_SECONDS):
            await runner.app[READY].wait()  # before, a declared task would be unknown
    runner.app[READY].set()
    _collect_rarely()
    assert runner.server
    closing = asyncio.create_task(close_silent(runner.server, settings.timeouts.client))
    site = web.SockSite(runner, listening(settings.listen.host, boot.port), backlog=1_024)
    try:
        await site.start()
        print(READY_LINE, flush=True)  # noqa: T201 - the supervisor waits for it
        await stop.wait()
        runner.app[STOPPING].set()
        await site.stop()
        runner.app[GATEWAY].end_tunnels()
        await drain(runner.server, lambda: metrics.requests_now, DRAIN_SECONDS)
    finally:
        closing.cancel()
        await runner.cleanup()


def _collect_rarely() -> None:
    """What is here now stays, and a request leaves little behind: looking for it at every 700 objects, as Python does,
    takes a twentieth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


if __name__ == "__main__":
    run(serve)
