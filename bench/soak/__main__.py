"""A long run of `cuecard serve` under everything that goes wrong: `make soak`, or `python -m bench.soak --help`.

One process asks, one answers as the upstream, and both write down what became of each request. Every minute a worker
and the learner are killed. At the end, the two lists, the ledger and the metrics are held beside one another.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bench.cards import publish
from bench.soak import books, report, server
from bench.soak.load import Load
from bench.soak.server import Kill, Sample, Server
from bench.soak.traffic import CANDIDATE, INCUMBENT, Traffic
from bench.soak.upstream import Log

SAMPLE_SECONDS = 2.0
QUIET_SECONDS, QUIET_AT_MOST = 2.0, 60.0  # metrics unchanged for so long: all is counted
PLAIN_EVERY = 10.0
SETTLE_SECONDS = 1.0
TOGETHER = 0.05  # seconds between the two kills where both are killed at once
ROLES = ("worker", "learner")


@dataclass
class Soak:
    options: argparse.Namespace
    server: Server
    load: Load
    kills: list[Kill] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    async def run(self, say: Callable[[int, str], None]) -> None:
        """The load, and beside it kills, samples and progress, until it is done."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.options.seconds
        for number in (signal.SIGINT, signal.SIGTERM):  # the books are closed all the same
            loop.add_signal_handler(number, self.load.stop)
        beside = [asyncio.create_task(work) for work in (self._kill(), self._watch(), self._tell(say))]
        try:
            await self.load.run(self.options.clients, until)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _kill(self) -> None:
        """In turn: the learner, half a period later a worker; and both at once, the worst case."""
        every, roles = self.options.kill_every, self.options.kill
        while every:
            for pause, role in ((0.5, "learner"), (0.5, "worker"), (0.5, "learner"), (TOGETHER / every, "worker")):
                await asyncio.sleep(pause * every)
                if role in roles:
                    await self._kill_one(role)
            await asyncio.sleep(every / 2)

    async def _kill_one(self, role: str) -> None:
        killed = await asyncio.to_thread(server.kill, self.server, role)
        if killed:
            self.kills.append(killed)

    async def _watch(self) -> None:
        while True:
            self.samples += await asyncio.to_thread(server.samples, self.server)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _tell(self, say: Callable[[int, str], None]) -> None:
        while True:
            begun, done = time.monotonic(), self.load.done
            await asyncio.sleep(1)
            rate = (self.load.done - done) / (time.monotonic() - begun)
            newest = {sample.pid: sample for sample in self.samples[-8:]}.values()
            memory = ", ".join(f"{sample.role} {sample.rss >> 20} MiB" for sample in newest)
            say(self.load.done, f"{rate:,.0f}/s, {memory}, {len(self.kills)} kills")


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def quiet(port: int) -> books.Sums:
    """The metrics, once nothing changes any more: tokens of some answers are counted after their end."""
    end, since, last = time.monotonic() + QUIET_AT_MOST, time.monotonic(), books.metrics_sums(metrics(port))
    while time.monotonic() < end and time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.25)
        if (now := books.metrics_sums(metrics(port))) != last:
            since, last = time.monotonic(), now
    return last


def soak(options: argparse.Namespace, folder: Path) -> report.Seen:
    traffic = Traffic(options.seed, options.fault_every)
    log = Log.create(folder / "upstream.log", options.requests)
    with server.upstream(folder / "upstream.log", options.requests, options.seed, options.fault_every) as (url, pid):
        config = server.configuration(folder, url, options.workers)
        publish(config, server.compiled)
        running = Server(config, folder / "server.log", whole_log=bool(options.keep))
        try:
            running.start()
            run = Soak(options, running, Load(traffic, options.requests, running.port))
            time.sleep(SETTLE_SECONDS)
            idle = {sample.role: sample for sample in sorted(server.samples(running), key=lambda s: s.files)}
            store = server.size_of(folder / "store")
            begun = time.monotonic()
            with progress(options.requests) as say:
                uvloop.run(run.run(say))
            seconds = time.monotonic() - begun
            told = quiet(running.port)
            os.kill(pid, signal.SIGUSR1)  # what waits in the workers' pools would count as open files
            time.sleep(SETTLE_SECONDS)
            after = server.samples(running)
            grown = server.size_of(folder / "store") - store
        finally:
            code, stopping = running.stop()
    books.mark_deaths(run.load, run.kills)
    workers_killed = sum(kill.role == "worker" for kill in run.kills)
    printed = running.report()
    return report.Seen(
        requests=options.requests,
        asked=run.load.asked,
        seconds=seconds,
        joined=books.join(traffic, run.load, (log.of(CANDIDATE), log.of(INCUMBENT)), workers_killed),
        largest=books.largest(traffic),
        clients=options.clients,
        ledger=books.ledger_sums(json.loads(printed.stdout)),
        metrics=told,
        kills=run.kills,
        samples=run.samples,
        idle=idle,
        after=after,
        exit_code=code,
        stop_seconds=stopping,
        log=[line for line in running.log.read_text(errors="replace").splitlines() if '"event":"request"' not in line],
        grown=grown,
        journals_left=len(list((folder / "store").rglob("journal/*"))),
        refused=run.load.refused,
    )


@contextmanager
def progress(requests: int) -> Iterator[Callable[[int, str], None]]:
    """A bar on a terminal, plain lines elsewhere; on standard error."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            BarColumn(),
            TextColumn("{task.completed:,}"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=console) as bar:
            shown = bar.add_task("", total=requests)
            yield lambda done, words: bar.update(shown, completed=done, description=words)
        return
    told = time.monotonic()

    def line(done: int, words: str) -> None:
        nonlocal told
        if time.monotonic() - told >= PLAIN_EVERY:
            told = time.monotonic()
            print(f"{done:,} of {requests:,}, {words}", file=sys.stderr, flush=True)

    yield line


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3_600.0, help="ask no more after that")
    parser.add_argument("--clients", type=int, default=48)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault-every", type=int, default=100, help="a fault in one of so many requests; 0: none")
    parser.add_argument("--kill-every", type=float, default=60.0, help="seconds; 0: never")
    parser.add_argument("--kill", nargs="+", choices=ROLES, default=ROLES, help="what is killed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was seen")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave store, configuration and logs there, each request's line too"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    with tempfile.TemporaryDirectory(prefix="cuecard-soak-") as folder:
        if options.keep:
            options.keep.mkdir(parents=True)
        seen = soak(options, options.keep or Path(folder))
    lines = report.verdict(seen)
    if options.json:
        options.json.write_text(json.dumps(report.as_json(seen, lines), indent=1))
    for number, words in seen.joined.unexpected[:10]:
        print(f"request {number}: {words}")
    rate = seen.asked / seen.seconds
    title = f"{seen.asked:,} requests in {seen.seconds:.0f} s, {rate:,.0f} a second, {os.cpu_count()} cores, shared"
    Console().print(report.table(lines), title)
    sys.exit(not all(line.ok for line in lines))


if __name__ == "__main__":
    main()
