"""Talking to the meta model. The texts are files in `prompts/`, versioned by name; a card says which it came from."""

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from compiler.errors import ModelRefused
from compiler.example import Example
from compiler.task import Contract, Task

WRITE_PROMPT = "write-prompt.v1"
SHOWN = 12  # examples quoted to the meta model
SHOWN_CHARS = 1_500
MAX_PROMPT_CHARS = 12_000
REFUSAL = re.compile(
    r"^\W*(i['’]?m sorry|i am sorry|sorry|i can(no|['’])t|i am unable|i['’]?m unable|as an ai)\b", re.IGNORECASE
)


def dialogue(name: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """The chat in `prompts/<name>.md`, its {{slots}} filled once: a value that holds a slot's name stays as it is."""
    text = resources.files("compiler").joinpath(f"prompts/{name}.md").read_text("utf-8")
    parts = re.split(r"^# (system|user)\n", text, flags=re.MULTILINE)[1:]
    fill = re.compile(r"\{\{(\w+)\}\}")
    return [
        {"role": role, "content": fill.sub(lambda slot: values[slot[1]], content).strip()}
        for role, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def ask_for_prompt(task: Task, examples: Sequence[Example], contract: Contract, model: str) -> list[dict[str, Any]]:
    quoted = "\n".join(
        json.dumps({"input": e.input[:SHOWN_CHARS], "answer": e.expected[:SHOWN_CHARS]}, ensure_ascii=False)
        for e in examples[:SHOWN]
    )
    instructions = task.description if task.system is None else f"{task.description}\n\n{task.system}"
    values = {
        "model": model,
        "format": format_of(contract),
        "instructions": instructions,
        "examples": quoted or "(none)",
    }
    return dialogue(WRITE_PROMPT, values)


def format_of(contract: Contract) -> str:
    if contract.kind == "label":
        return "the answer is exactly one of these, letter for letter: " + ", ".join(contract.labels)
    if contract.kind == "json":
        return "the answer is one JSON object, without a code fence, with the keys " + ", ".join(contract.keys)
    return "as the instructions and the examples' answers show it"


def read_prompt(answer: str, contract: Contract) -> str:
    """The prompt in a meta model's answer. Raises ModelRefused: a refusal or an empty reply is never a prompt.

    Labels that the meta model left out are appended: a label nobody told the cheap model can't be answered.
    """
    tagged = re.search(r"<prompt>(.*?)(</prompt>|$)", answer, re.DOTALL)
    text = (tagged[1] if tagged else answer).strip()
    text = re.sub(r"^```\w*\n(.*?)\n?```$", r"\1", text, flags=re.DOTALL).strip()
    if not text:
        raise ModelRefused("the meta model returned nothing")
    if REFUSAL.match(text):
        raise ModelRefused("the meta model refused")
    if len(text) > MAX_PROMPT_CHARS:
        raise ModelRefused(f"the meta model returned {len(text)} characters, a prompt may have {MAX_PROMPT_CHARS}")
    if any(not re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text) for label in contract.labels):
        text += "\n\nAllowed answers, letter for letter:\n" + "\n".join(f"- {label}" for label in contract.labels)
    return text
