"""Talking to the meta model. The texts are files in `prompts/`, versioned by name; a card says which it came from.

What comes out of traffic stands between tags that end in a nonce of this very text: data can't close them.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

from compiler.errors import ModelRefused
from compiler.example import Example
from compiler.task import Contract

ANALYSE, WRITE_PROMPT, REFLECT = "analyse.v1", "write-prompt.v2", "reflect.v1"
SHOWN = 12  # examples quoted to the meta model
SHOWN_CHARS = 1_500
MOST_NOTES, NOTE_CHARS = 8, 300
NONCE_CHARS = 16
CIRCLE_CHARS = 40  # of a line that a prompt has no reason to say twice


@dataclass(frozen=True)
class Analysis:
    """What the meta model found out about a task; nothing where it said nothing that can be read."""

    goal: str = ""
    invariants: tuple[str, ...] = ()
    confusions: tuple[str, ...] = ()

    def in_words(self) -> str:
        return "\n".join(["", *(f"- {note}" for note in (self.goal, *self.confusions) if note)]) or "(nothing)"


class Mistake(NamedTuple):
    input: str
    wanted: str
    answer: str


def dialogue(name: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """The chat in `prompts/<name>.md`, its {{slots}} filled once: a value that holds a slot's name stays as it is."""
    text = resources.files("compiler").joinpath(f"prompts/{name}.md").read_text("utf-8")
    parts = re.split(r"^# (system|user)\n", text, flags=re.MULTILINE)[1:]
    fill = re.compile(r"\{\{(\w+)\}\}")
    return [
        {"role": role, "content": fill.sub(lambda slot: values[slot[1]], content).strip()}
        for role, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def ask_for_analysis(wording: str, examples: Sequence[Example]) -> list[dict[str, Any]]:
    return _dialogue(ANALYSE, {"instructions": wording, "examples": _quoted(examples)})


def ask_for_prompt(
    wording: str, examples: Sequence[Example], contract: Contract, model: str, *, names: Sequence[str], found: Analysis
) -> list[dict[str, Any]]:
    """`names`: of the slots that make up the user message; none where it is one input."""
    tags = " and ".join(f"<{name}>" for name in names)
    values = {
        "model": model,
        "format": format_of(contract),
        "input": f"the input's parts between the tags {tags}" if len(names) > 1 else "one input",
        "notes": found.in_words(),
        "instructions": wording,
        "examples": _quoted(examples),
    }
    return _dialogue(WRITE_PROMPT, values)


def ask_for_better(prompt: str, mistakes: Sequence[Mistake], contract: Contract, model: str) -> list[dict[str, Any]]:
    told = [{key: text[:SHOWN_CHARS] for key, text in mistake._asdict().items()} for mistake in mistakes[:SHOWN]]
    lines = "\n".join(json.dumps(one, ensure_ascii=False) for one in told)
    values = {"model": model, "format": format_of(contract), "prompt": prompt, "mistakes": lines}
    return _dialogue(REFLECT, values)


def _dialogue(name: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """The same for the same values, so that an answer that was paid for is found again."""
    told = json.dumps([*values.values()])
    nonce = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:NONCE_CHARS]
    return dialogue(name, {**values, "nonce": nonce})


def _quoted(examples: Sequence[Example]) -> str:
    quoted = "\n".join(
        json.dumps({"input": e.input[:SHOWN_CHARS], "answer": e.expected[:SHOWN_CHARS]}, ensure_ascii=False)
        for e in examples[:SHOWN]
    )
    return quoted or "(none)"


def format_of(contract: Contract) -> str:
    if contract.kind == "label":
        return "the answer is exactly one of these, letter for letter: " + ", ".join(contract.labels)
    if contract.kind == "json":
        return "the answer is one JSON object, without a code fence, with the keys " + ", ".join(contract.keys)
    return "as the instructions and the examples' answers show it"


def read_analysis(answer: str) -> Analysis:
    """What can be read of it: a meta model that answers in another form costs its notes, not the compile."""
    start, end = answer.find("{"), answer.rfind("}")
    try:
        found = json.loads(answer[start : end + 1], strict=False)
    except (ValueError, RecursionError):
        return Analysis()
    if not isinstance(found, dict):
        return Analysis()
    goal = found.get("goal")
    goal = goal.strip()[:NOTE_CHARS] if isinstance(goal, str) else ""
    return Analysis(goal, _texts(found.get("invariants")), _texts(found.get("confusions"))[:MOST_NOTES])


def _texts(found: Any) -> tuple[str, ...]:
    listed = found if isinstance(found, list) else []
    return tuple(text.strip() for text in listed if isinstance(text, str) and 0 < len(text.strip()) <= NOTE_CHARS)


def read_prompt(answer: str, contract: Contract) -> str:
    """The prompt in a meta model's answer. Raises ModelRefused where there is none.

    Labels that the meta model left out are appended: a label nobody told the cheap model can't be answered.
    """
    tagged = re.search(r"<prompt>(.*?)(</prompt>|$)", answer, re.DOTALL)
    text = (tagged[1] if tagged else answer).strip()
    text = re.sub(r"^```\w*\n(.*?)\n?```$", r"\1", text, flags=re.DOTALL).strip()
    if not text:
        raise ModelRefused("the meta model returned nothing")
    return with_labels(_said_once(text), contract)


def _said_once(text: str) -> str:
    """Without the lines that come again: some models write in circles."""
    seen: set[str] = set()
    lines = []
    for line in text.split("\n"):
        plain = line.strip()
        if len(plain) < CIRCLE_CHARS or plain not in seen:
            lines.append(line)
        seen.add(plain)
    return "\n".join(lines)


def with_labels(prompt: str, contract: Contract) -> str:
    if all(re.search(rf"(?<!\w){re.escape(label)}(?!\w)", prompt) for label in contract.labels):
        return prompt
    return prompt + "\n\nAllowed answers, letter for letter:\n" + "\n".join(f"- {label}" for label in contract.labels)
