"""How a process under the supervisor starts and ends.

The supervisor writes one line of JSON to standard input and keeps it open: when it closes, the supervisor is gone and
the process ends. What it says to the supervisor it prints.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from proxy import logs
from proxy.metrics import use_slot
from proxy.settings import Settings

READY = "ready"


@dataclass(frozen=True)
class Boot:
    """What a process is told at its start; `slot` is its place among the others, kept by the one that replaces it.
    `sockets`: the folder where the learner listens for the workers."""

    settings: dict[str, Any]
    sockets: str
    port: int
    slot: str
    uncounted: int  # the handle of `Uncounted`; -1: it has none

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls) -> "Boot":
        line = b""
        while not line.endswith(b"\n"):  # unbuffered: what follows on standard input is the supervisor's silence
            if not (byte := os.read(0, 1)):
                sys.exit("started by the supervisor only: cuecard serve")
            line += byte
        return cls(**json.loads(line))


Work = Callable[[Settings, Boot, asyncio.Event], Awaitable[None]]


def run(work: Work) -> None:
    """`await work(settings, boot, stop)`, and `stop` is set when it has to end."""
    boot = Boot.read()
    settings = Settings.model_validate(boot.settings)
    logs.set_up(settings.log.format)
    use_slot(boot.slot)

    async def told() -> None:
        stop = asyncio.Event()
        _stop_when_told(stop)
        await work(settings, boot, stop)

    uvloop.run(told())


def _stop_when_told(stop: asyncio.Event) -> None:
    """SIGTERM, or the supervisor's end of standard input is closed. SIGINT is the supervisor's to handle."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    on_closed(stop.set)


def on_closed(tell: Callable[[], None]) -> None:
    """`tell`, once, when the other end of standard input is closed, by whatever end of the process that held it."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(0, 1_024):
            loop.remove_reader(0)
            tell()

    loop.add_reader(0, read)
