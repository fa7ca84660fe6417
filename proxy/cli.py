"""The command `cuecard`."""

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from compiler.errors import CompilerError
from compiler.learner import is_elected
from compiler.registry import Registry, Snapshot, TaskView
from compiler.store import Store
from proxy import logs
from proxy.admin import describe
from proxy.banner import banner, effective, warnings
from proxy.books import recover
from proxy.compiling import STEPS, compile_task
from proxy.configfile import ConfigError, load_settings
from proxy.declare import configured_tasks
from proxy.demo import play
from proxy.demo.fetch import FetchError, default_cache
from proxy.demo.llama import LlamaError
from proxy.demo.setting import SETTINGS, DemoError
from proxy.demo.spend import agree
from proxy.report import Report, build_report
from proxy.serve import refuse_open_wallet
from proxy.serve import serve as run_server
from proxy.settings import Settings

config_option = click.option("--config", type=click.Path(path_type=Path), help="Configuration file (cuecard.yaml).")
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@contextmanager
def _complaints() -> Iterator[None]:
    """What a person got wrong ends the command with one message and code 2, never with a traceback."""
    try:
        yield
    except (ConfigError, CompilerError) as error:
        click.echo(f"cuecard: {error}", err=True)
        sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cuecard")
def main() -> None:
    """An OpenAI base URL that compiles your prompts once and answers them on a cheap model."""


@main.command()
@config_option
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on; 0 takes a free one.")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.")
@click.option("--mode", type=click.Choice(["observe", "manual", "auto"]), help="What may happen to undeclared traffic.")
def serve(config: Path | None, host: str | None, port: int | None, workers: int | None, mode: str | None) -> None:
    """Run the proxy: workers, the learner, and a banner that says what it will do."""
    with _complaints():
        settings = load_settings(config)
        logs.set_up(settings.log.format)
        listen = {k: v for k, v in (("host", host), ("port", port), ("workers", workers)) if v is not None}
        data = settings.model_dump()
        data["listen"] |= listen
        settings = Settings.model_validate(data | ({"mode": mode} if mode else {}))
        for line in warnings(settings):
            click.echo(f"warning: {line}", err=True)
        run_server(settings, lambda port: click.echo(banner(settings, port)))


@main.command()
@config_option
def check(config: Path | None) -> None:
    """Validate the configuration, its examples and the store; print what is in force, secrets masked."""
    with _complaints():
        settings = load_settings(config)
        refuse_open_wallet(settings)
        tasks = configured_tasks(settings)
        Store(settings.store.folder).close()
    click.echo(effective(settings))
    for name, (task, examples) in tasks.items():
        kind = task.contract.kind if task.contract else "text"
        click.echo(f"task {name}: {len(examples)} examples, output kind {kind}")
    for line in warnings(settings):
        click.echo(f"warning: {line}", err=True)
    click.echo("ok")


@main.command("compile")
@config_option
@json_option
@click.option("--again", is_flag=True, help="Even if the task has a card; it serves on until the new one is there.")
@click.argument("task")
def compile_(config: Path | None, as_json: bool, again: bool, task: str) -> None:
    """Compile one task now, and show its card. With a server running, its learner does it."""
    logging.getLogger("cuecard.learner").setLevel(logging.ERROR)  # its reason is shown below
    try:
        with _complaints(), _progress(task, STEPS) as step:
            view = asyncio.run(compile_task(load_settings(config), task, again=again, on_step=step))
    except KeyboardInterrupt:
        click.echo("stopped; it goes on where it was when you compile again, or when a server starts", err=True)
        sys.exit(130)
    _show(view, as_json)
    if view.compiled is None:
        sys.exit(1)


@contextmanager
def _progress(title: str, steps: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal, plain lines elsewhere; on standard error, so that output can be piped."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: click.echo(line, err=True)
        return
    with Progress(BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"), console=console) as bar:
        shown = bar.add_task(title, total=steps)
        yield lambda line: bar.update(shown, advance=1, description=line)


def _snapshot(config: Path | None) -> Snapshot:
    with Store(load_settings(config).store.folder) as store:
        return Registry(store).snapshot()


@main.command()
@config_option
@json_option
def tasks(config: Path | None, as_json: bool) -> None:
    """List the declared tasks and the stage each is in."""
    with _complaints():
        snapshot = _snapshot(config)
    if as_json:
        click.echo(json.dumps([describe(view) for view in snapshot.tasks.values()]))
        return
    table = Table("task", "stage", "card", "model", "current model", "reason")
    for name, view in snapshot.tasks.items():
        card, state = view.compiled, view.state
        row = (card.label, card.model) if card else ("-", "-")
        table.add_row(name, state.stage, *row, view.task.incumbent or "-", state.reason)
    Console().print(table if snapshot.tasks else "no task is declared; see docs/configuration.md, `tasks`")


@main.command()
@config_option
@json_option
@click.argument("task")
def show(config: Path | None, task: str, as_json: bool) -> None:
    """Show a task: its stage, its compiled prompt, and what was measured for it."""
    with _complaints():
        view = _snapshot(config).tasks.get(task)
    if view is None:
        click.echo(f"cuecard: no task {task!r} is declared; `cuecard tasks` lists them", err=True)
        sys.exit(2)
    _show(view, as_json)


def _show(view: TaskView, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(describe(view)))
        return
    click.echo(f"{view.task.name}: {view.state.stage}" + (f" ({view.state.reason})" if view.state.reason else ""))
    if card := view.compiled:
        click.echo(
            f"card {card.label} for {card.model}, {card.winner}, compiled {card.created}, ${card.compile_usd:.4f}"
        )
        for score in card.scores:
            click.echo(f"  {score.name:32} {score.right}/{score.of} held-out examples right")
        for note in card.notes:
            click.echo(f"  {note}")
        click.echo("\n" + "\n".join(f"[{m['role']}]\n{m['content']}\n" for m in card.program.opening()))


@main.command()
@config_option
@json_option
@click.option("--days", type=click.IntRange(1, 400), help="Only the last so many days.")
def report(config: Path | None, as_json: bool, days: int | None) -> None:
    """Per task and model: calls, tokens, cost, estimated baseline, compile cost, net saving."""
    with _complaints(), Store(load_settings(config).store.folder) as store:
        if not is_elected(store.folder):  # else the running server's learner does it
            recover(store, None)
        found = build_report(store, timedelta(days=days) if days else None)
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    console = Console()
    if not found.tasks:
        console.print("nothing was called yet")
        return
    console.print(_table(found))
    for name, task in sorted(found.tasks.items()):
        saving = f"compiling ${task.sums('compile').cost:.4f}, net saving ${task.net_saving:+.4f} (estimated)"
        console.print(f"{name}: {saving}", markup=False, highlight=False)


def _table(found: Report) -> Table:
    table = Table()
    table.add_column("task", overflow="fold")
    table.add_column("model", overflow="fold")
    table.add_column("for", no_wrap=True)
    for title in ("calls", "tokens\nin", "tokens\nout", "cost $", "baseline $\n(estimated)"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, task in sorted(found.tasks.items()):
        for row, sums in sorted(task.rows.items()):
            tokens = (str(sums.input + sums.cached_input + sums.cache_write), str(sums.output + sums.reasoning))
            baseline = f"{sums.baseline:.4f}" if sums.baselined else "-"
            use = row.route if row.role == "serve" else row.role
            table.add_row(name, row.model, use, str(sums.calls), *tokens, f"{sums.cost:.4f}", baseline)
    return table


def _switch(config: Path | None, off: bool) -> None:
    with _complaints(), Store(load_settings(config).store.folder) as store:
        Registry(store).set_off(off)
    click.echo("off: every request is answered by the model it asked for" if off else "on")


@main.command()
@config_option
def off(config: Path | None) -> None:
    """Put every worker on `original` within a second; survives restarts."""
    _switch(config, True)


@main.command()
@config_option
def on(config: Path | None) -> None:
    """Undo `off`."""
    _switch(config, False)


def _dollars(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if not 0 < value < float("inf"):
        raise click.BadParameter("write an amount of dollars, more than 0")
    return value


@main.command()
@click.option("--upstream", type=click.Choice(list(SETTINGS)), default="local", help="Models here, or your account's.")
@click.option("--max-usd", type=float, default=0.50, callback=_dollars, help="The most your account may be charged.")
@click.option("--yes", is_flag=True, help="Don't ask before spending.")
def demo(upstream: str, max_usd: float, yes: bool) -> None:
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


if __name__ == "__main__":
    main()
