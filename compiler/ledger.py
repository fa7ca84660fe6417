"""Where every dollar goes: sums by hour, task, model, role, route, reason and endpoint, added in one transaction a
flush."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, Self

from compiler.pricing import Usage
from compiler.store import Store

Part = Literal["whole", "call", "tokens", "unmetered"]
Role = Literal["serve", "shadow", "compile", "judge", "conductor", "expert"]
KEEP_HOURLY_SECONDS = 400 * 24 * 3_600
KEEP_POSITION_SECONDS = 8 * 24 * 3_600
HOUR, HOUR_CHARS = "%Y-%m-%dT%H", 13
UNDECLARED = "-"  # the task of a request that belongs to none


class Charge(NamedTuple):
    """One upstream call. `cost` and `baseline` in USD; None where no price or no estimate is known.

    A call whose tokens have to be counted comes in two parts, so that a kill in between loses its tokens only. One that
    is paid for and told no usage is `unmetered`: nobody but its upstream knows what it cost.

    `reason` says why the app's request was left as it was; `endpoint` is the path it came to. Both are of a fixed list.

    `ends_request` is true for the one call of a client's request that answered it, so that requests can be counted
    beside calls; `incumbent` when the app's own model answered, so that its habits (output length) can be learned.
    """

    task: str
    model: str
    role: Role
    route: str
    usage: Usage
    cost: float | None
    baseline: float | None = None
    tenant: str = "default"
    failed: bool = False
    ends_request: bool = False
    incumbent: bool = False
    part: Part = "whole"
    reason: str = ""
    endpoint: str = ""
    unrecorded: bool = False  # the request asked that nothing of it be kept; said with the call that ends it


@dataclass
class Sums:
    """`unpriced`: calls whose cost isn't known, for want of a price or of their tokens. `unmetered`: calls that are
    paid for and named no usage; they are not among `calls`, which have a charge."""

    calls: int = 0
    requests: int = 0
    failed: int = 0
    counted: int = 0
    unpriced: int = 0
    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    cost: float = 0.0
    baseline: float = 0.0
    baselined: int = 0
    unmetered: int = 0
    unrecorded: int = 0

    def add(self, other: Self) -> None:
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def charge(self, charge: Charge) -> None:
        """One more call; written out, because it is done for every one."""
        part = charge.part
        if part != "tokens":
            self.unrecorded += charge.unrecorded
            if part == "unmetered":
                self.unmetered += 1
                return
            self.calls += 1
            self.requests += charge.ends_request
            self.failed += charge.failed
        if part != "call":
            self._spend(charge)

    def _spend(self, charge: Charge) -> None:
        usage, tokens = charge.usage, charge.usage.by_type()
        self.counted += usage.counted
        self.input += tokens["input"]
        self.cached_input += tokens["cached_input"]
        self.cache_write += tokens["cache_write"]
        self.output += tokens["output"]
        self.reasoning += tokens["reasoning"]
        if charge.cost is None:
            self.unpriced += 1
        else:
            self.cost += charge.cost
        if charge.baseline is not None:
            self.baseline += charge.baseline
            self.baselined += 1


_SUMMED = tuple(f.name for f in fields(Sums))


def _written(sums: Sums) -> dict[str, Any]:
    """Without the zeros, which are most of it."""
    return {name: value for name, value in vars(sums).items() if value}


class Row(NamedTuple):
    """`reason` and `endpoint` are empty where they were not kept: in rows of before, and in those of the background."""

    model: str
    role: str
    route: str
    reason: str = ""
    endpoint: str = ""


class Incumbent(NamedTuple):
    """What the app's own model was seen to do on a task, over all its answers: sums of tokens, and of squares."""

    calls: int = 0
    input: int = 0
    cached_input: int = 0
    output: int = 0
    output_squares: int = 0

    @property
    def output_spread(self) -> float:
        """Standard deviation of an answer's tokens."""
        if self.calls < 2:
            return math.inf
        squares = self.output_squares - self.output * self.output / self.calls
        return math.sqrt(max(0.0, squares) / (self.calls - 1))

    def plus(self, other: "Incumbent") -> "Incumbent":
        return Incumbent(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Tally:
    """Calls summed up until they are written: as large as the number of different rows, however many the calls."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], dict[Row, Sums]] = {}  # by (tenant, task)
        self.incumbents: dict[str, Incumbent] = {}  # by task

    def add(self, charge: Charge) -> None:
        rows = self.rows.setdefault((charge.tenant, charge.task), {})
        row = Row(charge.model, charge.role, charge.route, charge.reason, charge.endpoint)
        sums = rows.get(row)
        if sums is None:
            sums = rows[row] = Sums()
        sums.charge(charge)
        if charge.incumbent and charge.part in ("whole", "tokens") and not charge.failed and charge.task != UNDECLARED:
            usage = charge.usage
            seen = Incumbent(1, usage.input, usage.cached_input, usage.output, usage.output * usage.output)
            self.incumbents[charge.task] = seen.plus(self.incumbents.get(charge.task, Incumbent()))

    def merge(self, other: Self) -> None:
        for at, rows in other.rows.items():
            mine = self.rows.setdefault(at, {})
            for row, sums in rows.items():
                mine.setdefault(row, Sums()).add(sums)
        for task, seen in other.incumbents.items():
            self.incumbents[task] = seen.plus(self.incumbents.get(task, Incumbent()))


class Ledger:
    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, tally: Tally, *, journal: tuple[str, int] | None = None) -> None:
        """Add to the current hour and to the totals. Durable when it returns; StoreError: nothing was added.

        `journal`: (id, position), how far of a journal is in the ledger once this is.
        """
        if not tally.rows:
            return
        hour = datetime.now(UTC).strftime(HOUR)
        with self._store.transact():
            if journal:
                self._store.put(f"journal:{journal[0]}", journal[1], expire=KEEP_POSITION_SECONDS)
            for (tenant, task), rows in tally.rows.items():
                self._add_to(f"ledger:{hour}:{tenant}:{task}", rows, KEEP_HOURLY_SECONDS)
                self._add_to(f"totals:{tenant}:{task}", rows, None)
            for task, seen in tally.incumbents.items():
                self._store.put(f"incumbent:{task}", list(seen.plus(self.incumbent(task))))

    def _add_to(self, key: str, added: dict[Row, Sums], expire: float | None) -> None:
        rows = self._read(key)
        for row, sums in added.items():
            rows.setdefault(row, Sums()).add(sums)
        self._store.put(key, [[*row, _written(sums)] for row, sums in rows.items()], expire=expire)

    def _read(self, key: str) -> dict[Row, Sums]:
        return {Row(*names): Sums(**sums) for *names, sums in self._store.get(key, [])}

    def position(self, journal_id: str) -> int:
        """How far of a journal is in the ledger."""
        return int(self._store.get(f"journal:{journal_id}", 0))

    def incumbent(self, task: str) -> Incumbent:
        return Incumbent(*self._store.get(f"incumbent:{task}", ()))

    def rows(self, since: timedelta | None = None) -> Iterator[tuple[str, Row, Sums]]:
        """(task, row, sums) over all tenants: all time, or from the full hour that holds `since` ago."""
        if since is not None:
            for _, task, row, sums in self.hours(since):
                yield task, row, sums
            return
        for key in self._store.keys("totals:"):
            for row, sums in self._read(key).items():
                yield key.rpartition(":")[2], row, sums

    def booked(self, *, tenant: str | None = None, task: str | None = None) -> Sums:
        """All there is of a tenant, of a task, or of both."""
        total = Sums()
        for key in self._store.keys("totals:"):
            whose, _, what = key.removeprefix("totals:").rpartition(":")
            if tenant in (None, whose) and task in (None, what):
                for sums in self._read(key).values():
                    total.add(sums)
        return total

    def hours(self, since: timedelta) -> Iterator[tuple[datetime, str, Row, Sums]]:
        """(hour, task, row, sums), from the full hour that holds `since` ago."""
        first = (datetime.now(UTC) - since).strftime(f"ledger:{HOUR}")
        for key in self._store.keys("ledger:"):
            if key >= first:
                hour = datetime.strptime(key[len("ledger:") :][:HOUR_CHARS], HOUR).replace(tzinfo=UTC)
                for row, sums in self._read(key).items():
                    yield hour, key.rpartition(":")[2], row, sums
