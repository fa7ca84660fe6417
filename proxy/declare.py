"""From a task as a person writes it, in the configuration or over /admin, to a task and its examples."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.errors import ExampleError
from compiler.example import Example, example_from_json, load_examples, read_contract
from compiler.task import Contract, Task
from proxy.settings import Settings, TaskSettings


def task_of(name: str, written: TaskSettings, examples: Sequence[Example]) -> Task:
    """The contract is the one declared, else what all the examples keep."""
    output = written.output
    contract = Contract(output.kind, output.labels, output.keys) if output else read_contract(examples)
    fields = written.model_dump(exclude={"output"})
    return replace(Task(name=name, **fields), contract=contract)


def configured_tasks(settings: Settings) -> dict[str, tuple[Task, list[Example]]]:
    """Raises ExampleError, with file and line."""
    found = {}
    for name, written in settings.tasks.items():
        examples = load_examples(Path(written.examples)) if written.examples else []
        found[name] = (task_of(name, written, examples), examples)
    return found


def examples_of(data: Any) -> list[Example]:
    """Examples given inline, as a JSON list. Raises ExampleError that says which one is broken."""
    if not isinstance(data, list):
        raise ExampleError("`examples` must be a list")
    found = []
    for number, item in enumerate(data, 1):
        try:
            found.append(example_from_json(item))
        except ExampleError as error:
            raise ExampleError(f"example {number}: {error}") from None
    return found
