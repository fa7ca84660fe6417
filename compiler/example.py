"""Examples: read from a user's file, split by order, and the contract that can be read off them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from compiler.errors import ExampleError
from compiler.score import is_code
from compiler.task import Contract

MAX_LABELS = 200
MAX_LABEL_CHARS = 80
DEV_AT_MOST, HOLDOUT_AT_MOST = 32, 40
SHOWN_AT_MOST, FREE_AT_MOST = 24, 5  # demonstrations: of labels, and of answers that have none
SHORT_ANSWER = 120  # characters
SHORT = 2_000  # characters of a demonstration: it is paid for on every call


@dataclass(frozen=True)
class Example:
    """`times`: how often its input came."""

    input: str
    expected: str
    times: int = 1


@dataclass(frozen=True)
class Split:
    """By time. `reflect` may be shown to models and in prompts, `dev` chooses between prompts, and `holdout` is sealed:
    looked at once, for the one that was chosen."""

    reflect: tuple[Example, ...]
    dev: tuple[Example, ...]
    holdout: tuple[Example, ...]

    @property
    def every(self) -> tuple[Example, ...]:
        return (*self.reflect, *self.dev, *self.holdout)


def load_examples(path: Path) -> list[Example]:
    """Read JSONL: `{"input", "expected"}` a line, or OpenAI's fine-tuning form `{"messages": [...]}`.

    Raises ExampleError with file and line; blank lines are skipped, repeated inputs kept once.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ExampleError("no such file; `examples` is relative to the configuration file", path=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ExampleError(f"can't be read as UTF-8 text: {error}", path=str(path)) from error
    found: dict[str, Example] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            example = _parse(line, str(path), number)
            found.setdefault(example.input, example)
    if not found:
        raise ExampleError(
            'holds no example; write one JSON object a line: {"input": …, "expected": …}', path=str(path)
        )
    return list(found.values())


def _parse(line: str, path: str, number: int) -> Example:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise ExampleError(f"not JSON ({error.msg} at column {error.colno})", path=path, line=number) from None
    try:
        return example_from_json(data)
    except ExampleError as error:
        raise ExampleError(str(error), path=path, line=number) from None


def example_from_json(data: Any) -> Example:
    """One example in either accepted form; `expected` may be any JSON value, text is what the model must answer."""
    if not isinstance(data, dict):
        raise ExampleError(f"an example is a JSON object, this is {type(data).__name__}")
    if "messages" in data:
        return _from_messages(data["messages"])
    missing = [key for key in ("input", "expected") if key not in data]
    if missing:
        raise ExampleError(f'lacks {" and ".join(missing)}; an example is {{"input": …, "expected": …}}')
    source, expected = data["input"], data["expected"]
    if not isinstance(source, str) or not source.strip():
        raise ExampleError("`input` must be text that is not empty")
    if expected is None or (isinstance(expected, str) and not expected.strip()):
        raise ExampleError("`expected` must not be empty")
    return Example(source, expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False))


def _from_messages(messages: Any) -> Example:
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise ExampleError("`messages` must be a list of objects")
    turns = [m for m in messages if m.get("role") not in ("system", "developer")]
    if [m.get("role") for m in turns] != ["user", "assistant"] or not all(
        isinstance(m.get("content"), str) for m in turns
    ):
        raise ExampleError("`messages` must hold one user text and then one assistant text")
    return example_from_json({"input": turns[0]["content"], "expected": turns[1]["content"]})


def split(examples: Sequence[Example], *, enough: int) -> Split:
    """By order, oldest first. Where there are not `enough`, all may be shown and none is scored on."""
    if len(examples) < enough:
        return Split(tuple(examples), (), ())
    share = len(examples) * 3 // 10
    sealed = len(examples) - min(HOLDOUT_AT_MOST, share)
    shown = sealed - min(DEV_AT_MOST, share)
    return Split(tuple(examples[:shown]), tuple(examples[shown:sealed]), tuple(examples[sealed:]))


def read_contract(examples: Sequence[Example]) -> Contract:
    """The contract that all the examples keep: JSON objects, code in a fence, a small set of repeated short answers, or
    free text."""
    answers = [example.expected.strip() for example in examples]
    objects = [_object(answer) for answer in answers]
    if answers and all(o is not None for o in objects):
        return Contract("json", keys=tuple(sorted(set.intersection(*(set(o or {}) for o in objects)))))
    if answers and all(map(is_code, answers)):
        return Contract("code")
    counts = Counter(answers)
    short = all(len(a) <= MAX_LABEL_CHARS and "\n" not in a for a in counts)
    if answers and short and len(answers) >= 2 * len(counts) and len(counts) <= MAX_LABELS:
        return Contract("label", labels=tuple(sorted(counts)))
    return Contract("text")


def are_short(examples: Sequence[Example]) -> bool:
    """Whether the answers are such that two models may give the same ones to the letter: a line each."""
    return all(len(e.expected) <= SHORT_ANSWER and "\n" not in e.expected.strip() for e in examples)


def _object(answer: str) -> dict[str, Any] | None:
    try:
        data = json.loads(answer)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def choose_demonstrations(
    examples: Sequence[Example], contract: Contract, *, at_most: int = SHOWN_AT_MOST, random: Random | None = None
) -> tuple[Example, ...]:
    """Short, varied examples to show as chat turns: for labels round-robin over the labels, else in order; drawn at
    `random`, where it is given."""
    short = [e for e in examples if len(e.input) + len(e.expected) <= SHORT]
    if random:
        random.shuffle(short)
    if contract.kind != "label":
        return tuple(short[: min(at_most, FREE_AT_MOST)])
    by_label: dict[str, list[Example]] = {}
    for example in short:
        by_label.setdefault(example.expected.strip(), []).append(example)
    rounds = max(1, at_most // max(1, len(by_label)))
    chosen = [examples[i] for i in range(rounds) for examples in by_label.values() if i < len(examples)]
    return tuple(chosen[:at_most])
