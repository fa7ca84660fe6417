"""OpenAI's stored chat completions, in the forms its API and dashboard give them (API reference of 2026):

- `chat.completion` objects of GET /v1/chat/completions, with the list of GET /v1/chat/completions/{id}/messages beside
  them under `messages`; also as pages {"object": "list", "data": [...]};
- evals and distillation: {"input": [messages], "output": ...}, {"item": {...}, "sample": {...}}, and the
  `eval.run.output_item` objects of GET /v1/evals/{id}/runs/{id}/output_items.
"""

from typing import Any

from compiler.recognition.structure import CHAT
from proxy.replay.logged import LoggedCall, NotReadableError, Record
from proxy.replay.values import answer, first, messages_of, object_of, parameters, parsed, usage_of, when

ECHOED = (
    *("frequency_penalty", "max_completion_tokens", "metadata", "n", "parallel_tool_calls", "presence_penalty"),
    *("reasoning_effort", "response_format", "seed", "service_tier", "stop", "temperature", "tool_choice", "tools"),
    *("top_p", "verbosity"),
)
"""The request's parameters that a stored completion repeats."""


def fits(record: Record) -> bool:
    if record.get("object") in ("chat.completion", "eval.run.output_item"):
        return True
    if isinstance(record.get("sample"), dict) and ("item" in record or "datasource_item" in record):
        return True
    return "input" in record and first(record, "output", "outputs") is not None


def read(record: Record, place: str) -> LoggedCall:
    """Raises NotReadableError."""
    sample = object_of(record.get("sample"))
    source = sample or record
    item = object_of(first(record, "item", "datasource_item"))
    model = str(first(source, "model") or first(item, "model") or "")
    messages = _messages(first(record, "messages", "input") or first(sample, "input") or first(item, "input"))
    failed = bool(sample.get("error"))
    return LoggedCall(
        request={"model": model, **_parameters(source), "messages": messages},
        response=None if failed else _response(source, model),
        time=when(first(record, "created", "created_at")),
        endpoint=CHAT,
        status=500 if failed else 200,
        cost=None,
        seconds=None,
        tenant="default",
        place=place,
    )


def _messages(found: Any) -> list[dict[str, Any]]:
    """A list, or the page that the API gives; a stored message has an id, and its parts apart from its content."""
    page = parsed(found)
    turns = page.get("data") if isinstance(page, dict) else page
    if not turns:
        raise NotReadableError("holds no messages: put those of GET /v1/chat/completions/{id}/messages beside it")
    cleaned = []
    for turn in messages_of(turns):
        parts = turn.pop("content_parts", None)
        turn.pop("id", None)
        cleaned.append(turn | ({"content": parts} if parts else {}))
    return cleaned


def _parameters(source: Record) -> dict[str, Any]:
    found = parameters({name: source[name] for name in ECHOED if name in source})
    return found | ({"user": source["input_user"]} if source.get("input_user") else {})


def _response(source: Record, model: str) -> dict[str, Any] | None:
    usage = object_of(source.get("usage"))
    if "cached_tokens" in usage:  # of an eval's sample
        usage = usage_of(usage.get("prompt_tokens"), usage.get("completion_tokens"), usage["cached_tokens"]) or {}
    if isinstance(source.get("choices"), list):
        return {"object": "chat.completion", "model": model, "choices": source["choices"]} | (
            {"usage": usage} if usage else {}
        )
    return answer(first(source, "output", "outputs", "output_text"), model, usage or None)
