"""`cuecard compile`: one task now, by the running server's learner where there is one, else in this process."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from compiler.election import elected, is_elected
from compiler.errors import UnknownTask
from compiler.registry import Registry, TaskView
from compiler.search import CANDIDATES
from compiler.store import Store
from proxy.admin import describe
from proxy.background import open_learner
from proxy.configfile import load_settings
from proxy.declare import configured_tasks
from proxy.progress import progress
from proxy.settings import Settings
from proxy.terminal import complaints, config_option, json_option, quiet, show_task

STEPS = 2 + len(CANDIDATES)  # the meta model's prompt, each candidate's score, the choice
POLL_SECONDS = 0.2


async def compile_task(settings: Settings, name: str, *, again: bool, on_step: Callable[[str], None]) -> TaskView:
    """The task as it stands afterwards: with a card, or `kept` with the reason. A card that is there already is
    compiled anew only `again`. Killed, it goes on where it was when it is called again, or when a server starts.

    Raises UnknownTask, ExampleError and StoreError.
    """
    with Store(settings.store.folder) as store:
        registry = Registry(store)
        registry.declare(configured_tasks(settings), "config")
        view = _view(registry, name)
        if view.compiled and not again:
            return view
        registry.reopen(name)
        registry.want([name])
        if is_elected(settings.store.folder):
            on_step(f"{name}: the running server compiles it")
        while True:  # the server may be stopped meanwhile: then it is ours to do
            if name not in registry.wanted():
                return _view(registry, name)
            if not is_elected(settings.store.folder):
                async with (
                    elected(settings.store.folder),
                    open_learner(settings, store, on_step=on_step) as learner,
                ):
                    await learner.compile(view.task)
                registry.unwant(name)
            await asyncio.sleep(POLL_SECONDS)


def _view(registry: Registry, name: str) -> TaskView:
    if (task := registry.task(name)) is None:
        raise UnknownTask(f"no task {name!r} is declared, or was taken up for a compile; `cuecard tasks` lists them")
    return registry.view(name, task)


@click.command("compile")
@config_option
@json_option
@click.option("--again", is_flag=True, help="Even if the task has a card; it serves on until the new one is there.")
@click.argument("task")
def command(config: Path | None, as_json: bool, again: bool, task: str) -> None:
    """Compile one task now, and show its card. With a server running, its learner does it."""
    try:
        with quiet("cuecard.learner"), complaints(), progress(task, STEPS) as step:
            view = asyncio.run(compile_task(load_settings(config), task, again=again, on_step=step))
    except KeyboardInterrupt:
        click.echo("stopped; it goes on where it was when you compile again, or when a server starts", err=True)
        sys.exit(130)
    if as_json:
        click.echo(json.dumps(describe(view)))
    else:
        show_task(view)
    if view.compiled is None:
        sys.exit(1)
