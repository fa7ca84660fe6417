"""The processes under the supervisor: a worker serves, the learner learns. Started as `python -m proxy.worker ROLE`.

The supervisor writes one line of JSON to standard input and keeps it open: when it closes, the supervisor is gone and
the process ends. A worker says `ready` on standard output once it listens.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from compiler.errors import StoreError
from compiler.learner import elected
from compiler.registry import Registry
from compiler.store import Store
from compiler.tokens import TokenCounter
from proxy import logs
from proxy.app import READY, build_runner
from proxy.background import open_learner
from proxy.books import recover
from proxy.count_server import serve_counts
from proxy.metrics import Metrics, use_slot
from proxy.settings import Settings

log = logging.getLogger("cuecard.worker")

SNAPSHOT_SECONDS = 5.0
GAUGES_EVERY = 1.0  # seconds
PURGE_EVERY = 3_600.0  # closed accounts, answers kept for a compile, hours past the ledger's keeping
RECOVER_EVERY = 1.0  # what killed workers had noted


async def serve(settings: Settings, count_socket: Path, port: int, stop: asyncio.Event) -> None:
    runner = build_runner(settings, count_socket, Metrics())
    await runner.setup()
    with suppress(TimeoutError):  # without a store it serves too, all as original
        async with asyncio.timeout(SNAPSHOT_SECONDS):
            await runner.app[READY].wait()  # before, a declared task would be unknown
    try:
        await web.SockSite(runner, listening(settings.listen.host, port), backlog=1_024).start()
        print("ready", flush=True)  # noqa: T201 - the supervisor waits for it
        await stop.wait()
    finally:
        await runner.cleanup()


def address_of(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return found[0], found[4]


def listening(host: str, port: int) -> socket.socket:
    """A socket that shares its port with the other workers'."""
    family, address = address_of(host, port)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(address)
    return sock


async def learn(settings: Settings, count_socket: Path, stop: asyncio.Event) -> None:
    """Counting is for this server's own workers; compiling is for whoever holds the store's lock."""
    metrics = Metrics()
    counting = await serve_counts(count_socket, TokenCounter())
    learning = asyncio.create_task(_learn(settings, metrics))
    await asyncio.wait((learning, asyncio.create_task(stop.wait())), return_when=asyncio.FIRST_COMPLETED)
    counting.close()
    learning.cancel()
    with suppress(asyncio.CancelledError):
        await learning


async def _learn(settings: Settings, metrics: Metrics) -> None:
    async with elected(settings.store.folder):
        store = Store(settings.store.folder)
        registry = Registry(store)

        def outcome(task: str, result: str, seconds: float) -> None:
            metrics.compiles.labels(metrics.task(task), result).inc()
            metrics.compile_duration.observe(seconds)

        async with (
            open_learner(settings, store, observe=metrics.charge, on_outcome=outcome) as learner,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(learner.run())
            group.create_task(_show_stages(registry, metrics))
            group.create_task(_every(PURGE_EVERY, store.purge_expired, logging.WARNING))
            group.create_task(_every(RECOVER_EVERY, partial(recover, store, metrics), logging.DEBUG))


async def _show_stages(registry: Registry, metrics: Metrics) -> None:
    shown = -1
    while True:
        try:
            if (generation := registry.generation()) != shown:
                metrics.tasks(dict(registry.snapshot().tasks))
                shown = generation
        except StoreError as error:
            log.debug("stages are not shown: %s", error)
        await asyncio.sleep(GAUGES_EVERY)


async def _every(seconds: float, work: Callable[[], object], level: int) -> None:
    """`work` in a thread, again and again; a store that can't be used is logged at `level`."""
    while True:
        try:
            await asyncio.to_thread(work)
        except StoreError as error:
            log.log(level, "tried again in %.0f s: %s", seconds, error)
        await asyncio.sleep(seconds)


async def _until_told(stop: asyncio.Event) -> None:
    """SIGTERM, or the supervisor's end of standard input is closed. SIGINT is the supervisor's to handle."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def closed() -> None:
        if not os.read(0, 1_024):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, closed)


async def _main(role: str, boot: dict[str, Any]) -> None:
    settings = Settings.model_validate(boot["settings"])
    count_socket = Path(boot["count_socket"])
    stop = asyncio.Event()
    await _until_told(stop)
    if role == "learner":
        await learn(settings, count_socket, stop)
    else:
        await serve(settings, count_socket, boot["port"], stop)


def main() -> None:
    line = b""
    while not line.endswith(b"\n"):  # unbuffered: what follows on standard input is the supervisor's silence
        if not (byte := os.read(0, 1)):
            sys.exit("started by the supervisor only: cuecard serve")
        line += byte
    boot = json.loads(line)
    logs.set_up(boot["settings"]["log"]["format"])
    use_slot(boot["slot"])
    uvloop.run(_main(sys.argv[1], boot))


if __name__ == "__main__":
    main()
