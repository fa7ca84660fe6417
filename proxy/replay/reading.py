"""What commands that read logs share: options, complaints, and how a page is written."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from proxy.replay.files import LogError
from proxy.replay.forms import FORMS, NAMES, Reading
from proxy.terminal import INTERRUPTED


def _days(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise click.BadParameter("write a number of days, more than 0")
    return value


format_option = click.option(
    "--format", "form", type=click.Choice(NAMES), help="What wrote the logs. Default: told from the records."
)
spans_option = click.option(
    "--spans", type=float, callback=_days, help="Days the logs cover. Default: from first call to last."
)


def nothing(reading: Reading) -> str:
    """Why no call could be read."""
    if reading.unreadable:
        why = "; ".join(reading.problems)
    elif reading.passed_over:
        why = f"none of {reading.passed_over} records is a call of a model"
    else:
        why = "there is nothing in it"
    forms = "\n".join(f"  {form.name:9} {form.about}" for form in FORMS)
    return f"no call could be read: {why}\nThese forms can, see docs/replay.md:\n{forms}"


def refuse_unwritable(html: Path | None) -> None:
    """Said before a long log is read, not after."""
    if html and not os.access(html.absolute().parent, os.W_OK):
        raise LogError(f"{html}: its folder is not there or can't be written to")


def written(write: Callable[[Path], None], html: Path) -> None:
    try:
        write(html)
    except OSError as error:
        raise LogError(f"{html}: can't be written: {error.strerror}") from error


@contextmanager
def log_complaints() -> Iterator[None]:
    try:
        yield
    except LogError as error:
        click.echo(f"cuecard: {error}", err=True)
        sys.exit(2)


@contextmanager
def stopping() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo("stopped before anything could be said of the log", err=True)
        sys.exit(INTERRUPTED)
