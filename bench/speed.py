"""Cuecard's speed beside no proxy, nginx, a bare aiohttp proxy and other gateways, in one run: `make bench`.

Every figure is taken in rounds in which all contenders take turns, so that a noisy machine is noisy for all of them;
what counts is the ratio inside a round. Upstream and load are processes of their own. Load goes to loopback only.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from bench import compiling, gateways, mining, recipes, tables
from bench.figures import Bar, Case, Rounds, Row, Sample, bars, bars_beside_bare, rows
from bench.load import LoadError, load
from bench.processes import Footprint, cpu_seconds, footprint, others_cpu_seconds
from bench.requests import Requests
from bench.servers import Contender, Kind, Recipe, StartError, started

CONCURRENCIES = (1, 8, 64)
KINDS: tuple[Kind, ...] = ("whole", "stream", "paced")
NAMES = ("original", "compiled", *mining.NAMES, compiling.COMPILING, *(peer.recipe.name for peer in gateways.PEERS))
SHOW = Console(stderr=True)
SETTLE = 0.3  # seconds after a measurement: what a server does behind the answers is its own, not the next one's
WARM_UP = 1.0  # seconds


@dataclass(frozen=True)
class Options:
    rounds: int
    seconds: float
    concurrencies: Sequence[int]
    kinds: Sequence[Kind]
    workers: Sequence[int]
    only: frozenset[str]
    usage: bool = True  # whether streams ask for theirs
    mining: bool = False
    compiling: bool = False

    def wants(self, name: str) -> bool:
        return not self.only or name in self.only or name in ("direct", "bare")

    def cases(self) -> list[Case]:
        """With more workers there is nothing to see at c=1; paced streams are for what an event costs, at the most."""
        return [
            Case(kind, concurrency, workers)
            for kind in self.kinds
            for workers in self.workers
            for concurrency in (self.concurrencies if kind != "paced" else self.concurrencies[-1:])
            if workers == 1 or concurrency > 1
        ]


@dataclass
class Run:
    requests: Requests
    how: dict[str, str] = field(default_factory=dict)
    contenders: list[Contender] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    cases: dict[Case, Rounds] = field(default_factory=dict)
    memory: list[Footprint] = field(default_factory=list)
    work: dict[tuple[str, Case], mining.Work] = field(default_factory=dict)
    compiles: dict[tuple[str, Case], compiling.Work] = field(default_factory=dict)
    disturbed: float = 0.0  # cores that other programs used

    def of(self, case: Case) -> list[Contender]:
        return [c for c in self.contenders if c.pid is None or c.workers == case.workers]

    @contextmanager
    def watching(self, contender: Contender, case: Case) -> Iterator[None]:
        """What its learner does while inside, where it is one that mines or compiles."""
        if contender.name == compiling.COMPILING:
            began = compiling.seen(contender)
            yield
            self.compiles.setdefault((contender.name, case), compiling.Work()).add(began, compiling.seen(contender))
            return
        if contender.name not in mining.NAMES:
            yield
            return
        before = mining.seen(contender)
        yield
        work = self.work.setdefault((contender.name, case), mining.Work())
        work.add(before, mining.seen(contender), mining.minings(contender))

    def drop(self, contender: Contender, why: str) -> None:
        self.failed[tables.titled(contender.name, contender.workers)] = why
        self.contenders.remove(contender)

    def rows(self) -> list[Row]:
        return [row for case, rounds in self.cases.items() for row in rows(case, rounds)]

    def bars(self) -> list[Bar]:
        beside = mining.BESIDE if self.work else compiling.BESIDE if self.compiles else ()
        return bars_beside_bare(self.cases, beside) if beside else bars(self.cases)

    def to_json(self) -> dict[str, Any]:
        return {
            "cores": os.cpu_count(),
            "cores_used_by_others": self.disturbed,
            "how": self.how,
            "failed": self.failed,
            "rows": [row.to_json() for row in self.rows()],
            "memory": {server.server: server.mib for server in self.memory},
            "mining": [work.to_json(name, case) for (name, case), work in self.work.items()],
            "compiling": [work.to_json(name, case) for (name, case), work in self.compiles.items()],
            "bars": [bar.to_json() for bar in self.bars()],
        }


async def run(options: Options) -> Run:
    """Starts everyone, measures, ends everyone, also when told to stop."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _stop, asyncio.current_task())
    found = Run(Requests.of_corpus(usage=options.usage) if options.mining else Requests(usage=options.usage))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cuecard-bench-")))
        (upstream,) = await stack.enter_async_context(started(recipes.UPSTREAM, folder / "upstream", 0))
        found.contenders.append(recipes.direct(upstream))
        servers: dict[str, int] = {}
        for recipe in _recipes(options, found):
            title = tables.titled(recipe.name, recipe.workers)
            SHOW.print(f"starting {title}")
            found.how[title] = recipe.how
            try:
                contenders = await stack.enter_async_context(started(recipe, folder / title, upstream.port))
            except StartError as error:
                found.failed[title] = str(error)
                continue
            found.contenders += [c for c in contenders if options.wants(c.name)]
            servers[title] = contenders[0].pid or 0
        await _warm_up(options, found)
        others, begun = others_cpu_seconds(os.getpid()), time.perf_counter()
        await _measure(options, found)
        mining.require(found.work)
        compiling.require(found.compiles)
        used = others_cpu_seconds(os.getpid()) - others
        found.disturbed = max(0.0, used / (time.perf_counter() - begun))  # counted in ticks: may fall short of 0
        found.memory = [footprint(title, pid) for title, pid in servers.items()]
    return found


def _stop(running: asyncio.Task[Any] | None) -> None:
    if running:
        running.cancel()


def _recipes(options: Options, found: Run) -> Iterator[Recipe]:
    for workers in options.workers:
        yield recipes.bare(workers)
        if options.mining:
            yield from mining.contenders(workers)
        elif options.compiling:
            yield from compiling.contenders(workers)
        elif options.wants("original") or options.wants("compiled"):
            yield recipes.cuecard(workers)
    for peer in gateways.PEERS if not (options.mining or options.compiling) else ():
        name = peer.recipe.name
        if options.wants(name) and peer.is_installed():
            yield peer.recipe
        elif options.wants(name):
            found.failed[name] = "not installed (make peers)"


async def _warm_up(options: Options, found: Run) -> None:
    SHOW.print("warming up")
    for contender in [*found.contenders]:
        for kind in KINDS if not (options.mining or options.compiling) else options.kinds:
            if contender in found.contenders:
                await _sample(found, contender, Case(kind, 8, contender.workers), WARM_UP)
    found.work.clear()
    found.compiles.clear()


async def _measure(options: Options, found: Run) -> None:
    cases = options.cases()
    with Progress(console=SHOW, transient=True) as progress:
        bar = progress.add_task("", total=len(cases) * options.rounds)
        for case in cases:
            rounds = found.cases[case] = {c.name: [] for c in found.of(case)}
            for number in range(options.rounds):
                progress.update(bar, description=str(case))
                found.requests.next_turn()
                for contender in _in_turn(found.of(case), number):
                    sample = await _sample(found, contender, case, options.seconds)
                    if sample:
                        rounds[contender.name].append(sample)
                    else:
                        del rounds[contender.name]
                progress.advance(bar)


def _in_turn(contenders: list[Contender], number: int) -> list[Contender]:
    """Another one begins each round: nobody always comes after the same one."""
    first = number % len(contenders)
    return contenders[first:] + contenders[:first]


async def _sample(found: Run, contender: Contender, case: Case, seconds: float) -> Sample | None:
    """None where the contender failed, which puts it out of the run."""
    streams, expects = case.kind != "whole", contender.ask.expects
    requests = found.requests.of(contender, case.kind)
    with contender.turn(), found.watching(contender, case):
        before = cpu_seconds(contender.pid) if contender.pid else 0.0
        try:
            seen = await load(contender.port, requests, case.concurrency, seconds, streams=streams, expects=expects)
        except LoadError as error:
            if contender.pid is None:
                raise  # nothing can be compared any more
            found.drop(contender, f"{case}: {error}")
            return None
        await asyncio.sleep(SETTLE)
        return Sample(seen, (cpu_seconds(contender.pid) if contender.pid else 0.0) - before)


def _print(found: Run) -> list[Bar]:
    console = Console(width=max(100, Console().width))
    measured = found.rows()
    for kind in KINDS:
        if of_kind := [row for row in measured if row.case.kind == kind]:
            console.print(tables.speed(kind, of_kind))
    if found.work:
        console.print(tables.work(found.work))
    if found.compiles:
        console.print(tables.compiles(found.compiles))
    console.print(tables.memory(found.memory))
    for title, how in found.how.items():
        console.print(f"{title}: {how}", highlight=False)
    for title, why in found.failed.items():
        console.print(f"[red]not measured:[/] {title}: {escape(why)}", highlight=False)
    verdicts = found.bars()
    console.print(tables.verdicts(verdicts))
    cores = f"{os.cpu_count()} cores, shared by upstream, contender and load"
    console.print(f"{cores}; other programs used {found.disturbed:.2f} of a core meanwhile", highlight=False)
    return verdicts


def _options() -> tuple[Options, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(NAMES)}; bare is always in"
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="all, or with --mining all but paced")
    parser.add_argument("--concurrency", nargs="+", type=int, default=CONCURRENCIES)
    parser.add_argument("--workers", nargs="+", type=int, default=(1, 2))
    parser.add_argument(
        "--without-usage", action="store_true", help="streams don't ask for it, and Cuecard's learner counts tokens"
    )
    parser.add_argument(
        "--mining",
        action="store_true",
        help="the corpus's requests, of Cuecard that captures none, that does, and that mines all the time",
    )
    parser.add_argument(
        "--compiling", action="store_true", help="Cuecard as it comes, and one that compiles two tasks all the time"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--check", action="store_true", help="exit code 1 if a bar is missed")
    given = parser.parse_args()
    given.kinds = given.kinds or (KINDS[:-1] if given.mining or given.compiling else KINDS)
    if unknown := set(given.only) - set(NAMES):
        parser.error(f"--only: {', '.join(unknown)} is none of {', '.join(NAMES)}")
    only = frozenset(given.only)
    shape = given.concurrency, given.kinds, given.workers
    usage, beside = not given.without_usage, {"mining": given.mining, "compiling": given.compiling}
    return Options(given.rounds, given.seconds, *shape, only, usage=usage, **beside), given


def main() -> None:
    options, given = _options()
    try:
        found = uvloop.run(run(options))
    except (mining.NotMining, compiling.NotCompiling) as error:
        sys.exit(f"nothing was measured: {error}")
    verdicts = _print(found)
    if given.json:
        given.json.write_text(json.dumps(found.to_json(), indent=1) + "\n")
    if given.check and not all(bar.passed or bar.told for bar in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
