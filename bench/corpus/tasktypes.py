"""The task types: `types/*.yaml` hold their messages, with `{slots}`; here they become requests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import orjson
import yaml

from bench.corpus import payloads
from bench.corpus.draft import Draft, Labelled, Part, Turn
from bench.corpus.text import SLOT, Literal, fill, joined

FOLDER = Path(__file__).parent / "types"
REQUESTS = 100  # of each type
TRIES = 50  # until a request that no other of its type equals


class BadType(ValueError):
    """A type's file is wrong."""


@dataclass(frozen=True)
class TaskType:
    name: str
    part: Part
    messages: Sequence[Mapping[str, str | Sequence[str]]]
    members: Mapping[str, Any]

    def draft(self, value: Callable[[str], str]) -> Draft:
        turns = []
        for message in self.messages:
            ((role, content),) = message.items()
            texts = [content] if isinstance(content, str) else content
            turns.append(Turn(role, [fill(text, value) for text in texts], listed=not isinstance(content, str)))
        return Draft(turns, self.members)

    def slots(self) -> Iterator[str]:
        for message in self.messages:
            for content in message.values():
                for text in [content] if isinstance(content, str) else content:
                    yield from SLOT.findall(text)


@cache
def task_types() -> Mapping[str, TaskType]:
    found: dict[str, TaskType] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        part: Part = "adversarial" if path.stem == "adversarial" else "main"
        for name, given in yaml.safe_load(path.read_text()).items():
            if name in found:
                raise BadType(f"{path.name}: {name} is there twice")
            members = {key: value for key, value in given.items() if key != "messages"}
            found[name] = TaskType(name, part, given["messages"], members)
            for slot in found[name].slots():
                _check(slot, path, name)
    return found


def _check(slot: str, path: Path, name: str) -> None:
    symbol = slot.split("#")[0]
    if symbol not in QUOTES and not payloads.is_known(symbol):
        raise BadType(f"{path.name}: {name}: {{{slot}}} is no value, rule or passage")


def generate(seed: int, requests: int = REQUESTS) -> list[Labelled]:
    """`requests` different ones of each type, the same for the same seed, in the order of the types."""
    found = []
    for name, kind in task_types().items():
        seen: set[bytes] = set()
        for number in range(requests):
            draft = _another(kind, seen, f"{seed} {name} {number}")
            found.append(Labelled(name, draft.request(), kind.part, draft=draft))
    return found


def _another(kind: TaskType, seen: set[bytes], seed: str) -> Draft:
    for attempt in range(TRIES):
        draft = kind.draft(_values(Random(f"{seed} {attempt}")))
        body = orjson.dumps(draft.request())
        if body not in seen:
            seen.add(body)
            return draft
    raise BadType(f"{kind.name}: its slots don't allow for {len(seen) + 1} different requests")


def _values(random: Random) -> Callable[[str], str]:
    """A slot that comes again in a request has the same value there; `name#2` is another one."""
    known: dict[str, str] = {}

    def value(slot: str) -> str:
        symbol = slot.split("#")[0]
        if slot not in known:
            known[slot] = QUOTES[symbol](random) if symbol in QUOTES else payloads.value(symbol, random)
        return known[slot]

    return value


def _other_prompt(random: Random) -> str:
    """All that another type's request says, as somebody would paste it."""
    kind = random.choice([kind for kind in task_types().values() if not set(kind.slots()) & set(QUOTES)])
    turns = kind.draft(_values(random)).turns
    return "\n\n".join(joined(text) for turn in turns for text in turn.texts)


def _other_instruction(random: Random) -> str:
    kind = random.choice([kind for kind in task_types().values() if not set(kind.slots()) & set(QUOTES)])
    texts = [text for turn in kind.draft(_values(random)).turns for text in turn.texts]
    literals = [segment.text for text in texts for segment in text if isinstance(segment, Literal)]
    return max(literals, key=len).strip()


QUOTES: Mapping[str, Callable[[Random], str]] = {
    "other_prompt": _other_prompt,
    "other_instruction": _other_instruction,
}
