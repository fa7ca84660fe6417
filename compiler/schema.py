"""The part of JSON Schema in which an expert's answer can be described: small enough to be checked here. Pure."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from compiler.fields import equal

Schema = Mapping[str, Any]

TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    ),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
SIZES = ("minItems", "maxItems", "minLength", "maxLength")
RANGES = ("minimum", "maximum")
TOLD = ("title", "description", "examples", "default", "$schema", "format")  # to a reader: they bind nobody
MOST_CHARS = 4_000
DEEPEST = 8


def fault(schema: Any) -> str | None:
    """Why no answer can be checked against it, in words; None if it can."""
    try:
        size = len(json.dumps(schema))
    except (TypeError, ValueError, RecursionError):
        return "is no JSON"
    return f"is longer than {MOST_CHARS} characters" if size > MOST_CHARS else _fault(schema, 0)


def _fault(schema: Any, depth: int) -> str | None:
    if not isinstance(schema, Mapping):
        return "is no object"
    if depth > DEEPEST:
        return f"is nested deeper than {DEEPEST}"
    for name, value in schema.items():
        if name in TOLD:
            continue
        if name not in _FORMS:
            return f"has {name!r}, which can't be checked here"
        if not _FORMS[name](value):
            return f"has no usable {name!r}"
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else ())]
    return next((problem for one in inner if (problem := _fault(one, depth + 1))), None)


def _is_type(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in TYPES for name in names)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_FORMS: Mapping[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "properties": lambda value: isinstance(value, Mapping),
    "required": _are_names,
    "additionalProperties": lambda value: isinstance(value, bool),
    "items": lambda value: isinstance(value, Mapping),
    "enum": lambda value: isinstance(value, list) and bool(value),
    "const": lambda value: True,
    **dict.fromkeys(SIZES, _is_count),
    **dict.fromkeys(RANGES, TYPES["number"]),
}


def breach(value: Any, schema: Schema, at: str = "") -> str | None:
    """Where and how the value is not as the schema says; None where it is. Says nothing out of the value itself but
    the number of a list's item: a model is told of it. `schema`: one without a fault."""
    here = at or "the answer"
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if kinds and not any(TYPES[kind](value) for kind in kinds):
        return f"{here} has to be of type {' or '.join(kinds)}"
    if "enum" in schema and not any(equal(value, one) for one in schema["enum"]):
        return f"{here} has to be one of {json.dumps(schema['enum'], ensure_ascii=False)}"
    if "const" in schema and not equal(value, schema["const"]):
        return f"{here} has to be {json.dumps(schema['const'], ensure_ascii=False)}"
    return _out_of_bounds(value, schema, here) or _breach_inside(value, schema, at)


def _out_of_bounds(value: Any, schema: Schema, here: str) -> str | None:
    size = len(value) if isinstance(value, str | list) else None
    words = ("minItems", "maxItems") if isinstance(value, list) else ("minLength", "maxLength")
    if size is None and TYPES["number"](value):
        size, words = value, RANGES
    if size is None:
        return None
    least, most = (schema.get(word) for word in words)
    if least is not None and size < least:
        return f"{here} breaks {words[0]} {least}"
    if most is not None and size > most:
        return f"{here} breaks {words[1]} {most}"
    return None


def _breach_inside(value: Any, schema: Schema, at: str) -> str | None:
    if isinstance(value, list) and "items" in schema:
        found = (breach(one, schema["items"], f"{at}/{number}") for number, one in enumerate(value))
        return next((problem for problem in found if problem), None)
    if not isinstance(value, dict):
        return None
    known: Schema = schema.get("properties", {})
    if missing := [name for name in schema.get("required", ()) if name not in value]:
        return f"{at or 'the answer'} lacks {missing[0]!r}"
    if schema.get("additionalProperties") is False and not known.keys() >= value.keys():
        return f"{at or 'the answer'} has properties that the schema doesn't name"
    found = (breach(value[name], inner, f"{at}/{name}") for name, inner in known.items() if name in value)
    return next((problem for problem in found if problem), None)
