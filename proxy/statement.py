"""`cuecard report`: from the store to the terminal."""

import json
from datetime import timedelta
from pathlib import Path

import click

from compiler.election import is_elected
from compiler.store import Store
from proxy.books import recover
from proxy.configfile import load_settings
from proxy.report import build_report
from proxy.reporting import show_report
from proxy.savings import terms_of
from proxy.terminal import complaints, config_option, json_option


@click.command()
@config_option
@json_option
@click.option("--days", type=click.IntRange(1, 400), help="Only the last so many days.")
def report(config: Path | None, as_json: bool, days: int | None) -> None:
    """Where the money goes, call by call to the cent; what each task could save; what was saved."""
    with complaints():
        settings = load_settings(config)
        with Store(settings.store.folder) as store:
            if not is_elected(store.folder):  # else the running server's learner does it
                recover(store, None)
            found = build_report(store, timedelta(days=days) if days else None, terms_of(settings))
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    show_report(found)
