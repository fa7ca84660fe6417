"""Real money: what the demo can cost at most, the question before it, and the purse that never passes the cap."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from proxy.demo.rows import TASKS, measured_rows, rows_of
from proxy.demo.setting import DemoError, Setting

__all__ = ["Purse", "agree", "measuring_usd"]


class Purse:
    """The most that was promised and paid so far. Once it refuses, it stays closed."""

    def __init__(self, setting: Setting) -> None:
        self.cap = setting.max_usd
        self.taken = setting.compile_usd * len(TASKS)  # until the report knows what the compiles cost
        self.closed = False

    def take(self, usd: float) -> bool:
        self.closed = self.closed or not self.taken + usd <= self.cap
        if not self.closed:
            self.taken += usd
        return not self.closed

    def give_back(self, usd: float) -> None:
        self.taken -= usd


def measuring_usd(setting: Setting, cache: Path) -> float:
    """The most that every measured call together can cost, each task's opening call included."""
    calls = [
        (model, task, text)
        for task in TASKS
        for model in (setting.current, setting.cheap, f"task:{task}")
        for text, _ in measured_rows(task, cache)
    ]
    calls += [(f"task:{task}", task, rows_of(task, "dev", 1, cache)[0][0]) for task in TASKS]
    return sum(setting.most(*call) for call in calls)


def agree(setting: Setting, cache: Path, say: Console, *, yes: bool, environ: Mapping[str, str] = os.environ) -> None:
    """Ask before a real account pays. Raises DemoError without a key, or where nobody can answer; Abort on no."""
    if setting.key is None:
        return
    if not environ.get(setting.key):
        raise DemoError(
            f"{setting.key} is not set: set it to the key of the account that pays, or leave out --upstream"
        )
    if not (yes or sys.stdin.isatty()):
        raise DemoError("not a terminal, so nobody can be asked about the cost: pass --yes to agree to it")
    compiling, measuring = setting.compile_usd * len(TASKS), measuring_usd(setting, cache)
    most = min(compiling + measuring, setting.max_usd)
    say.print(
        f"This sends rows of CLINC150, a public data set, to your account: at most ${most:.2f}, of which compiling "
        f"${compiling:.2f} (its cap) and measuring ${measuring:.2f} (every byte a token, every answer the longest). "
        f"It stops before ${setting.max_usd:.2f}.",
        highlight=False,
    )
    if not yes:
        click.confirm(f"Spend up to ${setting.max_usd:.2f} on your account?", abort=True)
