"""`cuecard demo`."""

import asyncio
import sys

import click
from rich.console import Console

from proxy.demo import play
from proxy.demo.fetch import FetchError, default_cache
from proxy.demo.llama import LlamaError
from proxy.demo.setting import SETTINGS, DemoError
from proxy.demo.spend import agree


def _dollars(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if not 0 < value < float("inf"):
        raise click.BadParameter("write an amount of dollars, more than 0")
    return value


@click.command("demo")
@click.option("--upstream", type=click.Choice(list(SETTINGS)), default="local", help="Models here, or your account's.")
@click.option("--max-usd", type=float, default=0.50, callback=_dollars, help="The most your account may be charged.")
@click.option("--yes", is_flag=True, help="Don't ask before spending.")
def command(upstream: str, max_usd: float, yes: bool) -> None:
    """Three accuracies, the compiled prompts, the cost: on local models without a key, or on your OpenAI account."""
    say, cache = Console(), default_cache()
    setting = SETTINGS[upstream].capped(max_usd)
    try:
        agree(setting, cache, say, yes=yes)
        asyncio.run(play.run(setting, cache, say))
    except KeyboardInterrupt:
        say.print("stopped; nothing is left running")
        sys.exit(130)
    except (DemoError, FetchError, LlamaError) as error:
        click.echo(f"cuecard: {error}", err=True)
        sys.exit(2)
