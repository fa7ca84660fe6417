"""How far reading has come: a bar on a terminal, plain lines elsewhere; on standard error, so output can be piped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0
MEGA = 1_000_000


@contextmanager
def shown(title: str, size: int) -> Iterator[Callable[[int], None]]:
    """Yields what to tell how many of `size` bytes have been read."""
    console = Console(stderr=True)
    if not console.is_terminal:
        click.echo(f"{title}: {size / MEGA:.1f} MB", err=True)
        yield _lines(title, size)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=size)
        yield lambda read: bar.update(task, completed=read)


def _lines(title: str, size: int) -> Callable[[int], None]:
    last = monotonic()

    def advance(read: int) -> None:
        nonlocal last
        if monotonic() - last > LINE_SECONDS:
            last = monotonic()
            click.echo(f"{title}: {read / MEGA:.0f} of {size / MEGA:.0f} MB", err=True)

    return advance
