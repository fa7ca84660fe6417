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
from compiler.search import scope_of
from compiler.steps import Step, Steps
from compiler.store import Store
from proxy.admin import describe
from proxy.background import open_learner
from proxy.configfile import load_settings
from proxy.declare import configured_tasks
from proxy.settings import Settings
from proxy.stepping import Watch, watching
from proxy.terminal import complaints, config_option, json_option, quiet, show_task

POLL_SECONDS = 0.2


async def compile_task(settings: Settings, name: str, *, again: bool, watch: Watch) -> TaskView:
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
            watch.note(f"{name}: the running server compiles it")
        scope, told = scope_of(view.task, registry.next_version(name)), 0
        while True:  # the server may be stopped meanwhile: then it is ours to do
            steps = Steps(store).get(name, scope)
            for step in steps[told:]:
                watch.step(step)
            told = max(told, len(steps))
            if name not in registry.wanted():
                return _view(registry, name)
            if not is_elected(settings.store.folder):
                async with (
                    elected(settings.store.folder),
                    open_learner(settings, store, on_step=_all_but(told, watch.step)) as learner,
                ):
                    await learner.compile(view.task)
                registry.unwant(name)
                return _view(registry, name)
            await asyncio.sleep(POLL_SECONDS)


def _all_but(told: int, on_step: Callable[[Step], None]) -> Callable[[Step], None]:
    """A compile that goes on where another process was tells its first steps once more."""
    seen = 0

    def tell(step: Step) -> None:
        nonlocal seen
        seen += 1
        if seen > told:
            on_step(step)

    return tell


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
        with quiet("cuecard.learner"), complaints():
            settings = load_settings(config)
            with watching(task, settings.compile_options()) as watch:
                view = asyncio.run(compile_task(settings, task, again=again, watch=watch))
    except KeyboardInterrupt:
        click.echo("stopped; it goes on where it was when you compile again, or when a server starts", err=True)
        sys.exit(130)
    if as_json:
        click.echo(json.dumps(describe(view)))
    else:
        show_task(view)
    if view.compiled is None:
        sys.exit(1)
