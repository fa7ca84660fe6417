"""The supervisor: one port, N workers, one learner. It serves nothing itself; it starts, replaces and stops."""

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from compiler.errors import StoreError
from compiler.registry import Registry
from compiler.store import Store
from proxy import metrics
from proxy.configfile import ConfigError
from proxy.declare import configured_tasks
from proxy.listening import address_of, listening
from proxy.process import READY, Boot, on_closed
from proxy.settings import Settings
from proxy.uncounted import Uncounted

log = logging.getLogger("cuecard.serve")

RESTART_SECONDS = 0.5
LONGEST_RESTART = 15.0  # between replacements of a process that ends again and again right after its start
LIVED_SECONDS = 10.0
REGISTER_SECONDS = 2.0
STOP_SECONDS = {"worker": 35.0, "learner": 3.0}  # together less than the 40 s that compose.yaml gives us
MODULES = {"worker": "proxy.worker", "learner": "proxy.learning"}
KEY_CHARS = 8  # a shorter value of the environment may equal a key by chance


def refuse_open_wallet(settings: Settings) -> None:
    """Raises ConfigError where anybody on the network could spend the upstream key."""
    ours = [name for name, endpoint in settings.endpoints().by_name.items() if endpoint.api_key]
    if ours and not settings.listen.loopback and not settings.auth.keys:
        raise ConfigError(
            f"listening on {settings.listen.host} with the key of upstream {ours[0]!r} and no auth.keys: anyone who "
            "reaches this port could spend it. Set CUECARD_KEY (no file) or auth.keys, or listen on 127.0.0.1"
        )


def register_tasks(settings: Settings) -> None:
    """Raises ExampleError with file and line, StoreError where the store can't be used."""
    declared = configured_tasks(settings)
    with Store(settings.store.folder) as store:
        Registry(store).declare(declared, "config")


async def _register_when_possible(settings: Settings) -> None:
    """The store couldn't be used at the start: until it can, requests go on as they came."""
    while True:
        await asyncio.sleep(REGISTER_SECONDS)
        with suppress(StoreError):
            await asyncio.to_thread(register_tasks, settings)
            return


class Supervisor:
    """`folder` is private to this run: the metrics' files and the learner's sockets."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._stopping = asyncio.Event()
        slots = [f"worker-{number}" for number in range(settings.listen.workers)]
        self._uncounted = {slot: Uncounted.allocate(slot) for slot in slots}
        self._reserved = _reserve(settings.listen.host, settings.listen.port)
        self.port: int = self._reserved.getsockname()[1]

    async def run(self, on_ready: Callable[[int], None], *, until_eof: bool) -> None:
        """Until SIGTERM or SIGINT, or the end of standard input; `on_ready(port)` once every worker listens."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        if until_eof:
            on_closed(self._stopping.set)
        ready = [asyncio.Event() for _ in range(self._settings.listen.workers)]
        workers_done = asyncio.Event()
        workers = [
            asyncio.create_task(self._keep_alive("worker", slot, event, self._stopping))
            for slot, event in zip(self._uncounted, ready, strict=True)
        ]
        learner = asyncio.create_task(self._keep_alive("learner", "learner", asyncio.Event(), workers_done))
        all_ready = asyncio.gather(*(event.wait() for event in ready))
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((all_ready, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not self._stopping.is_set():
            on_ready(self.port)
        await stopped
        all_ready.cancel()
        await asyncio.gather(*workers)
        workers_done.set()  # only now: until they end, workers ask the learner to count
        await learner
        self._reserved.close()

    async def _keep_alive(self, role: str, slot: str, ready: asyncio.Event, stop: asyncio.Event) -> None:
        loop, pause = asyncio.get_running_loop(), RESTART_SECONDS
        while not stop.is_set():
            began = loop.time()
            try:
                process = await self._start(role, slot)
            except OSError as error:  # no memory, no descriptors: there may be some later
                log.error("the %s can't be started: %s", role, error)
                pause = min(2 * pause, LONGEST_RESTART)
                await _either(asyncio.sleep(pause), stop.wait())
                continue
            watching = asyncio.create_task(_watch(process, ready))
            ended = asyncio.create_task(process.wait())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await _stop(process, STOP_SECONDS[role])
            stopped.cancel()
            await watching
            metrics.forget_slot(slot)
            if not stop.is_set():
                log.error("%s %s ended with code %s and is replaced", role, process.pid, process.returncode)
                lived = loop.time() - began > LIVED_SECONDS
                pause = RESTART_SECONDS if lived else min(2 * pause, LONGEST_RESTART)
                await _either(asyncio.sleep(pause), stop.wait())

    async def _start(self, role: str, slot: str) -> Process:
        uncounted = self._uncounted.get(slot, -1)
        boot = Boot(
            self._settings.model_dump(mode="json"), str(self._folder), self.port, slot, uncounted,
        )  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", MODULES[role], stdin=PIPE, stdout=PIPE, env=_environment(self._settings),
            pass_fds=(uncounted,) if uncounted >= 0 else (),
        )  # fmt: skip
        if process.stdin:
            with suppress(ConnectionError):  # it has ended already, and is replaced
                process.stdin.write(boot.line())
                await process.stdin.drain()
        return process


def _environment(settings: Settings) -> dict[str, str]:
    """Without the keys, which come over standard input: whoever lists a worker's environment shall not find them."""
    keys = {key for key in settings.secrets() if len(key) >= KEY_CHARS}
    return {name: value for name, value in os.environ.items() if value not in keys}


async def _watch(process: Process, ready: asyncio.Event) -> None:
    while process.stdout and (line := await process.stdout.readline()):
        if line.decode().strip() == READY:
            ready.set()


async def _either(*waits: Coroutine[Any, Any, object]) -> None:
    """Until the first is over."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _stop(process: Process, seconds: float) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _reserve(host: str, port: int) -> socket.socket:
    """Hold the port for all workers. Raises ConfigError where another program listens on it."""
    family, address = address_of(host, port)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ConfigError(f"can't listen on {host}:{port}: {error.strerror}; choose another with --port") from None
    return listening(host, port)


def forbid_core_dumps() -> None:
    """For this process and all that it starts: their memory holds keys. One byte is the limit at which Linux gives a
    dump to no file and to no program either."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (min(1, hard) if hard >= 0 else 1, hard))


def serve(settings: Settings, on_ready: Callable[[int], None], *, until_eof: bool = False) -> None:
    """Blocks until stopped. Raises ConfigError and ExampleError before anything is started. A store that can't be used
    keeps nobody from starting: no request needs it."""
    refuse_open_wallet(settings)
    forbid_core_dumps()
    later: Coroutine[Any, Any, None] | None = None
    try:
        register_tasks(settings)
    except StoreError as error:
        log.error("%s; all requests go on as they came until it can, and task: models are not served", error)
        later = _register_when_possible(settings)
    with tempfile.TemporaryDirectory(prefix="cuecard-") as folder:
        metrics.use_folder(Path(folder))  # inherited by every process of this run

        async def run() -> None:
            registering = asyncio.create_task(later) if later else None
            await Supervisor(settings, Path(folder)).run(on_ready, until_eof=until_eof)
            if registering:
                registering.cancel()

        asyncio.run(run())
