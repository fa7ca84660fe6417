"""Changes of what is declared beside a request's words: its tools and the schema of its response."""

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from bench.corpus.draft import Request

Body = dict[str, Any]
Edited = Callable[[Body, Random], bool]
"""Edits the body; False where it has nothing of that kind."""

NEW_TOOL = {
    "type": "function",
    "function": {
        "name": "escalate",
        "description": "Hand the conversation over to a person.",
        "parameters": {"type": "object", "properties": {"reason": {"type": "string"}}},
    },
}
NEW_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": {"type": "object", "properties": {"text": {"type": "string"}}}},
}
WORDS = ("internal", "former", "urgent", "anonymous", "foreign", "archived")
FIELDS = ("language", "reason", "confidence", "channel", "due", "remark")


def edited(request: Request, random: Random) -> tuple[str, Request]:
    """Adding a tool is always possible; the other ways are for those that have tools or a schema."""
    for how, edit in random.sample(WAYS, len(WAYS)):
        body = copy.deepcopy(dict(request))
        if edit(body, random):
            return how, body
    raise AssertionError("a tool can always be added")


def _tool_added(body: Body, random: Random) -> bool:
    body["tools"] = [*body.get("tools", []), NEW_TOOL]
    return True


def _tool_removed(body: Body, random: Random) -> bool:
    if not (tools := body.get("tools")):
        return False
    tools.remove(random.choice(tools))
    if not tools:
        del body["tools"]
        body.pop("tool_choice", None)
    return True


def _description_changed(body: Body, random: Random) -> bool:
    described = [tool["function"] for tool in body.get("tools", []) if tool.get("function", {}).get("description")]
    if not described:
        return False
    function = random.choice(described)
    words = function["description"].split(" ")
    words.insert(random.randrange(1, len(words) + 1), random.choice(WORDS))
    function["description"] = " ".join(words)
    return True


def _field_changed(body: Body, random: Random) -> bool:
    if not (schemas := list(_schemas(body))):
        return False
    fields = random.choice(schemas)["properties"]
    name = random.choice([*fields, ""])
    if name:
        fields[name] = {"type": "boolean"} if fields[name] != {"type": "boolean"} else {"type": "string"}
    else:
        fields[random.choice([field for field in FIELDS if field not in fields])] = {"type": "string"}
    return True


def _schemas(body: Body) -> Iterator[dict[str, Any]]:
    found = [tool.get("function", {}).get("parameters") for tool in body.get("tools", [])]
    found.append((body.get("response_format") or {}).get("json_schema", {}).get("schema"))
    yield from (schema for schema in found if schema and schema.get("properties"))


def _format_changed(body: Body, random: Random) -> bool:
    body["response_format"] = {"type": "json_object"} if body.get("response_format") == NEW_FORMAT else NEW_FORMAT
    return True


WAYS: list[tuple[str, Edited]] = [
    ("tool added", _tool_added),
    ("tool removed", _tool_removed),
    ("description changed", _description_changed),
    ("field changed", _field_changed),
    ("format changed", _format_changed),
]
