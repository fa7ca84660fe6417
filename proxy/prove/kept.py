"""What is kept of a proof between two runs: its card, so that nothing is compiled twice, and how many were begun. The
models' answers are kept by the door to them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from compiler.budget import KEEP_SECONDS
from compiler.card import Card
from compiler.json_text import json_bytes
from compiler.models import Models, Options
from compiler.observation import Observation
from compiler.store import Store
from compiler.task import Task


@dataclass(frozen=True)
class Begun:
    """`number`: which proof of the task it is; `first`: so many requests, by `digest`, were the compile's."""

    number: int
    card: Card
    first: int
    digest: str
    margin: float

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "card": self.card.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**{**data, "card": Card.from_json(data["card"])})


class Kept:
    """Of one log, by its `mark`. `models` and `options`: what a card was compiled with; by others it is another.
    Methods raise StoreError."""

    def __init__(self, store: Store, mark: str, models: Models, options: Options) -> None:
        self._store = store
        self._mark = mark
        chosen = [models.meta, models.production, models.judge, options.min_examples]
        self._chosen = hashlib.sha256(json_bytes(chosen)).hexdigest()[:16]

    def begun(self, task: Task) -> int:
        """How many proofs of the task were, ever and of any log: each makes the next one's bar higher."""
        return int(self._store.get(f"begun:{_of(task)}", 0))

    def find(self, task: Task, observed: Sequence[Observation]) -> Begun | None:
        """One whose compile saw the same first requests."""
        if not (data := self._store.get(self._key(task, "card"))):
            return None
        found = Begun.from_json(data)
        same = found.first < len(observed) and found.digest == digest(observed[: found.first])
        return found if same else None

    def failure(self, task: Task, observed: Sequence[Observation]) -> str | None:
        """Why no card came of the same requests: tried again, it would only be paid again. `observed`: what the compile
        would see."""
        told, reason = self._store.get(self._key(task, "failed")) or ("", None)
        return reason if told == digest(observed) else None

    def fail(self, task: Task, observed: Sequence[Observation], reason: str, looks: int) -> None:
        """`looks`: at its sealed examples, each of which might have let a card through, like a proof."""
        with self._store.transact():
            self._store.put(f"begun:{_of(task)}", self.begun(task) + looks)
            self._store.put(self._key(task, "failed"), [digest(observed), reason], expire=KEEP_SECONDS)

    def begin(self, task: Task, begun: Begun) -> None:
        with self._store.transact():
            self._store.put(f"begun:{_of(task)}", max(begun.number, self.begun(task)))
            self._store.put(self._key(task, "card"), begun.to_json(), expire=KEEP_SECONDS)

    def _key(self, task: Task, what: str) -> str:
        return f"{what}:{self._mark}:{self._chosen}:{_of(task)}"


def _of(task: Task) -> str:
    return f"{task.name}:{task.definition()}"


def digest(observed: Sequence[Observation]) -> str:
    said = [[one.request.get("messages"), one.answer] for one in observed]
    return hashlib.sha256(json_bytes(said)).hexdigest()[:32]
