"""What the readers share: values as exporters write them, JSON inside text included. Pure."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from compiler.recognition.structure import CHAT
from proxy.replay.logged import NotReadableError, Record

TOO_LATE = 100_000_000_000  # as seconds, the year 5138: it is milliseconds, or smaller units
ADDRESS = re.compile(r"^https?://[^/]*", re.IGNORECASE)
CLIENT_SETTINGS = frozenset(
    {
        *("api_base", "api_key", "api_version", "base_url", "extra_body", "extra_headers", "max_retries"),
        *("model_name", "organization", "request_timeout", "streaming", "timeout"),
    }
)
"""What client libraries note down beside a request's parameters, and OpenAI is never sent."""


def first(record: Record, *names: str) -> Any:
    """The first of some fields that holds anything: exporters leave out, null or empty what they don't know."""
    return next((value for name in names if (value := record.get(name)) not in (None, "", {}, [])), None)


def parsed(value: Any) -> Any:
    """JSON that was put into text, as in the cells of a CSV; other text as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[", '"')):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def object_of(value: Any) -> dict[str, Any]:
    found = parsed(value)
    return found if isinstance(found, dict) else {}


def number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int:
    """A count of tokens; what is no number, or negative, counts 0."""
    return max(0, int(number(value) or 0))


def when(value: Any) -> float | None:
    """Unix seconds of a time in seconds, milliseconds, micro- or nanoseconds, or ISO 8601; without a zone it is UTC."""
    stamp = number(value)
    if stamp is None and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
        stamp = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    while stamp is not None and stamp >= TOO_LATE:
        stamp /= 1_000
    return stamp if stamp is not None and stamp > 0 else None


def took(start: float | None, end: float | None) -> float | None:
    return end - start if start is not None and end is not None and end >= start else None


def path_of(address: Any, body: Mapping[str, Any]) -> str:
    """The endpoint: an address's path, Azure's deployments as OpenAI's; without one, what the body looks like."""
    if isinstance(address, str) and address:
        path = ADDRESS.sub("", address).partition("?")[0].rstrip("/")
        return CHAT if path.endswith("/chat/completions") else path or "/"
    if "messages" in body:
        return CHAT
    if "prompt" in body:
        return "/v1/completions"
    return "/v1/embeddings" if "embedding" in str(body.get("model")) else "/v1/responses"


def parameters(*sources: Any) -> dict[str, Any]:
    """A request's parameters as a log noted them, the first source that names one wins. Nothing is what was not sent:
    an unset parameter is often noted as null, or as an infinite number."""
    found: dict[str, Any] = {}
    for source in sources:
        for name, value in object_of(source).items():
            if name not in CLIENT_SETTINGS and value not in (None, {}, [], "Infinity", "inf", math.inf):
                found.setdefault(name, parsed(value) if isinstance(value, str) else value)
    return found


def messages_of(value: Any) -> list[dict[str, Any]]:
    """A chat's messages, without the nulls that exports fill in: a null name is no name.

    Raises NotReadableError.
    """
    turns = parsed(value)
    if isinstance(turns, str) and turns.strip():
        turns = [{"role": "user", "content": turns}]
    if not isinstance(turns, list) or not turns:
        raise NotReadableError("holds no messages")
    if not all(isinstance(turn, dict) and isinstance(turn.get("role"), str) for turn in turns):
        raise NotReadableError("holds messages without a role")
    return [{k: v for k, v in turn.items() if v is not None or k == "content"} for turn in turns]


def answer(output: Any, model: str, usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """OpenAI's response body around an answer in whatever form it was kept; None where nothing of it was."""
    found = parsed(output)
    if isinstance(found, dict) and isinstance(found.get("choices"), list):
        own = found.get("usage") or usage
        return _without_nulls(found) | ({"usage": dict(own)} if isinstance(own, Mapping) else {})
    if found in (None, "", {}, []) and not usage:
        return None
    body: dict[str, Any] = {"object": "chat.completion", "model": model, "choices": []}
    if found not in (None, "", {}, []):
        body["choices"] = [{"index": 0, "message": _message(found)}]
    return body | ({"usage": dict(usage)} if usage else {})


def _without_nulls(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


def _message(found: Any) -> dict[str, Any]:
    if isinstance(found, list) and found and isinstance(found[-1], dict) and "role" in found[-1]:
        found = found[-1]
    if isinstance(found, dict) and ("content" in found or "tool_calls" in found):
        return {"role": "assistant", **_without_nulls(found)}
    return {"role": "assistant", "content": found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)}


def usage_of(prompt: Any, completion: Any, cached: Any = None) -> dict[str, Any] | None:
    """OpenAI's usage of tokens a log counts by itself; None where it has none: exporters write 0 for unknown."""
    if not whole(prompt) and not whole(completion):
        return None
    usage: dict[str, Any] = {"prompt_tokens": whole(prompt), "completion_tokens": whole(completion)}
    return usage | ({"prompt_tokens_details": {"cached_tokens": whole(cached)}} if whole(cached) else {})
