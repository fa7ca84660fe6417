"""Cards as compiles would have left them, so that what is measured needs none."""

from collections.abc import Callable
from pathlib import Path

from compiler.card import Card
from compiler.program import Prompt
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import Contract
from proxy.configfile import load_settings
from proxy.declare import configured_tasks


def publish(config: Path, compiled: Callable[[str, str], tuple[str, Prompt]]) -> None:
    """One for each task of the configuration. `compiled`: its name and description → the card's model and prompt."""
    settings = load_settings(config)
    with Store(settings.store.folder) as store:
        registry = Registry(store)
        declared = configured_tasks(settings)
        registry.declare(declared, "config")
        for name, (task, _) in declared.items():
            model, program = compiled(name, task.description)
            registry.publish(
                Card(
                    task=name,
                    version=1,
                    definition=task.definition(),
                    model=model,
                    program=program,
                    contract=task.contract or Contract(),
                    winner="prompt",
                    static_tokens=20,
                    original_tokens=8,
                    created="2026-11-23T00:00:00+00:00",
                    compile_usd=0.0,
                )
            )
