"""A team's day in some minutes, over real HTTP, and its bill: `make day`, or `python -m bench.day --help`.

`cuecard serve --mode auto` is the real one, with its real defaults; so are the app's requests and the upstream's bill.
Scaled is the time between requests, and `capture.per_second` with it.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import uvloop
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from bench.day import server
from bench.day.load import App
from bench.day.report import Day, Seen
from bench.day.traffic import Traffic
from bench.day.upstream import read
from bench.soak.server import Server
from compiler.store import Store
from proxy.configfile import load_settings
from proxy.proving import Estimates

DAY = 86_400.0


def metrics(port: int) -> dict[str, float]:
    """Observations that were dropped, by reason."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    found: dict[str, float] = {}
    for sample in (sample for family in families for sample in family.samples):
        if sample.name == "cuecard_observations_dropped_total":
            found[sample.labels["reason"]] = found.get(sample.labels["reason"], 0.0) + sample.value
    return found


def may_cost(config: Path, folder: Path, names: list[str]) -> dict[str, float]:
    with Store(folder / "store") as store:
        estimates = Estimates(load_settings(config), store)
        return {name: estimates.usd_per_day(name) for name in names}


def day(options: argparse.Namespace, folder: Path) -> Seen:
    log, times = folder / "upstream.log", DAY / (options.requests / options.per_second)
    with server.upstream(log) as url:
        config = server.configuration(
            folder,
            url,
            workers=options.workers,
            times=times,
            usd_per_day=options.usd_per_day,
            compile_usd=options.compile_usd,
        )
        running = Server(config, folder / "server.log", module=("bench.day.hurried", str(times)))
        try:
            running.start()
            app = App(Traffic(options.seed), f"http://127.0.0.1:{running.port}")
            begun = time.monotonic()
            uvloop.run(app.run(options.requests, options.per_second, _say(options.requests)))
            seconds = time.monotonic() - begun
            server.until_quiet(log)
            dropped = metrics(running.port)
        finally:
            running.stop()
    stands = server.stands(folder)
    names = [one.name for each in stands.values() for one in each]
    return Seen(
        requests=options.requests,
        seconds=seconds,
        failed=app.failed,
        got=app.got,
        lines=read(log.read_text().splitlines()),
        printed=json.loads(running.report().stdout),
        stands=stands,
        dropped=dropped,
        may_cost=may_cost(config, folder, names),
        usd_per_day=options.usd_per_day,
        compile_usd=options.compile_usd,
    )


def _say(requests: int) -> Callable[[int], None]:
    return lambda done: print(f"{done:,} of {requests:,}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.day", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--per-second", type=float, default=200.0, help="requests begun in a second")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--usd-per-day", type=float, default=50.0, help="background.usd_per_day")
    parser.add_argument("--compile-usd", type=float, default=2.0, help="compile.max_usd")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave store, configuration and logs there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    with tempfile.TemporaryDirectory(prefix="cuecard-day-") as folder:
        if options.keep:
            options.keep.mkdir(parents=True)
        found = Day(day(options, options.keep or Path(folder)))
    console = Console(width=120)
    for part in (found.words(), found.tasks(), found.why(), found.times(), found.roles(), found.verdicts()):
        console.print(part)
    sys.exit(not all(bar.ok for bar in found.bars()))


if __name__ == "__main__":
    main()
