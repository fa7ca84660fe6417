"""What kind of answers a task gives, from those in a log: it decides how many pairs a proof will take."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from compiler.example import MAX_LABEL_CHARS, MAX_LABELS
from compiler.task import Kind

ENOUGH = 20  # answers to tell it from


class Kinds:
    """Memory holds a task's different short answers, no more of them than make labels."""

    def __init__(self) -> None:
        self._answers: Counter[str] = Counter()
        self._objects: Counter[str] = Counter()
        self._short: Counter[str] = Counter()
        self._labels: dict[str, set[str]] = {}

    def add(self, task: str, response: Mapping[str, Any] | None) -> None:
        answer = _text(response)
        if not answer:
            return
        self._answers[task] += 1
        if answer.startswith("{") and _is_object(answer):
            self._objects[task] += 1
        elif len(answer) <= MAX_LABEL_CHARS and "\n" not in answer:
            self._short[task] += 1
            labels = self._labels.setdefault(task, set())
            if len(labels) <= MAX_LABELS:
                labels.add(answer)

    def of(self, task: str) -> Kind | None:
        """As `compiler.example.read_contract` tells it; None of too few answers."""
        total = self._answers[task]
        if total < ENOUGH:
            return None
        if self._objects[task] == total:
            return "json"
        labels = len(self._labels.get(task, ()))
        return "label" if self._short[task] == total and labels <= MAX_LABELS and 2 * labels <= total else "text"


def _text(response: Mapping[str, Any] | None) -> str:
    choices = (response or {}).get("choices")
    message = _first(choices).get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return content.strip() if isinstance(content, str) else ""


def _is_object(answer: str) -> bool:
    try:
        return isinstance(json.loads(answer), dict)
    except (ValueError, RecursionError):
        return False


def _first(choices: Any) -> Mapping[str, Any]:
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
