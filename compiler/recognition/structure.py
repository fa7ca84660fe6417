"""What a chat request is made of, apart from its texts: two requests are of one task only if this is the same. Pure,
and on the request path."""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from compiler.json_text import json_bytes

CHAT = "/v1/chat/completions"
PART = "\x1f"  # between the texts of a message that has several
_FORMS = ("tools", "functions", "tool_choice", "function_call", "response_format")


def structure_key(tenant: str, endpoint: str, body: Mapping[str, Any]) -> str:
    """A digest of tenant, endpoint, model, tools, answer format, roles and modality. Messages of another form than
    OpenAI's count as a modality of their own; nothing is raised."""
    messages = body.get("messages")
    shape = "\n".join(map(_shape, messages)) if isinstance(messages, list) else "?"
    forms = [json_bytes(body[name]) if body.get(name) is not None else b"" for name in _FORMS]
    return _digest(tenant, endpoint, str(body.get("model")), shape, *forms)


@lru_cache(2_048)
def _digest(*parts: str | bytes) -> str:
    """Cached by value: a big list of tools is compared with the last one, and hashed once."""
    digest = blake2b(digest_size=12)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def _shape(message: Any) -> str:
    if not isinstance(message, Mapping):
        return "?"
    role, content = message.get("role"), message.get("content")
    if isinstance(content, str):
        parts = "text"
    elif isinstance(content, list):
        parts = ",".join(str(p.get("type")) if isinstance(p, Mapping) else "?" for p in content)
    else:
        parts = "none" if content is None else "?"
    called = "+calls" if message.get("tool_calls") else ""
    return f"{role}:{parts}{called}" if "name" not in message else f"{role}/{message['name']}:{parts}{called}"


def texts_of(messages: Any) -> tuple[str, ...] | None:
    """One text a message; None where one has something else than text."""
    if not isinstance(messages, list):
        return None
    found = []
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, list) and content:
            parts = [p.get("text") if isinstance(p, Mapping) else None for p in content]
            content = PART.join(map(str, parts)) if all(isinstance(part, str) for part in parts) else None
        if not isinstance(content, str):
            return None
        found.append(content)
    return tuple(found)
