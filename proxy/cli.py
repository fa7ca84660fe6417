"""The command `cuecard`."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from compiler.errors import CompilerError
from compiler.registry import Registry, Snapshot
from compiler.store import Store
from proxy.admin import describe
from proxy.banner import banner, effective, warnings
from proxy.configfile import ConfigError, load_settings
from proxy.declare import configured_tasks
from proxy.demo import play
from proxy.demo.fetch import FetchError
from proxy.demo.llama import LlamaError
from proxy.report import build_report
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
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.")
@click.option("--workers", type=int, help="Worker processes.")
@click.option("--mode", type=click.Choice(["observe", "manual", "auto"]), help="What may happen to undeclared traffic.")
def serve(config: Path | None, host: str | None, port: int | None, workers: int | None, mode: str | None) -> None:
    """Run the proxy: workers, the learner, and a banner that says what it will do."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    with _complaints():
        settings = load_settings(config)
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


def _snapshot(config: Path | None) -> Snapshot:
    store = Store(load_settings(config).store.folder)
    try:
        return Registry(store).snapshot()
    finally:
        store.close()


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
    if as_json:
        click.echo(json.dumps(describe(view)))
        return
    click.echo(f"{task}: {view.state.stage}" + (f" ({view.state.reason})" if view.state.reason else ""))
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
    with _complaints():
        store = Store(load_settings(config).store.folder)
        found = build_report(store, timedelta(days=days) if days else None)
        store.close()
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    table = Table("task", "model", "role", "route", "calls", "tokens in", "tokens out", "cost $", "baseline $ (est.)")
    for name, task in sorted(found.tasks.items()):
        for row, sums in sorted(task.rows.items()):
            tokens = (str(sums.input + sums.cached_input + sums.cache_write), str(sums.output + sums.reasoning))
            baseline = f"{sums.baseline:.4f}" if sums.baselined else "-"
            table.add_row(name, *row, str(sums.calls), *tokens, f"{sums.cost:.4f}", baseline)
        compiled = task.sums("compile").cost
        saving = f"{task.net_saving:+.4f}"
        table.add_row(
            name, "[b]net saving (est.)[/b]", "", "", "", "", f"compile {compiled:.4f}", saving, "", end_section=True
        )
    Console().print(table if found.tasks else "nothing was called yet")


def _switch(config: Path | None, off: bool) -> None:
    with _complaints():
        store = Store(load_settings(config).store.folder)
        Registry(store).set_off(off)
        store.close()
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


@main.command()
def demo() -> None:
    """Real local models, no key: three accuracies, the compiled prompts, the cost. About seven minutes on two cores."""
    say = Console()
    try:
        asyncio.run(play.run(say))
    except KeyboardInterrupt:
        say.print("stopped; nothing is left running")
        sys.exit(130)
    except (FetchError, LlamaError) as error:
        click.echo(f"cuecard: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
