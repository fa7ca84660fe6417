"""`cuecard diffs`: the pairs of a task's proof in which the card's answer differed, the worst first."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from compiler.diffs import AT_MOST
from compiler.store import Store
from proxy.beside import show
from proxy.configfile import load_settings
from proxy.observing import open_observations
from proxy.showing import wrapped
from proxy.terminal import complaints, config_option, json_option
from proxy.worst import worst_pairs


@click.command()
@config_option
@json_option
@click.option("--worst", type=click.IntRange(1, AT_MOST), default=20, show_default=True, help="So many at most.")
@click.argument("task")
def diffs(config: Path | None, as_json: bool, worst: int, task: str) -> None:
    """Show the worst pairs of a task's proof: what was asked, both answers, and what the judge said."""
    with complaints():
        settings = load_settings(config)
        with Store(settings.store.folder) as store, open_observations(settings) as observations:
            found = worst_pairs(store, observations, task, worst)
    if as_json:
        click.echo(json.dumps(found))
        return
    show(Console(highlight=False), found["diffs"])
    click.echo("\n".join(wrapped(_summary(found))))


def _summary(found: dict[str, Any]) -> str:
    if found["card"] is None:
        return f"{found['task']}: no proof was begun yet; `cuecard try {found['task']}` runs its card on some inputs"
    counted = ", ".join(f"{outcome} {number:,}" for outcome, number in found["outcomes"].items()) or "none yet"
    shown = f"the {len(found['diffs'])} worst of {found['kept']} kept" if found["diffs"] else "no difference is kept"
    return f"{found['card']}: {found['pairs']:,} pairs ({counted}); {shown}. d = +1: the card's answer is worse"
