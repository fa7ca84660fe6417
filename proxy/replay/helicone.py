"""Helicone's requests, as `@helicone/export --include-body` writes them (JSONL, JSON or CSV) and as
POST /v1/request/query-clickhouse answers: the row `HeliconeRequest`, bodies under `request_body` and `response_body`.

The tool's CSV has no answers, but their tokens. An answer from Helicone's cache is passed over: no model was called.
"""

from typing import Any

from proxy.replay.logged import LoggedCall, NotReadableError, Record
from proxy.replay.values import answer, first, number, object_of, path_of, usage_of, when

NOT_CACHED = "00000000-0000-0000-0000-000000000000"
NO_ANSWER = 100  # below: Helicone's own codes, such as -3 for a client that went away


def fits(record: Record) -> bool:
    return "request_body" in record or ("request_created_at" in record and "request" in record)


def read(record: Record, place: str) -> LoggedCall | None:
    """Raises NotReadableError."""
    if first(record, "cache_reference_id") not in (None, NOT_CACHED):
        return None
    request = _request(record)
    status = int(number(first(record, "response_status", "status")) or 200)
    milliseconds = number(first(record, "delay_ms", "latency"))
    model = str(first(record, "response_model", "model") or request.get("model") or "")
    tokens = usage_of(
        record.get("prompt_tokens"), record.get("completion_tokens"), record.get("prompt_cache_read_tokens")
    )
    body = object_of(first(record, "response_body", "response"))
    response = answer(None if "helicone_message" in body else body, model, tokens)
    return LoggedCall(
        request=request,
        response=response if status < 400 else None,
        time=when(first(record, "request_created_at", "response_created_at")),
        endpoint=path_of(first(record, "request_path", "target_url"), request),
        status=status if status >= NO_ANSWER else 0,
        cost=number(first(record, "cost", "costUSD", "cost_usd")),
        seconds=None if milliseconds is None else milliseconds / 1_000,
        tenant="default",
        place=place,
    )


def _request(record: Record) -> dict[str, Any]:
    body = object_of(first(record, "request_body", "request"))
    if not body:
        raise NotReadableError("holds no request: export it with --include-body")
    if message := body.get("helicone_message"):
        raise NotReadableError(f"Helicone kept no request: {message}")
    model = first(record, "request_model", "model")
    return body if "model" in body or not model else body | {"model": str(model)}
