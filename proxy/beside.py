"""Two answers to one input, for a person at a terminal: side by side where it is wide enough, else one below the other.

What is shown was written by models and by whoever sent the input: nothing of it may move the cursor or change colours.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from compiler.fields import MISSING, differences
from compiler.score import parse_json
from proxy.showing import moment

WIDE = 100  # columns
INPUT_CHARS, HEAD_CHARS = 240, 160
ANSWER_CHARS = 800
MOST_FIELDS = 12
COMMON = 40  # characters that all inputs begin with, which are left out
INDENT = 3
GONE = "(no longer kept)"
NONE = "(nothing)"
CURRENT, CARD = "current model", "card"


def show(console: Console, pairs: Sequence[Mapping[str, Any]]) -> None:
    """`pairs` as in the commands' JSON."""
    inputs = shortened([pair["input"] for pair in pairs])
    for at, (pair, text) in enumerate(zip(pairs, inputs, strict=True), 1):
        console.print(Text(f"{at}  {_head(pair)}", style="bold"))
        _show(console, pair, text)
        console.print()


def shortened(inputs: Sequence[str | None]) -> list[str | None]:
    """On a line each, without what all of them begin with."""
    lines = [None if text is None else " ".join(text.split()) for text in inputs]
    known = {line for line in lines if line is not None}
    ends = zip(min(known), max(known), strict=False) if len(known) > 1 else ()
    start = "".join(char for char, other in takewhile(lambda pair: pair[0] == pair[1], ends)).rsplit(" ", 3)[0]
    skip = len(start) if len(start) > COMMON else 0
    return [None if line is None else _middle_out("…" * bool(skip) + line[skip:]) for line in lines]


def _head(pair: Mapping[str, Any]) -> str:
    when = f", {moment(pair['time'])}" if pair["time"] else ""
    if pair["outcome"] is None:
        return f"failed: {pair['reason']}{when}"
    if pair["outcome"] == "same":
        return f"same{when}"
    why = f" ({pair['reason']})" if pair["reason"] else ""
    return f"{pair['outcome']}{why}, d = {pair['d']:+.2f}{when}"


def _show(console: Console, pair: Mapping[str, Any], text: str | None) -> None:
    wide = console.width >= WIDE and pair["current"] != pair["candidate"]
    told = [("input", plain(text, GONE))]
    if pair["judge"] and pair["d"]:  # where it changed its mind, what it said first is no reason
        told.append(("judge", f"{_cut(plain(pair['judge']))} (A: current model, B: card)"))
    fields = [*_fields(pair["current"], pair["candidate"])]
    if not wide:
        told += [row for field in fields for row in _stacked(*field)]
    console.print(Padding(_grid(told), (0, 0, 0, INDENT)))
    if wide:
        console.print(Padding(_columns(fields), (0, 0, 0, INDENT)))


def _fields(current: str | None, card: str) -> Iterator[tuple[str, str, str]]:
    """Where the answers are JSON what differs, each field with what both have in it; else the whole answers."""
    left, right = (parse_json(text) if text else None for text in (current, card))
    found = [*differences(left, right)] if isinstance(left, dict | list) and isinstance(right, dict | list) else []
    for each in found[:MOST_FIELDS]:
        yield plain(each.pointer, "/"), _value(each.incumbent), _value(each.candidate)
    if len(found) > MOST_FIELDS:
        yield f"and {len(found) - MOST_FIELDS} more", "", ""
    if not found:
        yield "", _cut(plain(current, GONE if current is None else NONE)), _cut(plain(card))


def _value(value: Any) -> str:
    return "(missing)" if value is MISSING else _cut(plain(json.dumps(value, ensure_ascii=False)))


def _stacked(field: str, left: str, right: str) -> Iterator[tuple[str, str]]:
    if left == right:
        yield ("both", left) if left else ("", field)
        return
    if field:
        yield "field", field
    yield CURRENT, left
    yield CARD, right


def _grid(rows: Sequence[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(min_width=len(CURRENT))
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(Text(label, style="dim"), Text(text))
    return grid


def _columns(pairs: Sequence[tuple[str, str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(min_width=len(CURRENT), max_width=30, overflow="fold")
    for _ in (CURRENT, CARD):
        grid.add_column(ratio=1, overflow="fold")
    grid.add_row("", *(Text(title, style="dim") for title in (CURRENT, CARD)))
    for field, left, right in pairs:
        grid.add_row(Text(field), Text(left), Text(right))
    return grid


def plain(text: str | None, instead: str = NONE) -> str:
    """Without what a terminal would obey: control characters, and those that turn the direction of what follows."""
    shown = "".join(char if char.isprintable() or char == "\n" else " " if char == "\t" else "�" for char in text or "")
    return shown.strip() or instead


def _cut(text: str) -> str:
    more = len(text) - ANSWER_CHARS
    return text if more <= 0 else f"{text[:ANSWER_CHARS]}… ({more:,} more characters, see --json)"


def _middle_out(line: str) -> str:
    if len(line) <= INPUT_CHARS:
        return line
    return f"{line[:HEAD_CHARS]} … {line[HEAD_CHARS - INPUT_CHARS :]}"
