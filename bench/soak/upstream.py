"""The model server of the soak: HTTP on a bare protocol, so that it costs little beside what is measured, with faults
on command and a log of its own. `python -m bench.soak.upstream LOG REQUESTS SEED EVERY`.

The log is a file of one byte for each call that a request may lead to, mapped into memory: readable at any time, and
whole whatever happens to the process. SIGUSR1 closes the connections that wait for a request.
"""

import asyncio
import json
import mmap
import os
import re
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import cast

import uvloop

from bench.soak.traffic import CANDIDATE, CHEAP, INCUMBENT, Answer, Plan, Traffic, error_answer, numbered

ARRIVED = 0x03  # times that the whole request came, up to three
BEGAN, WHOLE = 0x04, 0x08  # the answer was begun; was written to its end
LEFT = 0x10  # the other side hung up before the end
REFUSED = 0x20  # answered with an error on purpose
CHANGED = 0x40  # not the request that was sent
PART = 0x80  # the other side hung up before the request had come in whole

SOAK = re.compile(rb"\r\nx-soak: *(\d+)", re.I)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
NO_LINGER = struct.pack("ii", 1, 0)  # close with a reset
CUT_AFTER = 0.05  # seconds: what was written before must be read before the end is seen
LATE = 1.0
DAWDLE = 1.0  # while the client hangs up
STRONG_THINKS = 0.02  # the card's deadline is learned from this
ERRORS = {"http_500": 500, "http_429": 429, "both_500": 500, "card_500": 500}


class Log:
    def __init__(self, path: Path, requests: int) -> None:
        self.requests = requests
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 2 * requests)

    @staticmethod
    def create(path: Path, requests: int) -> "Log":
        path.write_bytes(b"")
        os.truncate(path, 2 * requests)
        return Log(path, requests)

    def of(self, arm: int) -> bytes:
        """A byte for each request."""
        return self._map[arm * self.requests : (arm + 1) * self.requests]

    def add(self, arm: int, number: int, flags: int) -> None:
        self._map[arm * self.requests + number] |= flags

    def arrived(self, arm: int, number: int) -> None:
        at = arm * self.requests + number
        if self._map[at] & ARRIVED < ARRIVED:
            self._map[at] += 1


class Server:
    def __init__(self, traffic: Traffic, log: Log) -> None:
        self.traffic = traffic
        self.log = log
        self.errors = {status: error_answer(status) for status in (429, 500)}
        self.open: set[Call] = set()

    def close_idle(self) -> None:
        for call in list(self.open):
            if call.number < 0 and call.transport:
                call.transport.close()


class Call(asyncio.Protocol):
    """A connection, one request after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._traffic = server.traffic
        self._log = server.log
        self._buffer = b""
        self.transport: asyncio.Transport | None = None
        self.number = -1  # of the request in hand
        self._arm = INCUMBENT
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self._server.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.open.discard(self)
        if self._timer:
            self._timer.cancel()
        if self.number >= 0:
            self._log.add(self._arm, self.number, LEFT)
        elif self._buffer and (found := SOAK.search(self._buffer)):
            self._log.add(INCUMBENT, int(found[1]), PART)

    def data_received(self, data: bytes) -> None:
        self._buffer = data = self._buffer + data if self._buffer else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        length = LENGTH.search(data, 0, end + 2)
        if len(data) < (whole := end + 4 + (int(length[1]) if length else 0)):
            return
        self._buffer = data[whole:]
        found = SOAK.search(data, 0, end + 2)
        if found is None or not int(found[1]) < self._log.requests:
            self._say(self._server.errors[500])
            return
        self._take(int(found[1]), data[end + 4 : whole])

    def _take(self, number: int, body: bytes) -> None:
        plan = self._traffic.plan(number)
        cheap = plan.kind.carded and b'"model":"%b"' % CHEAP.encode() in body
        self.number, self._arm = number, CANDIDATE if cheap else INCUMBENT
        self._log.arrived(self._arm, number)
        if not self._as_sent(plan, body):
            self._log.add(self._arm, number, CHANGED)
        if plan.fault and self._fault(plan):
            return
        answer = self._traffic.answers[plan.kind.name, plan.variant, self._arm]
        if plan.fault in ("hang_before", "hang_midway"):
            self._dawdle(plan.fault, answer)
        elif self._arm == INCUMBENT and plan.kind.task:
            self._later(STRONG_THINKS, self._answer, answer)
        else:
            self._answer(answer)

    def _as_sent(self, plan: Plan, body: bytes) -> bool:
        kind, variant = plan.kind.name, plan.variant
        expected = self._traffic.expected.get((kind, variant, self._arm))
        if expected is None:
            return body == numbered(self._traffic.raw[kind, variant], self.number)
        found = json.loads(body)
        return bool(found.pop("user", "") == f"{self.number:07d}" and {**found, "user": expected["user"]} == expected)

    def _fault(self, plan: Plan) -> bool:
        """Whether this call goes wrong; what is the card's fault is not the incumbent's."""
        fault = plan.fault
        if fault.startswith("card_") and self._arm == INCUMBENT:
            return False
        answer = self._traffic.answers[plan.kind.name, plan.variant, self._arm]
        first = numbered(b"".join(answer.wire[:-1]), self.number)
        if fault in ERRORS:
            self._log.add(self._arm, self.number, REFUSED)
            self._say(self._server.errors[ERRORS[fault]])
        elif fault in ("reset", "card_reset"):
            self._reset()
        elif fault in ("half", "cut", "card_cut", "card_cut_shown"):
            self._begin(first)
            self._later(CUT_AFTER, self._reset if self.number & 1 else self._end)
        elif fault == "stall_midway":
            self._begin(first)
        elif fault == "card_late":
            self._later(LATE, self._answer, answer)
        elif fault == "card_garbage":
            self._answer(self._traffic.garbage[plan.kind.name, plan.variant])
        else:
            return fault == "stall"  # never answered
        return True

    def _dawdle(self, fault: str, answer: Answer) -> None:
        if fault == "hang_midway":
            self._begin(numbered(b"".join(answer.wire[:-1]), self.number))
            self._later(DAWDLE, self._rest, answer)
        else:
            self._later(DAWDLE, self._answer, answer)

    def _later(self, seconds: float, work: object, *arguments: object) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, work, *arguments)  # type: ignore[arg-type]

    def _answer(self, answer: Answer) -> None:
        """A stream in two pieces, all else in one."""
        if len(answer.wire) > 2:
            self._begin(numbered(b"".join(answer.wire[:-1]), self.number))
            asyncio.get_running_loop().call_soon(self._rest, answer)
        else:
            self._log.add(self._arm, self.number, BEGAN)
            self._say(b"".join(answer.wire))

    def _begin(self, data: bytes) -> None:
        self._log.add(self._arm, self.number, BEGAN)
        if self.transport:
            self.transport.write(data)

    def _rest(self, answer: Answer) -> None:
        if self.number >= 0:
            self._say(answer.wire[-1])

    def _say(self, data: bytes) -> None:
        """To the end of the answer; then the next request."""
        if not self.transport or self.transport.is_closing():
            return
        number, self.number = self.number, -1
        if number >= 0:
            self._log.add(self._arm, number, WHOLE)
        self.transport.write(numbered(data, number))

    def _end(self) -> None:
        self.number = -1  # our doing, not theirs
        if self.transport:
            self.transport.close()

    def _reset(self) -> None:
        self.number = -1
        if self.transport:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.transport.abort()


async def main(path: str, requests: str, seed: str, every: str) -> None:
    server = Server(Traffic(int(seed), int(every)), Log(Path(path), int(requests)))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, server.close_idle)
    listening = await loop.create_server(lambda: Call(server), "127.0.0.1", 0, backlog=1_024)
    print(f"listens on http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until whoever started it ends


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:5]))
