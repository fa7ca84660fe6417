"""Which answer a client means by an id: kept for seven days, so that feedback finds it, and nothing of what was said.

Tenants, ids and answers are only kept as hashes. That of an answer is salted with its id, which is on no disk: a label
can't be found out by trying all there are.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from compiler.store import Store
from compiler.task import of_variant

FOLDER = "answers"
KEEP = 7 * 86_400.0  # seconds
AT_MOST = 500_000  # answers: some 300 MB
ROWS_AN_ANSWER = 2
TRIM_EVERY = 1_000  # answers: the bound may be passed by so many
KEEP_FORGOTTEN = 86_400.0  # longer than an answer is on its way here
PAGE = 500
HASHED = frozenset(("label", "json"))  # kinds of answers that are right or wrong without a judge

Arm = Literal["", "card", "control"]


class Answered(NamedTuple):
    """An answer that a client has. `task` with its variant; `version`: of the card at hand then, whoever answered, 0:
    none. `arm`: whose it was where chance chose between card and current model; `kind` of the task's answers, or ""."""

    time: float
    task: str
    version: int
    route: str
    arm: Arm
    kind: str


class Given(NamedTuple):
    """`id` is Cuecard's, never used twice; `other` the one in the body, or "". `text`: what was said, None where that
    can't be compared."""

    tenant: str
    id: str
    other: str
    answered: Answered
    text: str | None = None


class Found(NamedTuple):
    """`key`: of the answer, whichever id it was asked for by."""

    key: str
    answered: Answered
    hashed: str

    def is_right(self, id_: str, expected: str) -> bool | None:
        """`id_`: the one that it was found by. None where only a judge could tell."""
        wanted = fingerprint(id_, expected, self.answered.kind)
        return self.hashed == wanted if self.hashed and wanted else None


class Answers:
    """Methods raise StoreError. Many processes may write. `clock`: Unix seconds."""

    def __init__(self, store: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._store = Store(store / FOLDER)
        self._clock = clock
        self._added = 0

    @staticmethod
    def exist(store: Path) -> bool:
        return (store / FOLDER).exists()

    def remember(self, batch: Sequence[Given]) -> int:
        """How many others had to go before their time. To remember one again is no mistake."""
        with self._store.transact():
            forgotten = self._store.get("forgotten", [])
            for given in batch:
                if not any(_is_of(given, *scope) for scope in forgotten):
                    self._put(given)
        self._added += len(batch)
        if self._added < TRIM_EVERY:
            return 0
        self._added = 0
        return self._store.shorten(AT_MOST * ROWS_AN_ANSWER) // ROWS_AN_ANSWER

    def find(self, tenant: str, id_: str) -> Found | None:
        """None where it is unknown, expired, or an id that the upstream gave to several answers."""
        key = key_of(tenant, id_)
        row = self._store.get(key)
        if row and isinstance(row[1], str):  # by the id in the body
            hashed, key = row
            row = self._store.get(key)
            row = row and [hashed, *row[1:]]
        if not row:
            return None
        found = Found(key, Answered(*row[1:]), row[0])
        return found if self._clock() - found.answered.time < KEEP else None

    def forget(self, *, tenant: str | None = None, task: str | None = None) -> None:
        """Of a tenant, of a task, or of both; neither what is on its way here."""
        whose = of_tenant(tenant) if tenant else None
        with self._store.transact():
            earlier = [one for one in self._store.get("forgotten", []) if one[0] > self._clock() - KEEP_FORGOTTEN]
            self._store.put("forgotten", [*earlier, [self._clock(), whose, task]])
        prefix = whose or ""
        gone = {key for key, row in self._rows(prefix) if task is None or (len(row) > 2 and is_of_task(row[2], task))}
        gone |= {key for key, row in self._rows(prefix) if len(row) == 2 and row[1] in gone}
        self._store.delete_all(sorted(gone))
        self._store.scrub()

    def tidy(self) -> None:
        self._store.purge_expired()
        self._store.checkpoint()

    def replaced(self) -> bool:
        return self._store.replaced()

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _put(self, given: Given) -> None:
        key, kind, text = key_of(given.tenant, given.id), given.answered.kind, given.text
        self._store.put(key, [fingerprint(given.id, text, kind), *given.answered], expire=KEEP)
        if not given.other:
            return
        other = key_of(given.tenant, given.other)
        taken = self._store.get(other)
        mine = taken is None or (taken and taken[1] == key)
        self._store.put(other, [fingerprint(given.other, text, kind), key] if mine else [], expire=KEEP)

    def _rows(self, prefix: str) -> Iterator[tuple[str, list[Any]]]:
        after = ""
        while page := self._store.page(prefix, after, PAGE):
            yield from ((key, row) for key, row in page if ":" in key)
            after = page[-1][0]


TENANT, ID, ANSWER = 12, 32, 16  # hexadecimal digits kept of a hash


def key_of(tenant: str, id_: str) -> str:
    return of_tenant(tenant) + _hash(f"{tenant}\0{id_}", ID)


def of_tenant(tenant: str) -> str:
    """What the keys of all its answers begin with."""
    return _hash(tenant, TENANT) + ":"


def fingerprint(id_: str, text: str | None, kind: str) -> str:
    """The same for answers that say the same; "" of what can't be compared so."""
    plain = _plain(text, kind) if text is not None and kind in HASHED else None
    return "" if plain is None else _hash(f"{id_}\0{plain}", ANSWER)


def _plain(text: str, kind: str) -> str | None:
    """As `compiler.score.same` compares: a label without the space around it, JSON by value."""
    if kind == "label":
        return text.strip()
    try:
        value = json.loads(text, parse_float=_number, parse_constant=_number)
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError):
        return None


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _hash(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]


def is_of_task(task: str, wanted: str) -> bool:
    return wanted in (task, of_variant(task))


def _is_of(given: Given, when: float, tenant: str | None, task: str | None) -> bool:
    its = tenant in (None, of_tenant(given.tenant)) and (task is None or is_of_task(given.answered.task, task))
    return its and given.answered.time <= when
