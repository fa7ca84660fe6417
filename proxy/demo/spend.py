"""Real money: what the demo can cost at most, the question before it, and the purse that never passes the cap."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from proxy.demo.rows import KINDS
from proxy.demo.setting import DemoError, Pace, Setting

__all__ = ["Purse", "PurseClosed", "agree", "calls_usd"]


class PurseClosed(Exception):
    """What is spent or set aside, and that the next call could pass the cap."""


class Purse:
    """The most that was promised and paid so far. Once it refuses, it stays closed."""

    def __init__(self, setting: Setting) -> None:
        self.cap = setting.max_usd
        self.taken = setting.background_usd  # what Cuecard itself may spend beside the app's calls, its own cap
        self.closed = False

    def take(self, usd: float) -> None:
        """Raises PurseClosed."""
        self.closed = self.closed or not self.taken + usd <= self.cap
        if self.closed:
            raise PurseClosed(
                f"${self.taken:.4f} are spent or set aside, and the next call could pass --max-usd ${self.cap:.2f}"
            )
        self.taken += usd

    def give_back(self, usd: float) -> None:
        self.taken -= usd


def calls_usd(setting: Setting, pace: Pace, cache: Path) -> float:
    """The most that every call of the app and of the measuring together can cost."""
    total = 0.0
    for kind in KINDS:
        asked = [kind.messages(text) for text, _ in kind.rows("train", cache)[: pace.calls]]
        measured = [kind.messages(text) for text, _ in kind.rows("test", cache)[: pace.gold]]
        total += sum(map(setting.most_served, asked))
        total += sum(setting.most(setting.current, one) + setting.most(setting.cheap, one) for one in measured)
        total += sum(map(setting.most_with_card, measured))
    return total


def agree(
    setting: Setting, pace: Pace, cache: Path, say: Console, *, yes: bool, environ: Mapping[str, str] = os.environ
) -> None:
    """Ask before a real account pays. Raises DemoError without a key, or where nobody can answer; Abort on no."""
    if setting.key is None:
        return
    if not environ.get(setting.key):
        raise DemoError(
            f"{setting.key} is not set: set it to the key of the account that pays, or leave out --upstream"
        )
    if not (yes or sys.stdin.isatty()):
        raise DemoError("not a terminal, so nobody can be asked about the cost: pass --yes to agree to it")
    background, calls = setting.background_usd, calls_usd(setting, pace, cache)
    say.print(
        f"This sends rows of CLINC150, a public data set, to your account: at most "
        f"${min(background + calls, setting.max_usd):.2f}, compiling and proving ${background:.2f} of it (their cap) "
        f"and the app's calls ${calls:.2f} (every byte a token, every answer the longest, each on both models). It "
        f"stops before ${setting.max_usd:.2f}.",
        highlight=False,
    )
    if not yes:
        click.confirm(f"Spend up to ${setting.max_usd:.2f} on your account?", abort=True)
