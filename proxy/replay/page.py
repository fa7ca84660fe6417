"""The report as one page of HTML that needs nothing else: no script, no font, no picture from anywhere."""

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compiler.worth import Range, Worth

SLOT = re.compile(r"(\{[a-z_]+\d+\})")  # as Template.shown() writes them
TEMPLATES = Path(__file__).parent


class Bar(NamedTuple):
    """Of the funnel: the first and the last have no `usd`, the others take that away. `left_usd` goes on to the next.
    `unknown`: calls whose cost nobody knows."""

    title: str
    why: str
    usd: float
    left_usd: float
    calls: int
    unknown: int = 0


class TaskRow(NamedTuple):
    """`usd` of the log, `saving` of 30 days; without `worth`, `why_not` says what is missing."""

    name: str
    template: str
    model: str
    calls_a_day: float | None
    usd: float
    share: float
    saving: Range | None
    worth: Worth | None
    why_not: str

    @property
    def parts(self) -> list[tuple[str, bool]]:
        return parts(self.template)


@dataclass(frozen=True)
class Page:
    title: str
    about: str  # the files, and when the calls were made
    total_usd: float
    served_usd: float
    saving: Range | None  # of 30 days
    days: float | None  # that the log covers
    calls: int
    bars: Sequence[Bar]
    tasks: Sequence[TaskRow]
    notes: Sequence[str]
    partial: bool = False


def parts(template: str) -> list[tuple[str, bool]]:
    """A template cut into text and slots (true)."""
    return [(part, bool(SLOT.fullmatch(part))) for part in SLOT.split(template) if part]


def dollars(amount: float) -> str:
    """As exact as its size asks for; a minus stands before the sign."""
    sign, size = "-" if amount < 0 else "", abs(amount)
    if size >= 1_000:
        return f"{sign}${size:,.0f}"
    return f"{sign}${size:.2f}" if size >= 0.1 or size == 0 else f"{sign}${size:.4f}"


def between(ends: Range, shown: Callable[[float], str] = dollars) -> str:
    low, high = (("never" if math.isinf(end) else shown(end)) for end in ends)
    return low if low == high else f"{low} – {high}"


def percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def number(amount: float) -> str:
    return f"{amount:,.1f}" if amount < 10 else f"{amount:,.0f}"


def environment(*folders: Path) -> Environment:
    """What a log holds is hostile: it is escaped, whatever it is. `folders`: of templates beside the ones here."""
    found = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"usd": dollars, "percent": percent, "number": number, "between": between}
    found.filters["numbers"] = partial(between, shown=number)
    return found


def render(page: Page) -> str:
    return environment().get_template("page.html").render(page=page)


def write(page: Page, path: Path) -> None:
    """Raises OSError."""
    put(render(page), path)


def put(text: str, path: Path) -> None:
    """Whole or not at all: what was there before stays until the new page is. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(text.encode("utf-8", "replace"))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
