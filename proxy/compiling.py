"""`cuecard compile`: one task now, by the running server's learner where there is one, else in this process."""

import asyncio
from collections.abc import Callable

from compiler.errors import CompilerError
from compiler.learner import elected, is_elected
from compiler.registry import Registry, TaskView
from compiler.search import CANDIDATES
from compiler.store import Store
from proxy.background import open_learner
from proxy.declare import configured_tasks
from proxy.settings import Settings

STEPS = 2 + len(CANDIDATES)  # the meta model's prompt, each candidate's score, the choice
POLL_SECONDS = 0.2


class UnknownTaskError(CompilerError):
    pass


async def compile_task(settings: Settings, name: str, *, again: bool, on_step: Callable[[str], None]) -> TaskView:
    """The task as it stands afterwards: with a card, or `kept` with the reason. A card that is there already is
    compiled anew only `again`. Killed, it goes on where it was when it is called again, or when a server starts.

    Raises UnknownTaskError, ExampleError and StoreError.
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
    view = registry.snapshot().tasks.get(name)
    if view is None:
        raise UnknownTaskError(f"no task {name!r} is declared; `cuecard tasks` lists them")
    return view
