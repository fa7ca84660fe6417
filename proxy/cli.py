"""The command `cuecard`."""

import importlib
from pathlib import Path

import click

from compiler.registry import Registry
from compiler.store import Store
from proxy import logs
from proxy.banner import banner, effective, warnings
from proxy.configfile import load_settings
from proxy.declare import configured_tasks
from proxy.serve import refuse_open_wallet
from proxy.serve import serve as run_server
from proxy.settings import Settings
from proxy.terminal import complaints, config_option

LATER = {
    "approve": "proxy.rollouts:approve",
    "audit": "proxy.rollouts:audit",
    "compile": "proxy.compiling:command",
    "demo": "proxy.demo.command:command",
    "diffs": "proxy.diffs:diffs",
    "forget": "proxy.forget:forget",
    "pause": "proxy.rollouts:pause",
    "prove": "proxy.prove.command:command",
    "replay": "proxy.replay.command:command",
    "report": "proxy.statement:report",
    "resume": "proxy.rollouts:resume",
    "rollback": "proxy.rollouts:rollback",
    "show": "proxy.tasks:show",
    "tasks": "proxy.tasks:tasks",
    "try": "proxy.trying:command",
}


class Commands(click.Group):
    """Most commands are loaded when they are asked for: they need what takes longer to import than `cuecard off` takes
    to run, such as the OpenAI SDK, and what the supervisor has no use for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *LATER})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in LATER and cmd_name not in self.commands:
            module, _, attribute = LATER[cmd_name].partition(":")
            self.add_command(getattr(importlib.import_module(module), attribute))
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
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends, too: with the program that started it.")
def serve(
    config: Path | None, host: str | None, port: int | None, workers: int | None, mode: str | None, until_eof: bool
) -> None:
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
        run_server(settings, lambda port: click.echo(banner(settings, port)), until_eof=until_eof)


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


if __name__ == "__main__":
    main()
