"""Compile a task's prompt once with a strong model, for a cheap one.

card = await compile(task, examples, Models.openai(meta=…, production=[…], api_key=…))
"""

from compiler.card import Card, Score
from compiler.example import Example, load_examples
from compiler.llm import Models
from compiler.program import Prompt
from compiler.search import Options, compile
from compiler.task import Contract, Task

__all__ = ["Card", "Contract", "Example", "Models", "Options", "Prompt", "Score", "Task", "compile", "load_examples"]
