"""`cuecard replay`."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from compiler.pricing import PriceBook
from proxy.configfile import load_settings
from proxy.replay.files import LogError, found
from proxy.replay.forms import FORMS, NAMES, Logs, Reading
from proxy.replay.mining import Mining
from proxy.replay.outcome import Outcome, outcome_of
from proxy.replay.page import write
from proxy.replay.present import page_of, say
from proxy.replay.progress import shown
from proxy.replay.recogniser import Recogniser
from proxy.replay.replay import Replay, Replayed
from proxy.savings import terms_of
from proxy.settings import Settings
from proxy.terminal import complaints, config_option, json_option

INTERRUPTED = 130


def _days(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise click.BadParameter("write a number of days, more than 0")
    return value


@click.command("replay")
@config_option
@json_option
@click.option("--format", "form", type=click.Choice(NAMES), help="What wrote the logs. Default: told from the records.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page for a browser.")
@click.option("--spans", type=float, callback=_days, help="Days the logs cover. Default: from first call to last.")
@click.argument("log", nargs=-1, required=True)
def command(
    config: Path | None, as_json: bool, form: str | None, html: Path | None, spans: float | None, log: tuple[str, ...]
) -> None:
    """What Cuecard could have saved on calls that are in logs; without any model call."""
    with _stopping(), complaints(), _log_complaints():
        settings = _settings(config)
        _refuse_unwritable(html)
        with found(log, sys.stdin.buffer) as files:
            outcome = outcome_of(_replayed(Logs(files, form), settings), terms_of(settings), spans)
        if html:
            _write(outcome, html)
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
        raise LogError(_nothing(replay.found.reading))
    return replay.found


def _recogniser() -> Recogniser:
    return Mining()


def _settings(config: Path | None) -> Settings:
    """Only for its prices and models: no file is needed, and no key in it is used."""
    return load_settings(config, {**os.environ, "OPENAI_API_KEY": os.environ.get("OPENAI_API_KEY") or "unused"})


def _nothing(reading: Reading) -> str:
    if reading.unreadable:
        why = "; ".join(reading.problems)
    elif reading.passed_over:
        why = f"none of {reading.passed_over} records is a call of a model"
    else:
        why = "there is nothing in it"
    forms = "\n".join(f"  {form.name:9} {form.about}" for form in FORMS)
    return f"no call could be read: {why}\nThese forms can, see docs/replay.md:\n{forms}"


def _refuse_unwritable(html: Path | None) -> None:
    """Said before a long log is read, not after."""
    if html and not os.access(html.absolute().parent, os.W_OK):
        raise LogError(f"{html}: its folder is not there or can't be written to")


def _write(outcome: Outcome, html: Path) -> None:
    try:
        write(page_of(outcome), html)
    except OSError as error:
        raise LogError(f"{html}: can't be written: {error.strerror}") from error


@contextmanager
def _log_complaints() -> Iterator[None]:
    try:
        yield
    except LogError as error:
        click.echo(f"cuecard: {error}", err=True)
        sys.exit(2)


@contextmanager
def _stopping() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo("stopped before anything could be said of the log", err=True)
        sys.exit(INTERRUPTED)
