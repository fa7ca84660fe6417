"""What the commands share at a terminal: options, complaints, and how a task is shown."""

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from compiler.errors import CompilerError
from compiler.registry import TaskView
from proxy.configfile import ConfigError

config_option = click.option("--config", type=click.Path(path_type=Path), help="Configuration file (cuecard.yaml).")
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")

INTERRUPTED = 130  # exit code after Ctrl-C


def dollars(_context: click.Context, _option: click.Parameter, value: float) -> float:
    """An option's callback."""
    if not 0 < value < math.inf:
        raise click.BadParameter("write a number of dollars, more than 0")
    return value


@contextmanager
def quiet(name: str = "cuecard") -> Iterator[None]:
    """Of a log only errors are shown: what it would say is on the screen already."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def complaints() -> Iterator[None]:
    """What a person got wrong ends the command with one message and code 2, never with a traceback."""
    try:
        yield
    except (ConfigError, CompilerError) as error:
        click.echo(f"cuecard: {error}", err=True)
        sys.exit(2)


def show_task(view: TaskView) -> None:
    click.echo(f"{view.task.name}: {view.stage}" + (f" ({view.reason})" if view.reason else ""))
    if card := view.compiled:
        click.echo(
            f"card {card.label} for {card.model}, {card.winner}, compiled {card.created}, ${card.compile_usd:.4f}"
        )
        for score in card.scores:
            stopped = ", no further" if score.stopped else ""
            click.echo(f"  {score.name:32} {score} answers as wanted{stopped}")
        theirs, ours = card.usd_per_call
        if theirs is not None and ours is not None:
            saved = theirs - ours
            back = f"; the compile is paid back after {card.compile_usd / saved:,.0f} served calls" if saved > 0 else ""
            click.echo(f"  a call costs ${ours:.6f}, on your model ${theirs:.6f}, as on the examples{back}")
        for note in card.notes:
            click.echo(f"  {note}")
        click.echo("\n" + "\n".join(f"[{m['role']}]\n{m['content']}\n" for m in card.program.opening()))
