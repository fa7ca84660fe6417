"""Requests with another instruction than the one they were made from: none belongs to its original's task.

Kinds: `a` in a literal or at its end, `b` anywhere in a text, data included, `c` in tools or the response's schema.
"""

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, Literal

import yaml

from bench.corpus import shapes
from bench.corpus.draft import Draft, Labelled, Request
from bench.corpus.text import Literal as Shared
from bench.corpus.text import Text

HERE = Path(__file__).parent
Kind = Literal["a", "b", "c"]
KINDS: tuple[Kind, ...] = ("a", "b", "c")
WORD = re.compile(r"(?<=\S)(?=\s)|(?<=[、。])(?=.)")
SENTENCE = re.compile(r"(?<=[.!?:。])(?=\s|$)|(?<=。)|(?=\n)")
TOLD = re.compile(r"[^.!?:。\n]{8,}[.!?:。]+[ \n]*")  # a sentence; of three words or more, it asks for something


@dataclass(frozen=True)
class Edit:
    kind: Kind
    how: str
    original: Labelled
    request: Request


@cache
def instructions() -> list[str]:
    groups = yaml.safe_load((HERE / "instructions.yaml").read_text())
    return list(chain.from_iterable(groups.values()))


@cache
def _negations() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(found), put) for found, put in yaml.safe_load((HERE / "negations.yaml").read_text())]


def edits(of: Sequence[Labelled], seed: int) -> Iterator[Edit]:
    """One of each kind for each request; none of kind a where nobody knows the literals."""
    for number, original in enumerate(of):
        for kind in KINDS:
            random = Random(f"{seed} {original.type} {number} {kind}")
            if kind == "a" and original.draft:
                how, request = _in_literal(original.draft, random)
            elif kind == "b" and any(_texts(original.request)):
                how, request = _anywhere(original.request, random)
            elif kind == "c":
                how, request = shapes.edited(original.request, random)
            else:
                continue
            yield Edit(kind, how, original, request)


Change = Callable[[str, Random], str | None]
"""A literal's new text; None where there is nothing to change."""


def _in_literal(draft: Draft, random: Random) -> tuple[str, Request]:
    """Some literals have nothing to be removed or negated: adding at an end is always possible."""
    changes: list[tuple[str, Change]] = [("removed", _removed), ("negated", _negated), ("added", _added)]
    hows = [*random.sample(changes, 3), ("added at an end", _added_at_end)]
    if random.random() < 0.25:
        hows = hows[-1:]
    for how, change in hows:
        places = list(_literals(draft))
        for turn, text, at in random.sample(places, len(places)):
            literal = draft.turns[turn].texts[text][at].text
            if (new := change(literal, random)) is not None:
                return how, _with(draft, turn, text, at, new).request()
    raise ValueError("a request without a literal")


def _literals(draft: Draft) -> Iterator[tuple[int, int, int]]:
    for turn_number, turn in enumerate(draft.turns):
        for text_number, text in enumerate(turn.texts):
            for at, segment in enumerate(text):
                if isinstance(segment, Shared):
                    yield turn_number, text_number, at


def _with(draft: Draft, turn: int, text: int, at: int, new: str) -> Draft:
    segments: Text = draft.turns[turn].texts[text]
    texts = list(draft.turns[turn].texts)
    texts[text] = (*segments[:at], Shared(new), *segments[at + 1 :])
    turns = list(draft.turns)
    turns[turn] = replace(turns[turn], texts=texts)
    return replace(draft, turns=turns)


def _removed(literal: str, random: Random) -> str | None:
    told = [found for found in TOLD.finditer(literal) if len(found[0].split()) > 2 or not found[0].isascii()]
    if not told:
        return None
    gone = random.choice(told)
    return literal[: gone.start()] + literal[gone.end() :]


def _negated(literal: str, random: Random) -> str | None:
    possible = [(pattern, put) for pattern, put in _negations() if pattern.search(literal)]
    if not possible:
        return None
    pattern, put = random.choice(possible)
    return pattern.sub(put, literal, count=1)


def _added(literal: str, random: Random) -> str:
    return _inserted(literal, random.choice(_boundaries(literal, random)), random)


def _added_at_end(literal: str, random: Random) -> str:
    """Where the data begins, or the message ends."""
    instruction = random.choice(instructions())
    return f"{literal}{instruction} " if literal[-1].isspace() else f"{literal} {instruction}"


def _boundaries(text: str, random: Random) -> list[int]:
    boundary = random.choice((WORD, SENTENCE))
    return [0, *(found.start() for found in boundary.finditer(text)), len(text)]


def _inserted(text: str, at: int, random: Random) -> str:
    instruction = random.choice(instructions())
    before, after = text[:at], text[at:]
    start = "" if not before or before[-1].isspace() else " "
    end = "" if not after or after[0].isspace() else " "
    return f"{before}{start}{instruction}{end}{after}"


def _anywhere(request: Request, random: Random) -> tuple[str, Request]:
    edited = copy.deepcopy(dict(request))
    role, holder, key = random.choice(list(_texts(edited)))
    holder[key] = _inserted(holder[key], random.choice(_boundaries(holder[key], random)), random)
    return f"inserted into {role}", edited


def _texts(request: Request) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Where a text can be changed: its message's role, what holds it, and under which key."""
    for message in request["messages"]:
        content = message.get("content")
        if isinstance(content, str):
            yield message["role"], message, "content"
        elif isinstance(content, list):
            yield from ((message["role"], part, "text") for part in content if isinstance(part.get("text"), str))
