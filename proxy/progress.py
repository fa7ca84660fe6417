"""How far long work has come: a bar on a terminal, plain lines elsewhere; on standard error, so output can be piped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress(title: str, steps: int) -> Iterator[Callable[[str], None]]:
    """Yields what to tell of each step."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: click.echo(line, err=True)
        return
    with Progress(BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"), console=console) as bar:
        shown = bar.add_task(title, total=steps)
        yield lambda line: bar.update(shown, advance=1, description=line)
