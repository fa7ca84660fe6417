"""Answers made worse on purpose, from real ones: what a judge has to notice. Deterministic, and pure.

Subtle operators and gross ones take turns, so that no calibration consists of gross errors only.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from compiler.score import Answer, Pair, Question, parse_json, score
from compiler.task import Contract, Kind
from compiler.worsen import CODE, JSON, TEXT, Worsen, exchanged_field, without_field, worse_field

RULES = "degrade.v1"
TURNS = 6  # times that an operator may be used on one answer, each time in another place
PROMISE = "Sure, I will take care of that for you."


@dataclass(frozen=True)
class Recorded:
    """An input, and what the incumbent answered to it."""

    input: str
    answer: Answer


@dataclass(frozen=True)
class Planted:
    operator: str
    input: str
    degraded: Answer
    question: Question


@dataclass(frozen=True)
class Material:
    """What an operator has to work with: `other` is the incumbent's answer to another input, if there is one."""

    other: Answer | None
    labels: tuple[str, ...]
    seed: int


Operator = Callable[[Answer, Material], Answer | None]


def plant(recorded: Sequence[Recorded], contract: Contract, *, at_most: int) -> list[Planted]:
    """Degradations that only a judge can tell, operators and answers in turn, none twice.

    Left out is what production would notice by itself, and what is no different: no judge is asked about those.
    """
    streams = [_planted(name, way, recorded, contract) for name, way in OPERATORS[contract.kind].items()]
    found: dict[tuple[str, str], Planted] = {}
    while streams and len(found) < at_most:
        for stream in [*streams]:
            if (planted := next(stream, None)) is None:
                streams.remove(stream)
            elif len(found) < at_most:
                found.setdefault((planted.input, planted.question.candidate), planted)
    return [*found.values()]


def _planted(name: str, way: Operator, recorded: Sequence[Recorded], contract: Contract) -> Iterator[Planted]:
    """By one operator, each answer once before any twice; operators begin with different answers."""
    labels = contract.labels or tuple(sorted({one.answer.text.strip() for one in recorded}))
    for turn in range(TURNS):
        start = _seed(name, str(turn))
        for i in range(len(recorded)):
            one = recorded[(start + i) % len(recorded)]
            seed = _seed(name, one.input, str(turn))
            degraded = way(one.answer, Material(_other(one, recorded, seed), labels, seed))
            if degraded is not None and (planted := _asked(name, one, degraded, contract)):
                yield planted


def _other(one: Recorded, recorded: Sequence[Recorded], seed: int) -> Answer | None:
    """Of another input: the same one may have come twice."""
    others = (recorded[(seed + i) % len(recorded)] for i in range(len(recorded)))
    return next((other.answer for other in others if other.input != one.input), None)


def _asked(name: str, one: Recorded, degraded: Answer, contract: Contract) -> Planted | None:
    found = score(Pair(one.input, one.answer, degraded), contract)
    return Planted(name, one.input, degraded, found) if isinstance(found, Question) else None


def _seed(*parts: str) -> int:
    text = "\0".join(parts).encode("utf-8", "replace")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def _other_input(answer: Answer, material: Material) -> Answer | None:
    return material.other


def _wrong_label(answer: Answer, material: Material) -> Answer | None:
    others = [label for label in material.labels if label != answer.text.strip()]
    return _text(others[material.seed % len(others)]) if others else None


def _by_text(way: Worsen, answer: Answer, material: Material) -> Answer | None:
    worse = way(answer.text, material.seed)
    return None if worse is None or answer.tool_calls else _text(worse)


def _by_field(way: Callable[[Any, int], Any], answer: Answer, material: Material) -> Answer | None:
    return _json(way(parse_json(answer.text), material.seed))


def _exchanged(answer: Answer, material: Material) -> Answer | None:
    other = parse_json(material.other.text) if material.other else None
    return _json(exchanged_field(parse_json(answer.text), other, material.seed))


def _by_argument(way: Callable[[Any, int], Any], answer: Answer, material: Material) -> Answer | None:
    """Of one call."""
    if not answer.tool_calls:
        return None
    at = material.seed % len(answer.tool_calls)
    call = answer.tool_calls[at]
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return None
    worse = way(parse_json(function["arguments"]), material.seed)
    return None if worse is None else _calling(answer, at, {**function, "arguments": json.dumps(worse)})


def _wrong_tool(answer: Answer, material: Material) -> Answer | None:
    """That another input was answered with."""
    if not answer.tool_calls or not material.other or not material.other.tool_calls:
        return None
    mine, theirs = answer.tool_calls[0].get("function"), material.other.tool_calls[0].get("function")
    if not isinstance(mine, Mapping) or not isinstance(theirs, Mapping) or mine.get("name") == theirs.get("name"):
        return None
    return _calling(answer, 0, {**mine, "name": theirs.get("name")})


def _without_call(answer: Answer, material: Material) -> Answer | None:
    calls = answer.tool_calls
    gone = material.seed % max(1, len(calls))
    return replace(answer, tool_calls=calls[:gone] + calls[gone + 1 :]) if len(calls) > 1 else None


def _promised(answer: Answer, material: Material) -> Answer | None:
    """Words where a call was due."""
    return _text(PROMISE) if answer.tool_calls else None


def _calling(answer: Answer, at: int, function: Mapping[str, Any]) -> Answer:
    calls = [*answer.tool_calls]
    calls[at] = {**calls[at], "function": function}
    return replace(answer, tool_calls=tuple(calls))


def _text(text: str) -> Answer:
    return Answer(text, finish_reason="stop")


def _json(data: Any) -> Answer | None:
    return None if data is None else _text(json.dumps(data, ensure_ascii=False))


OPERATORS: Mapping[Kind, Mapping[str, Operator]] = {
    "label": {"wrong_label": _wrong_label},
    "json": {
        "other_value": _exchanged,
        **{name: partial(_by_field, partial(worse_field, way)) for name, way in JSON.items()},
        "without_field": partial(_by_field, without_field),
        "other_input": _other_input,
    },
    "tool_call": {
        **{name: partial(_by_argument, partial(worse_field, way)) for name, way in JSON.items()},
        "without_argument": partial(_by_argument, without_field),
        "wrong_tool": _wrong_tool,
        "without_call": _without_call,
        "promised": _promised,
        "other_input": _other_input,
        **{name: partial(_by_text, way) for name, way in TEXT.items() if name in ("negated", "cut_off")},
    },
    "code": {**{name: partial(_by_text, way) for name, way in CODE.items()}, "other_input": _other_input},
    "text": {**{name: partial(_by_text, way) for name, way in TEXT.items()}, "other_input": _other_input},
}
