"""What the app asked and what its own model answered, kept to learn from: samples, redacted before they get here.

They have a database of their own beside the books, so that content can be forgotten without touching a sum. A row's
key says all that keeping and forgetting need to know, so that neither reads what was said.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from compiler.recognition.structure import texts_of
from compiler.store import Store

FOLDER = "observations"
AT_MOST = 20_000  # observations
AT_MOST_BYTES = 512 * 2**20  # of them together
AT_MOST_A_SHELF = 1_000
TRIM_EVERY = 200  # additions: the bounds may be passed by so many
DAY = 86_400.0
KEEP_FORGOTTEN = DAY  # longer than an observation is on its way here
SCRUB_EVERY = DAY
PAGE = 100
ROW = "o:"
BY_ID = "i:"
WHO_ASKED = ("user", "safety_identifier", "prompt_cache_key", "metadata", "store")  # is kept of no request
ENDED = frozenset(("stop", "tool_calls", "function_call"))  # answers that were not cut off, and not filtered


@dataclass(frozen=True)
class Observation:
    """`model` is the one that answered; `request` holds the name that was asked for, and not who asked. `usage`: input,
    cached input, output, reasoning tokens; `cost` in USD, None where unknown; `seconds` until the last byte.

    `id`: of the answer, as feedback finds it (`compiler.answers`); `plain`: nothing in it had to be redacted;
    `expected`: what a user said the answer should have been.
    """

    time: float
    tenant: str
    structure: str
    model: str
    template: str
    request: dict[str, Any]
    answer: str
    tool_calls: list[dict[str, Any]]
    usage: list[int]
    cost: float | None
    seconds: float
    id: str = ""
    plain: bool = False
    expected: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**data)


def input_of(observation: Observation) -> str:
    """The last thing that was said to the model."""
    return (texts_of(observation.request.get("messages")) or ("",))[-1]


class Shelf(NamedTuple):
    """Observations of one kind, of which the newest are kept."""

    tenant: str
    structure: str
    template: str


class Row(NamedTuple):
    """All that is known of a kept observation without reading it."""

    key: str
    shelf: Shelf
    time: float
    size: int

    @classmethod
    def of(cls, key: str) -> Self:
        tenant, structure, template, when, size = orjson.loads(key.split(":", 2)[2])
        return cls(key, Shelf(tenant, structure, template), when, size)


class Scope(NamedTuple):
    """Which shelves are meant; None: any."""

    tenant: str | None = None
    template: str | None = None
    structure: str | None = None

    def has(self, shelf: Shelf) -> bool:
        return all(
            wanted in (None, is_)
            for wanted, is_ in (
                (self.tenant, shelf.tenant),
                (self.template, shelf.template),
                (self.structure, shelf.structure),
            )
        )


class Observations:
    """Methods raise StoreError. Many processes may write; every one sees the others' forgetting."""

    def __init__(self, store: Path, *, retention_days: float) -> None:
        self._store = Store(store / FOLDER)
        self._retention = retention_days * DAY
        self._added = 0

    @staticmethod
    def exist(store: Path) -> bool:
        return (store / FOLDER).exists()

    def add(self, batch: Sequence[Observation]) -> int:
        """How many were kept: not those that were made before a `forget` that names them."""
        with self._store.transact():
            if forgotten := self._forgotten():
                batch = [o for o in batch if not _is_forgotten(o, forgotten)]
            if not batch:
                return 0
            first = (self.position() or _clock()) + 1
            for position, observation in enumerate(batch, first):
                value = observation.to_json()
                self._store.put(_key(position, observation, len(orjson.dumps(value))), value, expire=self._retention)
                if observation.id:
                    self._store.put(f"{BY_ID}{observation.id}:{position:015d}", True, expire=self._retention)
            self._store.put("position", first + len(batch) - 1)
        self._added += len(batch)
        if self._added >= TRIM_EVERY:
            self.trim()
        return len(batch)

    def since(self, position: int = 0) -> Iterator[tuple[int, Observation]]:
        """Those behind `position`, oldest first, each with its own."""
        after = f"{ROW}{position:015d};"
        while page := self._store.page(ROW, after, PAGE):
            for key, value in page:
                yield int(key.split(":", 2)[1]), Observation.from_json(value)
            after = page[-1][0]

    def get(self, position: int) -> Observation | None:
        found = self._store.page(f"{ROW}{position:015d}:", "", 1)
        return Observation.from_json(found[0][1]) if found else None

    def of_answer(self, id_: str) -> tuple[int, Observation] | None:
        """The one of an answer, with its position."""
        for key, _ in self._store.page(f"{BY_ID}{id_}:", "", 1):
            position = int(key.rpartition(":")[2])
            if observation := self.get(position):
                return position, observation
        return None

    def expect(self, position: int, expected: str | None) -> Observation | None:
        """As it is with what a user said the answer should have been, which None takes back; None: it is gone."""
        with self._store.transact():
            for key, value in self._store.page(f"{ROW}{position:015d}:", "", 1):
                observation = replace(Observation.from_json(value), expected=expected)
                left = observation.time + self._retention - time.time()
                self._store.put(key, observation.to_json(), expire=max(left, 0.0))
                return observation
        return None

    def position(self) -> int:
        """Of the newest that was ever kept; 0: none was."""
        return int(self._store.get("position", 0))

    def epoch(self) -> int:
        """Another number whenever something was forgotten: what was read before may have to go."""
        return int(self._store.get("epoch", 0))

    def census(self) -> Counter[Shelf]:
        return Counter(row.shelf for row in self._rows())

    def of(self, scopes: Sequence[Scope]) -> Iterator[tuple[str, Observation]]:
        """Those of these shelves, oldest first, each with its key; others are not read."""
        for row in [row for row in self._rows() if any(scope.has(row.shelf) for scope in scopes)]:
            if (value := self._store.get(row.key)) is not None:
                yield row.key, Observation.from_json(value)

    def forget(self, *, tenant: str | None = None, template: str | None = None) -> int:
        """How many were deleted: of a tenant, of a template, or of both where both are given."""
        if tenant is None and template is None:
            raise ValueError("what is to be forgotten?")
        return self.forget_those([Scope(tenant, template)])

    def forget_those(self, scopes: Sequence[Scope], wanted: Callable[[Observation], bool] | None = None) -> int:
        """How many were deleted: of these shelves, those that are `wanted`. What was made before now and comes later is
        not kept, whatever it is. Nothing of what was deleted is readable in the files afterwards."""
        now = time.time()
        with self._store.transact():
            earlier = [entry for entry in self._forgotten() if entry[0] > now - KEEP_FORGOTTEN]
            self._store.put("forgotten", [*earlier, *((now, *scope) for scope in scopes)])
            self._store.put("epoch", self.epoch() + 1)
        if wanted is None:
            keys = [row.key for row in self._rows() if any(scope.has(row.shelf) for scope in scopes)]
        else:
            keys = [key for key, observation in self.of(scopes) if wanted(observation)]
        self._delete(keys)
        self._store.scrub()
        return len(keys)

    def trim(self) -> int:
        """Back to what may be kept, by age and count; how many went."""
        self._added = 0
        rows = [*self._rows()]
        stay = kept(rows, oldest=time.time() - self._retention)
        self._delete([row.key for row in rows if row.key not in stay])
        return len(rows) - len(stay)

    def tidy(self) -> None:
        """From time to time: what has to go, goes; within a day from the last page of the files as well."""
        self._store.purge_expired()
        self.trim()
        if time.time() - float(self._store.get("scrubbed", 0.0)) > SCRUB_EVERY:
            self._store.scrub()
            self._store.put("scrubbed", time.time())
        else:
            self._store.checkpoint()

    def replaced(self) -> bool:
        return self._store.replaced()

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _forgotten(self) -> list[tuple[float, *tuple[str | None, ...]]]:
        """When, and the fields of a Scope."""
        return [(when, *scope) for when, *scope in self._store.get("forgotten", [])]

    def _rows(self) -> Iterator[Row]:
        return map(Row.of, self._store.keys(ROW))

    def _delete(self, rows: Sequence[str]) -> None:
        gone = {key.split(":", 2)[1] for key in rows}
        self._store.delete_all([*rows, *(key for key in self._store.keys(BY_ID) if key.rpartition(":")[2] in gone)])


def kept(rows: Sequence[Row], *, oldest: float) -> set[str]:
    """The keys of those that stay. Where there is no room for all, tenants take turns, and so do the shelves of each,
    the newest of a shelf first: nobody's abundance costs another what it has."""
    shelves: dict[Shelf, list[Row]] = {}
    for row in sorted(rows, reverse=True):  # newest first
        shelf = shelves.setdefault(row.shelf, [])
        if row.time > oldest and len(shelf) < AT_MOST_A_SHELF:
            shelf.append(row)
    tenants: dict[str, list[list[Row]]] = {}
    for shelf_key, shelf in shelves.items():
        tenants.setdefault(shelf_key.tenant, []).append(shelf)
    found, room = set[str](), AT_MOST_BYTES
    for row in _in_turn([_in_turn(of_tenant) for of_tenant in tenants.values()])[:AT_MOST]:
        room -= row.size
        if room < 0:
            break
        found.add(row.key)
    return found


def _in_turn(lists: Sequence[Sequence[Row]]) -> list[Row]:
    """The first of each list, newest first, then the second of each …"""
    ranked = [(rank, row) for rows in lists for rank, row in enumerate(rows)]
    ranked.sort(key=lambda entry: entry[1].key, reverse=True)
    ranked.sort(key=lambda entry: entry[0])
    return [row for _, row in ranked]


def _is_forgotten(observation: Observation, forgotten: Sequence[tuple[float, *tuple[str | None, ...]]]) -> bool:
    shelf = Shelf(observation.tenant, observation.structure, observation.template)
    return any(observation.time <= when and Scope(*scope).has(shelf) for when, *scope in forgotten)


def _clock() -> int:
    """Where positions begin, so that a store begun anew goes on behind the one before."""
    return int(time.time() * 1_000)


def _key(position: int, observation: Observation, size: int) -> str:
    seen = (observation.tenant, observation.structure, observation.template, observation.time, size)
    return f"{ROW}{position:015d}:{orjson.dumps(seen).decode()}"
