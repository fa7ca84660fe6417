"""`cuecard try`: a task's card on recorded inputs, now and beside the current model's answers. It proves nothing."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from compiler.recorded import AT_MOST
from compiler.store import Store
from compiler.trial import Tried
from proxy.beside import show
from proxy.configfile import load_settings
from proxy.progress import progress
from proxy.settings import Settings
from proxy.showing import wrapped
from proxy.terminal import INTERRUPTED, complaints, config_option, dollars, json_option, quiet
from proxy.tryout import Tryout


@click.command("try")
@config_option
@json_option
@click.option("--calls", type=click.IntRange(1, AT_MOST), default=50, show_default=True, help="Inputs to try it on.")
@click.option("--max-usd", type=float, default=1.0, show_default=True, callback=dollars, help="Never spend more on it.")
@click.argument("task")
def command(config: Path | None, as_json: bool, calls: int, max_usd: float, task: str) -> None:
    """Run a task's card on its newest recorded inputs, off the path, and show both answers side by side."""
    with quiet(), complaints():
        settings = load_settings(config)
        with Store(settings.store.folder) as store:
            found = _tried(settings, store, task, calls, max_usd)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        _show(found)
    if found.interrupted:
        sys.exit(INTERRUPTED)
    if not found.came_through:
        sys.exit(1)


def _tried(settings: Settings, store: Store, task: str, calls: int, max_usd: float) -> Tryout:
    try:
        found = Tryout(settings, store, task, calls, max_usd)
    except KeyboardInterrupt:
        click.echo("stopped before anything was asked", err=True)
        sys.exit(INTERRUPTED)
    with progress(task, len(found.inputs.chosen)) as step:
        try:
            asyncio.run(found.run(lambda: _announce(found), lambda tried: step(_line(found, tried))))
        except KeyboardInterrupt:
            found.interrupted = True
    return found


def _announce(found: Tryout) -> None:
    kind = "recorded inputs" if found.inputs.recorded else "examples (nothing is recorded)"
    least = "at least " if found.inputs.recorded and found.inputs.number == AT_MOST else ""
    click.echo(
        f"{found.card.label} on {found.card.model}: the {len(found.inputs.chosen)} newest of {least}"
        f"{found.inputs.number} {kind}, at most ${found.max_usd:g}",
        err=True,
    )
    if found.off:
        click.echo("Cuecard is off, and stays off: this serves nobody", err=True)
    if found.unjudged:
        click.echo(f"nobody judges: {found.unjudged}; what only differs is called `different`", err=True)


def _line(found: Tryout, tried: Tried) -> str:
    came = tried.ran.scored.outcome if tried.ran else tried.problem
    return f"{len(found.tried)} of {len(found.inputs.chosen)}: {came}"


def _show(found: Tryout) -> None:
    """The same ones first, the worst last: nearest to the sums, where one looks."""
    told = found.to_json()
    show(Console(highlight=False), sorted(told["pairs"], key=_badness))
    for name, text in _sums(found, told):
        click.echo("\n".join(wrapped(text, indent=12, first=f"{name:10}  ")))


def _badness(pair: Mapping[str, Any]) -> tuple[bool, bool, float]:
    return pair["outcome"] != "same", pair["outcome"] is None, pair["d"] or 0.0


def _sums(found: Tryout, told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    sums = told["summary"]
    came = sums["tried"] - sums["failed"]
    failed = f", {sums['failed']} failed" if sums["failed"] else ""
    yield "calls", f"{came} of {len(found.inputs.chosen)} came through{failed}"
    if came:
        counted = ", ".join(f"{outcome} {number}" for outcome, number in sums["outcomes"].items())
        yield "agreement", f"{sums['same']} of {came} the same ({100 * sums['same'] / came:.0f} %): {counted}"
        yield "loss", f"d = {sums['mean_d']:+.3f} on average; +1: the card's answer is worse, -1: it is better"
        yield "cost", _cost(sums["usd"])
        yield "latency", _latency(sums["seconds"])
    yield "spent", f"${found.usd:.6f} of at most ${found.max_usd:g}"
    if found.stopped:
        yield "stopped", found.stopped
    yield "", "this is no evidence: none of it counts in the task's proof"


def _cost(usd: dict[str, Any]) -> str:
    ours = f"card and what falls back to the current model ${usd['card']:.6f}"
    if usd["current"] is None:
        return f"{ours}; what the current model costs is not known"
    share = f" ({100 * usd['card'] / usd['current']:.1f} %)" if usd["current"] else ""
    return f"{ours}{share}, current model ${usd['current']:.6f}, over {usd['pairs']} calls; judging not counted"


def _latency(seconds: dict[str, Any]) -> str:
    return f"card {_within(seconds['card'])}; current model {_within(seconds['current'])}"


def _within(spread: dict[str, float] | None) -> str:
    if spread is None:
        return "not known"
    return f"half within {spread['p50']:.2f} s, 95 % within {spread['p95']:.2f} s"
