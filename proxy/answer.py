"""What a model said, read off the bytes of its answer, streamed or not."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from proxy import sse
from proxy.unpack import dicts, json_object


@dataclass
class Answer:
    """`finish`: why it ended; empty where its end did not come. `choices`: how many answers there were."""

    text: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    finish: str = ""
    choices: int = 0


def read_answer(body: bytes, *, streamed: bool) -> Answer:
    """An empty Answer of what can't be read."""
    return _streamed(sse.objects(body)) if streamed else whole_answer(json_object(body))


def whole_answer(value: dict[str, Any]) -> Answer:
    """Of a completion's object."""
    choices = value.get("choices")
    if not isinstance(choices, list):
        return Answer()
    message = sse.choice_of(value).get("message")
    message = message if isinstance(message, dict) else {}
    calls = dicts(message.get("tool_calls"))
    if isinstance(called := message.get("function_call"), dict):
        calls = [{"type": "function", "function": called}]
    return Answer(_text(message.get("content")), calls, _text(sse.choice_of(value).get("finish_reason")), len(choices))


def _streamed(values: Iterable[dict[str, Any]]) -> Answer:
    answer, pieces, calls, seen = Answer(), list[str](), dict[int, dict[str, Any]](), set[Any]()
    for value in values:
        for choice in dicts(value.get("choices")):
            seen.add(choice.get("index", 0))
            delta = choice.get("delta")
            delta = delta if isinstance(delta, dict) else {}
            pieces.append(_text(delta.get("content")))
            add_calls(calls, delta)
            answer.finish = _text(choice.get("finish_reason")) or answer.finish
    answer.text, answer.choices = "".join(pieces), len(seen)
    answer.tool_calls = [calls[index] for index in sorted(calls)]
    return answer


def add_calls(calls: dict[int, dict[str, Any]], delta: dict[str, Any]) -> None:
    """The first piece of a call has its id and name; its arguments come in pieces."""
    pieces = dicts(delta.get("tool_calls"))
    if isinstance(called := delta.get("function_call"), dict):
        pieces = [{"index": 0, "function": called}]
    for piece in pieces:
        index, function = piece.get("index", 0), piece.get("function")
        function = function if isinstance(function, dict) else {}
        call = calls.setdefault(index if isinstance(index, int) else 0, {"type": "function", "function": {}})
        if _text(piece.get("id")):
            call["id"] = piece["id"]
        for name in ("name", "arguments"):
            call["function"][name] = call["function"].get(name, "") + _text(function.get(name))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
