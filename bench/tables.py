"""What was measured, for people: tables that fit 100 columns."""

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from bench import compiling
from bench.figures import Bar, Case, Row
from bench.mining import Work
from bench.processes import Footprint
from bench.scoring import Score
from bench.servers import Kind

TITLES: dict[Kind, str] = {
    "whole": "Whole answers; CPU for 1,000 requests",
    "stream": "Streams of 50 events as fast as they can be had; p50 until the first event, CPU for 1,000 events",
    "paced": "Streams of 50 events, one each 10 ms; p50 until the first event, CPU for 1,000 events",
}
UNITS: dict[Kind, str] = {"whole": "requests", "stream": "events", "paced": "events"}


def speed(kind: Kind, rows: Sequence[Row]) -> Table:
    unit = UNITS[kind]
    table = Table(title=TITLES[kind], title_justify="left")
    table.add_column("c", justify="right")
    table.add_column("server", min_width=13)
    headings = (f"{unit}/s", "x bare", "p50 ms", "added ms", "x bare", "p99 ms", "CPU s/1,000")
    for heading in headings:
        table.add_column(heading, justify="right")
    for number, row in enumerate(rows):
        last = number + 1 == len(rows) or rows[number + 1].case != row.case
        table.add_row(
            str(row.case.concurrency),
            titled(row.server, row.case.workers),
            f"{row.rate:,.0f}",
            _shown(row.rate_to_bare, 2),
            f"{row.wait_ms:.3f}",
            _shown(row.added_ms, 3),
            _shown(row.added_to_bare, 2),
            f"{row.p99_ms:.2f}",
            _shown(row.cpu_per_1000, 4 if kind != "whole" else 3),
            end_section=last,
        )
    return table


def titled(server: str, workers: int) -> str:
    return server if workers == 1 else f"{server} x {workers}"


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def memory(servers: Iterable[Footprint]) -> Table:
    table = Table("server", "MiB in all", "of which", title="Memory (RSS) after the run", title_justify="left")
    for server in servers:
        of_which = ", ".join(f"{role} {mib:.0f}" for role, mib in server.mib)
        table.add_row(server.server, f"{sum(mib for _, mib in server.mib):.0f}", of_which)
    return table


def work(done: Mapping[tuple[str, Case], Work]) -> Table:
    table = Table(title="What the learner did in the measured time", title_justify="left")
    for heading in ("server", "asked"):
        table.add_column(heading)
    for heading in ("seconds", "captured", "minings", "mining", "published", "CPU of a core"):
        table.add_column(heading, justify="right")
    for (name, case), seen in sorted(done.items()):
        figures = (
            f"{seen.seconds:.0f}",
            f"{seen.captured:,}",
            str(seen.minings),
            f"{seen.share:.0%}",
            str(seen.published),
        )
        table.add_row(
            titled(name, case.workers), f"{case.kind}, c={case.concurrency}", *figures, f"{seen.cpu / seen.seconds:.2f}"
        )
    return table


def compiles(done: Mapping[tuple[str, Case], compiling.Work]) -> Table:
    table = Table(title="What the learner did in the measured time", title_justify="left")
    for heading in ("server", "asked"):
        table.add_column(heading)
    for heading in ("seconds", "compile calls a second", "CPU of a core"):
        table.add_column(heading, justify="right")
    for (name, case), seen in sorted(done.items()):
        figures = f"{seen.seconds:.0f}", f"{seen.calls_a_second:.0f}", f"{seen.cpu / seen.seconds:.2f}"
        table.add_row(titled(name, case.workers), f"{case.kind}, c={case.concurrency}", *figures)
    return table


def verdicts(bars: Sequence[Bar]) -> Table:
    table = Table("bar", "wanted", "seen", "", title="Bars (one worker; told only: in brackets)", title_justify="left")
    for bar in sorted(bars, key=lambda bar: bar.told):
        seen = "not measured" if bar.seen is None else f"{bar.seen:.2f}"
        verdict = "pass" if bar.passed else "" if bar.seen is None else "[red]FAIL[/]"
        table.add_row(bar.name, bar.wanted, seen, f"({verdict})" if bar.told and verdict else verdict)
    return table


def recognition(rows: Iterable[tuple[str, Score]]) -> Table:
    table = Table(title="Task types told apart; shares in % of requests, means over the seeds", title_justify="left")
    table.add_column("recogniser")
    shares = ("wrong", "wrong\nadv.", "homo-\ngen.", "com-\nplete", "recog-\nnised", "catch\n-all")
    figures = ("ids a\ntype", "max", "edits\na", "edits\nb", "edits\nc", "learn\ns", "p50\nµs", "p99\nµs")
    for heading in shares + figures:
        table.add_column(heading, justify="right")
    for name, score in rows:
        table.add_row(
            name,
            *map(_percent, (score.wrong, score.wrong_adversarial)),
            *(_shown(value, 3) for value in (score.homogeneity, score.completeness)),
            *map(_percent, (score.recognised, score.catch_all)),
            f"{score.ids_mean:.1f}",
            f"{score.ids_max:.0f}",
            *map(_percent, (score.edits_a, score.edits_b, score.edits_c)),
            f"{score.learn_seconds:.1f}",
            *(f"{value:,.0f}" for value in (score.p50_us, score.p99_us)),
        )
    return table


def _percent(share: float | None) -> str:
    """With as many digits as it takes not to show a small share as none."""
    if share is None:
        return "-"
    return f"{share:.1%}".rstrip("%") if share >= 0.001 or share == 0 else f"{share:.2%}".rstrip("%")
