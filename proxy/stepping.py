"""A compile as it goes on: a table that grows on a terminal, plain lines elsewhere; on standard error."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from compiler.models import Options
from compiler.steps import Step

SHOWN = 14  # steps: the newest


class Watch(Protocol):
    def step(self, step: Step) -> None: ...

    def note(self, line: str) -> None: ...


class _Lines:
    def __init__(self, task: str) -> None:
        self._task = task

    def step(self, step: Step) -> None:
        cost = f"  (${step.usd:.4f}, {step.calls} calls)" if step.calls else ""
        click.echo(f"{self._task}: {step}{cost}", err=True)

    def note(self, line: str) -> None:
        click.echo(line, err=True)


class _Table:
    """Each step with what it found and cost; below, what was spent, and what is left at most."""

    def __init__(self, task: str, options: Options) -> None:
        self._task = task
        self._options = options
        self._steps: list[Step] = []
        self._note = ""
        self._began = time.monotonic()

    def step(self, step: Step) -> None:
        self._steps.append(step)

    def note(self, line: str) -> None:
        self._note = line

    def __rich__(self) -> Group:
        table = steps_table(self._steps[-SHOWN:])
        table.title, table.title_justify = f"compiling {self._task}", "left"
        spent, calls = sum(step.usd for step in self._steps), sum(step.calls for step in self._steps)
        gone = time.monotonic() - self._began
        left = max(0.0, self._options.max_minutes * 60 - gone)
        line = (
            f"${spent:.4f} of ${self._options.max_usd:.2f}, {calls} calls, {gone:.0f} s; "
            f"at most {left:.0f} s more. Ctrl-C stops it, and it goes on where it was."
        )
        return Group(table, *([Text(self._note)] if self._note else []), Text(line, style="dim"))


@contextmanager
def watching(task: str, options: Options) -> Iterator[Watch]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(task)
        return
    table = _Table(task, options)
    with Live(table, console=console, refresh_per_second=4):
        yield table


def steps_table(steps: Sequence[Step]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("step", "on", "what came of it"):
        table.add_column(name, overflow="fold")
    for name in ("calls", "USD", "s"):
        table.add_column(name, justify="right")
    for step in steps:
        usd = f"{step.usd:.4f}" if step.usd else ""
        table.add_row(step.name, step.model, step.line, str(step.calls or ""), usd, f"{step.seconds:.1f}")
    return table
