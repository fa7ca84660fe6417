"""Whether an answer keeps its contract, and whether two answers are the same. Never fuzzy: 1,250 is not 1,550."""

import json
from typing import Any

from compiler.task import Contract


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


def same(answer: str, expected: str, contract: Contract) -> bool | None:
    """None where only a judge could tell (free text that differs)."""
    if contract.kind == "json":
        left, right = parse_json(answer), parse_json(expected)
        return left is not None and _equal(left, right)
    if answer.strip() == expected.strip():
        return True
    return False if contract.kind == "label" else None


def parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a small model that loops on "[" nests deeper than the parser goes
        return None


def _equal(left: Any, right: Any) -> bool:
    """As JSON: 1 is 1.0 but never true."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
