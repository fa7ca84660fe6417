"""Texts side by side: what all of them share becomes literal, the rest are gaps. Pure strings, no thresholds but one.

Typed values (an e-mail address, a date) stand in the texts as one character each, `canonical`, so that they align.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compiler.redaction.spans import TYPES, spans

FIRST = 0xE000  # of the private characters that stand for typed values
BREAK = "\ue0ff"  # between messages
KINDS = {name: chr(FIRST + number) for number, name in enumerate(TYPES)}
KIND_OF = {char: name for name, char in KINDS.items()}
PRIVATE = re.compile("[\ue000-\ue0ff]")
TOKEN = re.compile(r"[^\W\u2e80-\u9fff\uf900-\uffef]+|[\u2e80-\u9fff\uf900-\uffef]|\n+|[^\w\s]")
WINDOW = 3  # tokens that make an anchor
LONG = 8_192  # characters: of a longer value only the ends are looked at for anchors


def canonical(texts: Sequence[str]) -> tuple[str, list[str]] | None:
    """The messages joined by BREAK, with a private character for each typed value, and those values in their order;
    None where a text has such characters itself."""
    joined: list[str] = []
    values: list[str] = []
    for text in texts:
        if PRIVATE.search(text):
            return None
        at = 0
        for span in spans(text):
            joined += (text[at : span.start], KINDS[span.type])
            values.append(text[span.start : span.end])
            at = span.end
        joined += (text[at:], BREAK)
    return "".join(joined[:-1]), values


@dataclass
class Aligned:
    """`literals` stand around the gaps and are one more; a gap has a value for every text."""

    literals: list[str]
    gaps: list[list[str]]

    def of(self, members: Sequence[int]) -> "Aligned":
        return Aligned(list(self.literals), [[gap[i] for i in members] for gap in self.gaps])

    def align(self) -> None:
        """Until nothing more is shared by all."""
        while True:
            literals, gaps = [self.literals[0]], []
            for gap, after in zip(self.gaps, self.literals[1:], strict=True):
                parts = _shared_parts(gap)
                for literal, values in parts:
                    literals[-1] += literal
                    if any(values):
                        gaps.append(values)
                        literals.append("")
                literals[-1] += after
            done = len(gaps) == len(self.gaps) and literals == self.literals
            self.literals, self.gaps = literals, gaps
            if done:
                return

    def message_of(self, number: int) -> int:
        """Which message a gap stands in."""
        return sum(literal.count(BREAK) for literal in self.literals[: number + 1])

    def varying(self) -> set[int]:
        """The messages that have gaps."""
        return {self.message_of(number) for number in range(len(self.gaps))}

    def own_literals(self, number: int) -> str:
        """The literal text of the message that a gap stands in."""
        return self.said()[self.message_of(number)]

    def by_message(self) -> list[list[str]]:
        """Each message's literals, one more than its gaps."""
        messages: list[list[str]] = [[]]
        for literal in self.literals:
            first, *others = literal.split(BREAK)
            messages[-1].append(first)
            messages += [[other] for other in others]
        return messages

    def said(self) -> list[str]:
        """Each message's literal text, a line's end for a gap."""
        return ["\n".join(literals) for literals in self.by_message()]


def apart(texts: Sequence[str]) -> Aligned:
    """The texts of requests, each its messages joined by BREAK, as one gap a message."""
    messages = [text.split(BREAK) for text in texts]
    count = len(messages[0])
    return Aligned(["", *[BREAK] * (count - 1), ""], [[m[i] for m in messages] for i in range(count)])


def _shared_parts(values: Sequence[str]) -> list[tuple[str, list[str]]]:
    """[(literal, the values behind it)], the last one with what all end with as its literal and nothing behind."""
    prefix = common_prefix(values)
    rest = [value[len(prefix) :] for value in values]
    suffix = common_suffix(rest)
    core = [value[: len(value) - len(suffix)] for value in rest]
    parts = [(prefix, core)]
    for anchor in _anchors(core):
        last = parts[-1][1]
        cuts = [value.partition(anchor) for value in last]
        parts[-1] = (parts[-1][0], [cut[0] for cut in cuts])
        parts.append((anchor, [cut[2] for cut in cuts]))
    return [*parts, (suffix, [""] * len(values))]


def common_prefix(values: Sequence[str]) -> str:
    """What all begin with, never a part of a word."""
    low, high = min(values), max(values)
    size = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    if size and in_word(low[size - 1]) and any(len(v) > size and in_word(v[size]) for v in values):
        while size and in_word(low[size - 1]):
            size -= 1
    return low[:size]


def common_suffix(values: Sequence[str]) -> str:
    return common_prefix([value[::-1] for value in values])[::-1]


def in_word(char: str) -> bool:
    """Whether a word may go on behind it; scripts without spaces have no words here."""
    return (char.isalnum() or char == "_") and not ("\u2e80" <= char <= "\u9fff" or "\uf900" <= char <= "\uffef")


def _anchors(values: Sequence[str]) -> list[str]:
    """Texts of a few words that every value has exactly once, in the same order."""
    ordered = sorted(set(values), key=lambda value: (len(value), value))
    if not ordered[0]:
        return []
    found: list[str] = []
    run, at = "", 0
    for start, end in _windows(ordered[0]):
        window = ordered[0][start:end]
        wider = ordered[0][at:end]
        if run and _in_all(wider, ordered):
            run = wider
        elif _in_all(window, ordered):
            found += [run] if run else []
            run, at = window, start
        elif run:
            found.append(run)
            run = ""
    return _in_order([*found, run] if run else found, ordered)


def _windows(value: str) -> Iterator[tuple[int, int]]:
    tokens = [(m.start(), m.end(), m[0]) for m in TOKEN.finditer(value)]
    for i in range(len(tokens) - WINDOW + 1):
        start, end = tokens[i][0], tokens[i + WINDOW - 1][1]
        near = len(value) <= LONG or end < LONG // 2 or start > len(value) - LONG // 2
        if near and any(t[2][0].isalpha() for t in tokens[i : i + WINDOW]):
            yield start, end


def _in_all(anchor: str, values: Sequence[str]) -> bool:
    return all(value.count(anchor) == 1 and _whole(anchor, value) for value in values)


def _whole(anchor: str, value: str) -> bool:
    """Whether it begins and ends where words do."""
    at = value.index(anchor)
    end = at + len(anchor)
    before = at > 0 and in_word(value[at - 1]) and in_word(anchor[0])
    behind = end < len(value) and in_word(value[end]) and in_word(anchor[-1])
    return not before and not behind


def _in_order(anchors: Sequence[str], values: Sequence[str]) -> list[str]:
    kept: list[str] = []
    reached = [0] * len(values)
    for anchor in anchors:
        places = [value.index(anchor) for value in values]
        if all(place >= least for place, least in zip(places, reached, strict=True)):
            kept.append(anchor)
            reached = [place + len(anchor) for place in places]
    return kept
