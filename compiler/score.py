"""Whether an answer may be served, and how much worse a candidate's answer is. Never fuzzy: 1,250 is not 1,550.

d is in [-1, 1], +1: the candidate's answer is worse. What two answers alone can settle is settled here; the rest is a
Question for a judge. Pure.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from compiler.fields import MISSING, Difference, differences, equal, shown
from compiler.task import Contract, Kind

RULES = "score.v2"  # what d means: another number where the same pair could get another d
HELD_CHARS = 1_024  # of a streamed JSON answer are held back before any is shown: about 256 tokens
FENCE = "```"
CALL_KEYS = {"name", "function", "custom"}
CALLED = (None, "stop", "tool_calls", "function_call")

Outcome = Literal["same", "expected", "judged", "different", "broken", "fallback", "unjudged"]


def breach(text: str, finish_reason: str | None, contract: Contract) -> str | None:
    """Why an answer may not be served, as a short word for a metric; None if it keeps the contract."""
    if not text.strip():
        return "empty"
    if finish_reason not in (None, "stop"):
        return "finish_reason"
    if contract.kind == "label":
        return None if text.strip() in contract.labels else "label"
    if contract.kind == "json":
        data = parse_json(text)
        return None if isinstance(data, dict) and set(contract.keys) <= set(data) else "json"
    return None


def shown_early(kind: Kind, chars: int) -> bool:
    """Whether a stream is shown before its end is known: what comes after can't be taken back any more."""
    return kind in ("code", "text") or (kind == "json" and chars > HELD_CHARS)


def same(answer: str, expected: str, contract: Contract) -> bool | None:
    """None where only a judge could tell (text or code that differs)."""
    if contract.kind == "json":
        left, right = parse_json(answer), parse_json(expected)
        return left is not None and equal(left, right)
    if contract.kind == "code":
        return plain_code(answer) == plain_code(expected) or None
    if answer.strip() == expected.strip():
        return True
    return False if contract.kind == "label" else None


def parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a small model that loops on "[" nests deeper than the parser goes
        return None


def is_code(text: str) -> bool:
    """Whether nothing stands around a fence."""
    return _inside(text) is not None


def plain_code(text: str) -> str:
    """Without what certainly means nothing: a fence around all of it, whitespace at the ends of lines and of the text.

    Behind a backslash whitespace stays: with it, a line goes on no longer.
    """
    inner = _inside(text)
    plain = text if inner is None else inner
    return re.sub(r"(?<![\\ \t\r])[ \t\r]+$", "", plain, flags=re.MULTILINE).rstrip("\n")


def _inside(text: str) -> str | None:
    """Of the one fence that is around all of it."""
    first, _, rest = text.strip().partition("\n")
    inner, _, last = rest.rpartition("\n")
    fenced = first.startswith(FENCE) and last.strip() == FENCE and FENCE not in first[len(FENCE) :] + inner
    return inner if fenced else None


@dataclass(frozen=True)
class Answer:
    """One arm's answer, as a completion's message has it. `refused`: in its own field."""

    text: str
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish_reason: str | None = None
    refused: bool = False


@dataclass(frozen=True)
class Pair:
    """One input, answered by both. `candidate` None: it failed, or answered later than anybody would wait.

    `expected`: what a user said the answer is; then both are held against it.
    """

    input: str
    incumbent: Answer
    candidate: Answer | None
    expected: str | None = None
    streamed: bool = False


@dataclass(frozen=True)
class Scored:
    """`outcome` is a metric's label, `reason` one word more. `said`: the judge's own words, where A is the incumbent's
    answer.

    `fallback`: production would have noticed before the first byte, and the incumbent would have answered. Its d is 0,
    because what the user gets is the incumbent's answer; what it costs in money and time belongs to their gates.
    `broken`: it would not have been noticed. `unjudged`: a judge was needed and gave no verdict; counted as worse.
    `different`: the same where there is no judge at all.
    """

    d: float
    outcome: Outcome
    reason: str = ""
    said: str = field(default="", compare=False)


@dataclass(frozen=True)
class Question:
    """What only a judge can tell: of JSON, only the fields that differ. d = settled + weight × verdict."""

    input: str
    incumbent: str
    candidate: str
    expected: str | None = None
    weight: float = 1.0
    settled: float = 0.0

    def answered(self, verdict: float, said: str = "") -> Scored:
        return self._scored(verdict, "judged", said=said)

    def unjudged(self, reason: str) -> Scored:
        """Counted as worse. To drop it would make the bound understate the loss wherever a judge fails more often on
        bad answers than on good ones; to call it a tie would do so wherever it fails at all."""
        return self._scored(1.0, "unjudged", reason)

    def without_judge(self) -> Scored:
        """Every difference counts as worse, so that κ is 1."""
        return self._scored(1.0, "different")

    def _scored(self, verdict: float, outcome: Outcome, reason: str = "", said: str = "") -> Scored:
        return Scored(_clamped(self.settled + self.weight * verdict), outcome, reason, said)


@dataclass(frozen=True)
class Scoring:
    """A task's one definition of d, on its card before the first pair. Pairs of two definitions are two proofs."""

    kind: Kind
    judge: str | None = None  # the model; None: every difference is a loss
    judge_rules: str | None = None
    rules: str = RULES

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


def score(pair: Pair, contract: Contract) -> Scored | Question:
    candidate = pair.candidate
    if candidate is None:
        return Scored(0.0, "fallback", "failed")
    if found := caught(candidate, contract, streamed=pair.streamed):
        return Scored(0.0, "fallback", found)
    return _BY_KIND[contract.kind](pair, candidate)


def caught(answer: Answer, contract: Contract, *, streamed: bool) -> str | None:
    """Why production would let the incumbent answer instead, in the words of `breach`; None if it would not notice.

    It must notice no more here than on the path, or a loss that users see would count as none.
    """
    found = problem(answer, contract)
    too_late = streamed and answer.text.strip() and shown_early(contract.kind, len(answer.text))
    return None if too_late else found


def problem(answer: Answer, contract: Contract) -> str | None:
    """Of a whole answer, as `breach` of its text."""
    if answer.refused:
        return "refusal"
    finish = answer.finish_reason or None
    if not answer.tool_calls:
        return breach(answer.text, finish, contract)
    if contract.kind != "tool_call":
        return "tool_calls"
    if finish not in CALLED:
        return "finish_reason"
    return "arguments" if _broken_call(answer) else None


def _label(pair: Pair, candidate: Answer) -> Scored | Question:
    return _whole(pair, candidate, lambda text: text.strip(), closed=True)


def _code(pair: Pair, candidate: Answer) -> Scored | Question:
    return _whole(pair, candidate, plain_code)


def _text(pair: Pair, candidate: Answer) -> Scored | Question:
    """What the user expects is no measure here, but the judge sees it. Equal answers are a tie without being asked."""
    if pair.incumbent.text.strip() == candidate.text.strip():
        return Scored(0.0, "same")
    return Question(pair.input, pair.incumbent.text, candidate.text, pair.expected)


def _whole(pair: Pair, candidate: Answer, plain: Callable[[str], str], *, closed: bool = False) -> Scored | Question:
    wanted = None if pair.expected is None else plain(pair.expected)
    settled = _settled(plain(pair.incumbent.text), plain(candidate.text), wanted, closed=closed)
    return settled or Question(pair.input, pair.incumbent.text, candidate.text, pair.expected)


def _settled(incumbent: Any, candidate: Any, wanted: Any, *, closed: bool = False) -> Scored | None:
    """Without a judge, if that can be. `closed`: what differs from what is wanted is wrong; else it may be right in
    another wording."""
    if equal(incumbent, candidate):
        return Scored(0.0, "same")
    if wanted is None:
        return None
    right, candidate_right = equal(incumbent, wanted), equal(candidate, wanted)
    return Scored(float(right) - candidate_right, "expected") if right or candidate_right or closed else None


def _json(pair: Pair, candidate: Answer) -> Scored | Question:
    left, right = parse_json(pair.incumbent.text), parse_json(candidate.text)
    if left is None and pair.incumbent.text.strip() == candidate.text.strip():
        return Scored(0.0, "same")
    if right is None and left is not None:
        return Scored(1.0, "broken", "json")
    if left is None or right is None:
        return Question(pair.input, pair.incumbent.text, candidate.text, pair.expected)
    expected = MISSING if pair.expected is None or (told := parse_json(pair.expected)) is None else told
    found = [*differences(left, right, expected)]
    if not found:
        return Scored(0.0, "same")
    verdicts = [(difference, _by_expected(difference)) for difference in found]
    settled = math.fsum(d.weight * verdict for d, verdict in verdicts if verdict is not None)
    open_ = [difference for difference, verdict in verdicts if verdict is None]
    if not open_:
        return Scored(_clamped(settled), "expected")
    return Question(
        pair.input,
        _written(shown(open_, "incumbent")),
        _written(shown(open_, "candidate")),
        pair.expected if expected is MISSING else _written(shown(open_, "expected")),
        math.fsum(difference.weight for difference in open_),
        settled,
    )


def _by_expected(found: Difference) -> float | None:
    """None where it doesn't tell: both differ from it, and words may say the same in another way."""
    if found.expected is MISSING:
        return None
    right, candidate_right = equal(found.incumbent, found.expected), equal(found.candidate, found.expected)
    worded = any(isinstance(v, str | list | dict) for v in (found.incumbent, found.candidate, found.expected))
    return float(right) - candidate_right if right or candidate_right or not worded else None


def _tool_call(pair: Pair, candidate: Answer) -> Scored | Question:
    """All calls in their order, and the text beside them."""
    left, right = said_by(pair.incumbent), said_by(candidate)
    wanted = None if pair.expected is None else said_by(expected_calls(pair.expected))
    return _settled(left, right, wanted) or Question(pair.input, _written(left), _written(right), pair.expected)


def said_by(answer: Answer) -> dict[str, Any]:
    """Name and arguments of its calls, whose ids mean nothing, and its text; without any call, it is a text."""
    return {"calls": [*map(_call, answer.tool_calls)], "text": answer.text.strip()}


def in_text(answer: Answer) -> str:
    """For a person to read: its text, or JSON where it calls tools."""
    return _written(said_by(answer)) if answer.tool_calls else answer.text


def expected_calls(expected: str) -> Answer:
    """A user's `expected` for a tool call: one call or a list of them, each OpenAI's or {"name", "arguments"}."""
    data = parse_json(expected)
    calls = [data] if isinstance(data, dict) else data
    if isinstance(calls, list) and all(
        isinstance(c, dict) and c.keys() & {"name", "function", "custom"} for c in calls
    ):
        return Answer("", tuple(calls))
    return Answer(expected)


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Of OpenAI's shape, function or custom, or only its inner part."""
    part = call.get("function") or call.get("custom") or call
    if not isinstance(part, Mapping):
        part = {}
    arguments = part.get("arguments", part.get("input"))
    parsed = parse_json(arguments) if isinstance(arguments, str) else arguments
    return {"name": part.get("name"), "arguments": arguments if parsed is None else parsed}


def _broken_call(answer: Answer) -> bool:
    """Whether a function was called with arguments that no program can read."""
    calls = [_call(call) for call in answer.tool_calls if "custom" not in call]
    return any(not isinstance(call["arguments"], dict) for call in calls)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _clamped(d: float) -> float:
    return max(-1.0, min(1.0, d))


_BY_KIND: dict[Kind, Callable[[Pair, Answer], Scored | Question]] = {
    "label": _label,
    "json": _json,
    "tool_call": _tool_call,
    "code": _code,
    "text": _text,
}
