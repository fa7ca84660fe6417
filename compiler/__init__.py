"""Compile a task's prompt once with a strong model, for a cheap one.

card = await compile(task, examples, Models.openai(meta=…, production=[…], api_key=…))
"""

import importlib
from typing import TYPE_CHECKING, Any

from compiler.card import Card
from compiler.example import Example, load_examples
from compiler.models import Models, Options
from compiler.program import Prompt
from compiler.steps import Score, Step
from compiler.task import Contract, Task

if TYPE_CHECKING:
    from compiler.search import compile

__all__ = [
    "Card",
    "Contract",
    "Example",
    "Models",
    "Options",
    "Prompt",
    "Score",
    "Step",
    "Task",
    "compile",
    "load_examples",
]


def __getattr__(name: str) -> Any:
    """`compile` needs the OpenAI SDK: 0.7 s and 20 MB, which processes that only serve don't pay."""
    if name == "compile":
        return importlib.import_module("compiler.search").compile
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
