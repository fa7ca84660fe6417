"""Server-sent events: cut a byte stream into events, and read what the last ones say."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from proxy.unpack import json_object

DONE = b"[DONE]"
TAIL = 4  # the usage event is the last one, or just before [DONE]


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole events, each with the blank line that ends it; a rest without one comes last."""
    buffer = b""
    async for chunk in chunks:
        buffer += chunk
        while (cut := _end(buffer)) is not None:
            yield buffer[:cut]
            buffer = buffer[cut:]
    if buffer:
        yield buffer


def _end(buffer: bytes) -> int | None:
    found = [at + len(blank) for blank in (b"\n\n", b"\r\n\r\n") if (at := buffer.find(blank)) >= 0]
    return min(found, default=None)


def payload(event: bytes) -> bytes:
    return b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))


def parsed(event: bytes) -> dict[str, Any] | None:
    """The event's JSON object; None for [DONE], comments, an empty object and anything that isn't one."""
    data = payload(event)
    if not data or data == DONE:
        return None
    return json_object(data) or None


def split(stream: bytes) -> list[bytes]:
    return [event for event in stream.replace(b"\r\n", b"\n").split(b"\n\n") if event.strip()]


def objects(stream: bytes) -> Iterator[dict[str, Any]]:
    return (value for event in split(stream) if (value := parsed(event)) is not None)


def usage_of(stream: bytes) -> dict[str, Any] | None:
    """The usage that the stream ended with, if it carried one. Reads only the tail."""
    for event in reversed(split(stream[-65_536:])[-TAIL:]):
        value = _answer(parsed(event))
        if isinstance(value.get("usage"), dict):
            return dict(value["usage"])
    return None


def model_of(stream: bytes) -> str:
    model = _answer(next(objects(stream[:65_536]), None)).get("model")
    return model if isinstance(model, str) else ""


def _answer(value: dict[str, Any] | None) -> dict[str, Any]:
    """The object that carries model and usage: the event itself, or in the Responses API its `response`."""
    inner = value.get("response") if value else None
    return inner if isinstance(inner, dict) else value or {}


def delta_of(value: dict[str, Any]) -> dict[str, Any]:
    """The first choice's delta; {} where there is none."""
    choices = value.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    delta = first.get("delta") if isinstance(first, dict) else None
    return delta if isinstance(delta, dict) else {}
