"""JSON values as bytes, also those that orjson refuses, and JSON values out of what a model wrote."""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

FENCED = re.compile(r"```\w*[ \t]*\n(.*?)```", re.DOTALL)
PLACES = 20  # at which an answer is tried
DEEPEST = 50


def json_bytes(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # what only json could read, only json can write
        return json.dumps(value).encode()


def written(value: Any) -> str:
    """As a model reads it: a text as it is, anything else as JSON, one item of a list a line."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)


def values_in(answer: str) -> Iterator[Any]:
    """The JSON in a model's answer, likeliest first: all of it, what a fence holds, what begins at a bracket.

    Nothing is in it that JSON has not (NaN), and nothing nested deeper than DEEPEST.
    """
    for text in (answer, *(found[1] for found in FENCED.finditer(answer))):
        yield from _value(text.strip())
    for number, found in enumerate(re.finditer(r"[\[{]", answer)):
        if number == PLACES:
            return
        yield from _value(answer[found.start() :], whole=False)


def sole_value(text: str) -> Iterator[Any]:
    """The JSON value that the text is, bare or in a fence; nothing where there is a word around it."""
    fenced = FENCED.fullmatch(text.strip())
    return _value((fenced[1] if fenced else text).strip())


def _value(text: str, *, whole: bool = True) -> Iterator[Any]:
    try:
        value, end = json.JSONDecoder(strict=False, parse_constant=_refuse).raw_decode(text)
    except (ValueError, RecursionError):
        return
    if (not whole or end == len(text)) and not _too_deep(value):
        yield value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _too_deep(value: Any) -> bool:
    layer = [value]
    for _ in range(DEEPEST):
        layer = [
            inner
            for one in layer
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not layer:
            return False
    return True
