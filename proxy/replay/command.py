"""`cuecard replay`."""

import json
import os
import sys
from pathlib import Path

import click
from rich.console import Console

from compiler.pricing import PriceBook
from proxy.configfile import load_settings
from proxy.replay.files import LogError, found
from proxy.replay.forms import Logs
from proxy.replay.mining import Mining
from proxy.replay.outcome import outcome_of
from proxy.replay.page import write
from proxy.replay.present import page_of, say
from proxy.replay.progress import shown
from proxy.replay.reading import (
    format_option,
    log_complaints,
    nothing,
    refuse_unwritable,
    spans_option,
    stopping,
    written,
)
from proxy.replay.recogniser import Recogniser
from proxy.replay.replay import Replay, Replayed
from proxy.savings import terms_of
from proxy.settings import Settings
from proxy.terminal import INTERRUPTED, complaints, config_option, json_option


@click.command("replay")
@config_option
@json_option
@format_option
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page for a browser.")
@spans_option
@click.argument("log", nargs=-1, required=True)
def command(
    config: Path | None, as_json: bool, form: str | None, html: Path | None, spans: float | None, log: tuple[str, ...]
) -> None:
    """What Cuecard could have saved on calls that are in logs; without any model call."""
    with stopping(), complaints(), log_complaints():
        settings = _settings(config)
        refuse_unwritable(html)
        with found(log, sys.stdin.buffer) as files:
            outcome = outcome_of(_replayed(Logs(files, form), settings), terms_of(settings), spans)
        if html:
            written(lambda path: write(page_of(outcome), path), html)
    if as_json:
        click.echo(json.dumps(outcome.to_json()))
    else:
        say(outcome, Console())
    if not outcome.found.whole:
        sys.exit(INTERRUPTED)


def _replayed(logs: Logs, settings: Settings) -> Replayed:
    replay = Replay(_recogniser(), PriceBook(settings.own_prices()))
    with shown("learning the tasks", logs.size) as advance:
        replay.learn(logs, advance)
    try:
        with shown("adding up", logs.size) as advance:
            replay.add_up(logs, advance)
    except KeyboardInterrupt:
        if not replay.found.reading.calls:
            raise
    if not replay.found.reading.calls:
        raise LogError(nothing(replay.found.reading))
    return replay.found


def _recogniser() -> Recogniser:
    return Mining()


def _settings(config: Path | None) -> Settings:
    """Only for its prices and models: no file is needed, and no key in it is used."""
    return load_settings(config, {**os.environ, "OPENAI_API_KEY": os.environ.get("OPENAI_API_KEY") or "unused"})
