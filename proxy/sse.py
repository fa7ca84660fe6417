"""Server-sent events: cut a byte stream into events, and read what they say."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from proxy.unpack import json_object

DONE = b"[DONE]"
HEADS = 4  # events within which a model is named
TAIL = 4  # the usage event is the last one, or just before [DONE]
TAIL_BYTES = (2_048, 65_536)  # it is short, but where it carries the whole answer
BLANK_LINE = re.compile(rb"\n\n|\r\n\r\n|\r\r")
SAYS_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class Events:
    """Whole events, each with the blank line that ends it."""

    def __init__(self) -> None:
        self._rest = b""
        self._searched = 0  # bytes of the rest that hold no end: a long event is not searched again and again

    def feed(self, chunk: bytes) -> list[bytes]:
        data = self._rest + chunk
        found, start = [], 0
        for end in BLANK_LINE.finditer(data, self._searched):
            found.append(data[start : end.end()])
            start = end.end()
        self._rest = data[start:]
        self._searched = max(0, len(self._rest) - 3)
        return found

    def rest(self) -> bytes:
        rest, self._rest, self._searched = self._rest, b"", 0
        return rest


class WithoutUsage:
    """A filter for a client that did not ask for the usage event. Called with b"" at the end, for what has no end."""

    def __init__(self) -> None:
        self._events = Events()

    def __call__(self, chunk: bytes) -> bytes:
        found = self._events.feed(chunk) if chunk else [self._events.rest()]
        return b"".join([event for event in found if not _is_usage(event)])


def _is_usage(event: bytes) -> bool:
    if not SAYS_USAGE.search(event):
        return False
    value = parsed(event)
    return bool(value and value.get("choices") == [] and value.get("usage"))


def payload(event: bytes) -> bytes:
    return b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))


def parsed(event: bytes) -> dict[str, Any] | None:
    """The event's JSON object; None for [DONE], comments, an empty object and anything that isn't one."""
    data = payload(event)
    if not data or data == DONE:
        return None
    return json_object(data) or None


def split(stream: bytes) -> Iterator[bytes]:
    """Lazily: of a long stream mostly the first event is wanted."""
    start = 0
    for end in BLANK_LINE.finditer(stream):
        if (event := stream[start : end.start()]).strip():
            yield event
        start = end.end()
    if (rest := stream[start:]).strip():
        yield rest


def objects(stream: bytes) -> Iterator[dict[str, Any]]:
    return (value for event in split(stream) if (value := parsed(event)) is not None)


def usage_of(stream: bytes) -> dict[str, Any] | None:
    """The usage that the stream ended with, if it carried one. Reads only the tail, and more of it if need be."""
    for size in TAIL_BYTES:
        for event in reversed([*split(stream[-size:])][-TAIL:]):
            value = _answer(parsed(event))
            if isinstance(value.get("usage"), dict):
                return dict(value["usage"])
        if size >= len(stream):
            return None
    return None


def first_of(stream: bytes) -> dict[str, Any]:
    """What says which model answers, and under which id: mostly the first event, Azure's second."""
    values = map(_answer, islice(objects(stream[:65_536]), HEADS))
    return next((value for value in values if value.get("model") or value.get("id")), {})


def _answer(value: dict[str, Any] | None) -> dict[str, Any]:
    """The object that carries model and usage: the event itself, or in the Responses API its `response`."""
    inner = value.get("response") if value else None
    return inner if isinstance(inner, dict) else value or {}


def choice_of(value: Mapping[str, Any]) -> dict[str, Any]:
    """The first choice; {} where there is none."""
    choices = value.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def delta_of(value: dict[str, Any]) -> dict[str, Any]:
    """The first choice's delta; {} where there is none."""
    delta = choice_of(value).get("delta")
    return delta if isinstance(delta, dict) else {}
