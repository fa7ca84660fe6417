"""The command `cuecard`."""

import importlib
import json
from datetime import timedelta
from pathlib import Path

import click

from compiler.election import is_elected
from compiler.registry import Registry
from compiler.store import Store
from proxy import logs
from proxy.banner import banner, effective, warnings
from proxy.books import recover
from proxy.configfile import load_settings
from proxy.declare import configured_tasks
from proxy.diffs import diffs
from proxy.forget import forget
from proxy.report import build_report
from proxy.reporting import show_report
from proxy.rollouts import approve, audit, pause, resume, rollback
from proxy.savings import terms_of
from proxy.serve import refuse_open_wallet
from proxy.serve import serve as run_server
from proxy.settings import Settings
from proxy.tasks import show, tasks
from proxy.terminal import complaints, config_option, json_option

LATER = {
    "compile": "proxy.compiling",
    "demo": "proxy.demo.command",
    "replay": "proxy.replay.command",
    "try": "proxy.trying",
}


class Commands(click.Group):
    """Some commands are loaded when they are asked for: they need what takes longer to import than `cuecard off` takes
    to run, such as the OpenAI SDK, and what the supervisor has no use for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *LATER})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in LATER and cmd_name not in self.commands:
            self.add_command(importlib.import_module(LATER[cmd_name]).command)
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
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
    with complaints():
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
    with complaints():
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


@main.command()
@config_option
@json_option
@click.option("--days", type=click.IntRange(1, 400), help="Only the last so many days.")
def report(config: Path | None, as_json: bool, days: int | None) -> None:
    """Where the money goes, call by call to the cent; what each task could save; what was saved."""
    with complaints():
        settings = load_settings(config)
        with Store(settings.store.folder) as store:
            if not is_elected(store.folder):  # else the running server's learner does it
                recover(store, None)
            found = build_report(store, timedelta(days=days) if days else None, terms_of(settings))
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    show_report(found)


def _switch(config: Path | None, off: bool) -> None:
    with complaints(), Store(load_settings(config).store.folder) as store:
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


for command in (tasks, show, diffs, approve, pause, resume, rollback, audit, forget):
    main.add_command(command)


if __name__ == "__main__":
    main()
