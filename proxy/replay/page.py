"""The report as one page of HTML that needs nothing else: no script, no font, no picture from anywhere."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SLOT = re.compile(r"(\{[a-z_]+\d*\})")
TEMPLATES = Path(__file__).parent


class Step(NamedTuple):
    """A bar of the funnel. `left_usd` is what goes on to the next step; a step that takes nothing away has `usd` 0."""

    title: str
    why: str
    usd: float
    left_usd: float
    calls: int


class TaskRow(NamedTuple):
    """What is not known, or can't be, is None, with the reason in `note`. `usd` and `saving` for 30 days."""

    name: str
    template: str
    model: str
    calls_a_day: float | None
    usd: float
    share: float
    saving: tuple[float, float] | None
    investment_usd: float | None
    break_even_calls: float | None
    payback_days: float | None
    note: str = ""

    @property
    def parts(self) -> list[tuple[str, bool]]:
        """The template cut into text and slots (true)."""
        return [(part, bool(SLOT.fullmatch(part))) for part in SLOT.split(self.template) if part]


@dataclass(frozen=True)
class Page:
    title: str
    about: str  # the files, and when the calls were made
    per: str  # what the dollars are for: "30 days", or "the whole log"
    total_usd: float
    served_usd: float
    saving: tuple[float, float] | None
    calls: int
    steps: Sequence[Step]
    tasks: Sequence[TaskRow]
    notes: Sequence[str]
    partial: bool = False


def dollars(amount: float) -> str:
    """As exact as its size asks for; a minus stands before the sign."""
    sign, size = "-" if amount < 0 else "", abs(amount)
    if size >= 1_000:
        return f"{sign}${size:,.0f}"
    return f"{sign}${size:.2f}" if size >= 1 or size == 0 else f"{sign}${size:.4f}"


def render(page: Page) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["usd"] = dollars
    environment.filters["percent"] = lambda share: f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"
    return environment.get_template("page.html").render(page=page)


def write(page: Page, path: Path) -> None:
    """Whole or not at all: what was there before stays until the new page is. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(render(page).encode("utf-8", "replace"))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
