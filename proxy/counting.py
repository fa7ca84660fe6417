"""Ask the learner to count tokens, over a socket and never over the disk: the texts are a client's.

A frame is four 32-bit big-endian numbers (id, and the lengths of model, request and response) and those three; the
reply is three numbers (id, input tokens, output tokens). What was not answered when the learner died is sent again.
"""

import asyncio
import logging
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from compiler.pricing import Usage
from proxy.learner_socket import linked
from proxy.uncounted import Uncounted, Waiting

log = logging.getLogger("cuecard.counting")

SOCKET = "count.sock"
HEAD = struct.Struct(">IIII")
REPLY = struct.Struct(">III")
MAX_PENDING_BYTES = 64 * 2**20
Then = Callable[[Usage], None]
NONE: tuple[bytes, Then, int] = (b"", lambda usage: None, 0)


class CountClient:
    def __init__(self, path: Path, on_dropped: Callable[[], None], uncounted: Uncounted) -> None:
        self._path = path
        self._on_dropped = on_dropped
        self._uncounted = uncounted
        self._pending: dict[int, tuple[bytes, Then, int]] = {}  # with where it begins among the uncounted
        self._unsent: list[int] = []
        self._size = 0
        self._next = 0
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def count(self, waiting: Waiting, then: Then) -> None:
        """Calls `then` with counted usage when the learner has answered. Beyond 64 MiB of waiting text: with none."""
        begin = self._uncounted.end
        self._uncounted.keep(waiting)
        self._ask(waiting, then, begin)

    def count_left(self, then: Callable[[Waiting, Usage], None]) -> None:
        """The same for what a killed worker before this one had asked and was not told."""
        begin = self._uncounted.begin
        for waiting in self._uncounted.left():
            self._ask(waiting, partial(then, waiting), begin)

    def _ask(self, waiting: Waiting, then: Then, begin: int) -> None:
        name, request, response = waiting.model.encode(), waiting.request, waiting.response
        frame = HEAD.pack(self._next, len(name), len(request), len(response)) + name + request + response
        if self._size + len(frame) > MAX_PENDING_BYTES:
            self._on_dropped()
            then(Usage(counted=True))
            return
        self._pending[self._next] = (frame, then, begin)
        self._unsent.append(self._next)
        self._size += len(frame)
        self._next = (self._next + 1) % 2**32
        self._empty.clear()
        self._wake.set()

    async def run(self) -> None:
        while True:
            try:
                async with linked(self._path, self._send) as reader:
                    self._unsent = list(self._pending)
                    self._wake.set()
                    await self._receive(reader)
            except (OSError, asyncio.IncompleteReadError):
                log.info("the learner closed the counting socket; what it did not count is asked again")

    async def drain(self, seconds: float) -> None:
        """Wait until everything is counted, but not longer than that; the rest is booked as unknown."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            for number in list(self._pending):
                self._on_dropped()
                self._settle(number, Usage(counted=True))

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            unsent, self._unsent = self._unsent, []
            for number in unsent:
                if number in self._pending:
                    writer.write(self._pending[number][0])
                    await writer.drain()

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        while True:
            number, inputs, outputs = REPLY.unpack(await reader.readexactly(REPLY.size))
            self._settle(number, Usage(input=inputs, output=outputs, counted=True))

    def _settle(self, number: int, usage: Usage) -> None:
        frame, then, _ = self._pending.pop(number, NONE)
        self._size -= len(frame)
        then(usage)
        if oldest := next(iter(self._pending.values()), None):
            self._uncounted.settled(oldest[2])
        else:
            self._uncounted.settled(self._uncounted.end)
            self._empty.set()
