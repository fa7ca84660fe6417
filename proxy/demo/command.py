"""`cuecard demo`."""

import asyncio
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import click
from rich.console import Console

from proxy.demo import play
from proxy.demo.fetch import FetchError, default_cache
from proxy.demo.llama import LlamaError
from proxy.demo.setting import FULL, QUICK, SETTINGS, DemoError
from proxy.demo.spend import agree


def _dollars(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if not 0 < value < float("inf"):
        raise click.BadParameter("write an amount of dollars, more than 0")
    return value


@click.command("demo")
@click.option("--upstream", type=click.Choice(list(SETTINGS)), default="local", help="Models here, or your account's.")
@click.option("--full", is_flag=True, help="Three times the calls, in up to 20 minutes.")
@click.option("--max-usd", type=float, default=0.50, callback=_dollars, help="The most your account may be charged.")
@click.option("--yes", is_flag=True, help="Don't ask before spending.")
def command(upstream: str, full: bool, max_usd: float, yes: bool) -> None:
    """From traffic that nobody declared to a cheap model's answers, and what it saves: on local models without a key,
    or on your OpenAI account."""
    say, cache = Console(), default_cache()
    setting, pace = SETTINGS[upstream].capped(max_usd), FULL if full else QUICK
    try:
        agree(setting, pace, cache, say, yes=yes)
        asyncio.run(_until_told(play.run(setting, pace, cache, say)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say.print("stopped; nothing is left running")
        sys.exit(130)
    except (DemoError, FetchError, LlamaError) as error:
        click.echo(f"cuecard: {error}", err=True)
        sys.exit(2)


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """SIGTERM ends it as Ctrl-C does, where signals come."""
    if (task := asyncio.current_task()) and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work
