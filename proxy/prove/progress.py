"""How far a proof has come: a bar for each task on a terminal, plain lines elsewhere; on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from compiler.proof import Proof
from proxy.beside import plain

EVERY = 50  # pairs, until the next line


class Shown(Protocol):
    def say(self, line: str) -> None: ...

    def pairs(self, proof: Proof, of: int) -> None: ...


@contextmanager
def shown(name: str) -> Iterator[Shown]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(name)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield _Bar(name, progress, progress.add_task(name, total=None))


class _Lines:
    def __init__(self, name: str) -> None:
        self._name = name
        self._said = 0

    def say(self, line: str) -> None:
        click.echo(_named(self._name, line), err=True)

    def pairs(self, proof: Proof, of: int) -> None:
        if proof.pairs >= self._said + EVERY:
            self._said = proof.pairs
            self.say(_line(proof, of))


class _Bar:
    def __init__(self, name: str, progress: Progress, task: TaskID) -> None:
        self._name, self._progress, self._task = name, progress, task

    def say(self, line: str) -> None:
        self._progress.console.print(Text(_named(self._name, line)))

    def pairs(self, proof: Proof, of: int) -> None:
        about = f"{self._name}: {_bound(proof)}"
        self._progress.update(self._task, completed=proof.pairs, total=of, description=about)


def _named(name: str, line: str) -> str:
    return plain(line if line.startswith(name) else f"{name}: {line}")


def _line(proof: Proof, of: int) -> str:
    return f"{proof.pairs:,} of {of:,} pairs, {_bound(proof)}"


def _bound(proof: Proof) -> str:
    return "nothing known yet" if proof.bound >= 1 else f"at most {100 * proof.bound:.1f} % worse"
