"""A compiled prompt, to take along: it belongs to whoever paid for it."""

import json

from compiler.card import Card
from compiler.errors import UnknownTask
from compiler.program import Prompt
from compiler.registry import Registry
from compiler.store import Store

FORMS = ("text", "openai-messages", "json")
INPUT = "{input}"


def card_of(store: Store, name: str) -> Card:
    """Raises UnknownTask."""
    registry = Registry(store)
    task = registry.task(name)
    if task is None:
        raise UnknownTask(f"no task {name!r} is declared, or was taken up for a compile; `cuecard tasks` lists them")
    if (card := registry.view(name, task).compiled) is None:
        raise UnknownTask(f"{name} has no card: {registry.state(name).reason or 'it was not compiled yet'}")
    return card


def exported(card: Card, form: str) -> str:
    """`text`: to read and to paste; `openai-messages`: a list of messages whose last one is the input; `json`: all of
    the card."""
    if form == "json":
        return json.dumps(card.to_json(), indent=1, ensure_ascii=False)
    messages = [*card.program.opening(), {"role": "user", "content": _input(card.program)}]
    if form == "openai-messages":
        return json.dumps(messages, indent=1, ensure_ascii=False)
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)


def _input(prompt: Prompt) -> str:
    """What stands for a request: `{input}`, or each of its parts between its tags."""
    names = prompt.frame.names if prompt.frame else ()
    if len(names) < 2:
        return INPUT
    return "\n".join(f"<{name}>\n{{{name}}}\n</{name}>" for name in names)
