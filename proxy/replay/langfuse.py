"""Langfuse's observations (version 3 and later), of which those of type GENERATION are model calls:

- the blob storage export, `observations/` and `observations_v2/`, as JSONL, JSON or CSV: snake_case, `input`, `output`
  and `model_parameters` as text;
- the table's export from the UI and GET /api/public/observations: camelCase, the older `usage` and
  `calculatedTotalCost` too.

Parquet, its default for new exports, can't be read.
"""

from typing import Any

from compiler.recognition.structure import CHAT
from proxy.replay.logged import LoggedCall, NotReadableError, Record
from proxy.replay.values import (
    answer,
    first,
    messages_of,
    number,
    object_of,
    parameters,
    parsed,
    took,
    usage_of,
    when,
    whole,
)

CALLS = {"GENERATION": CHAT, "EMBEDDING": "/v1/embeddings"}
MARKS = frozenset(("traceId", "trace_id", "startTime", "start_time"))


def fits(record: Record) -> bool:
    return "input" in record and bool(MARKS & record.keys()) and bool({"type", "model"} & record.keys())


def read(record: Record, place: str) -> LoggedCall | None:
    """Raises NotReadableError."""
    endpoint = CALLS.get(str(record.get("type") or "GENERATION").upper())
    if endpoint is None:
        return None
    model = str(first(record, "provided_model_name", "model") or "")
    start, end = when(first(record, "start_time", "startTime")), when(first(record, "end_time", "endTime"))
    failed = record.get("level") == "ERROR"
    cost = number(first(record, "total_cost", "totalCost", "calculatedTotalCost"))
    details = object_of(first(record, "cost_details", "costDetails"))
    return LoggedCall(
        request=_request(record, model, endpoint),
        response=None if failed else answer(record.get("output"), model, _usage(record)),
        time=start,
        endpoint=endpoint,
        status=500 if failed else 200,
        cost=number(details.get("total")) if cost is None else cost,
        seconds=took(start, end),
        tenant="default",
        place=place,
    )


def _request(record: Record, model: str, endpoint: str) -> dict[str, Any]:
    asked = parsed(record.get("input"))
    settings = first(record, "model_parameters", "modelParameters")
    if endpoint != CHAT:
        return {"model": model}
    if asked in (None, "", {}, []):
        raise NotReadableError("holds no input: export it with inputs and outputs")
    if isinstance(asked, dict) and "messages" in asked:
        beside = {name: value for name, value in asked.items() if name != "messages"}
        return parameters(beside, settings) | {"model": model, "messages": messages_of(asked["messages"])}
    if isinstance(asked, dict):
        asked = [asked]
    return parameters(settings) | {"model": model, "messages": messages_of(asked)}


def _usage(record: Record) -> dict[str, Any] | None:
    """Langfuse's counts are apart from each other: `input` is without `input_cached_tokens`. Where they add up to more
    than their total, they were given as parts of it after all."""
    noted = object_of(first(record, "usage_details", "usageDetails", "usage"))
    details = {name: whole(value) for name, value in noted.items()}
    prompt = sum(count for name, count in details.items() if name.startswith(("input", "cache_")))
    completion = sum(count for name, count in details.items() if name.startswith("output"))
    if prompt + completion > details.get("total", 0) > 0:
        prompt, completion = details.get("input", 0), details.get("output", 0)
    return usage_of(
        prompt or first(details, "promptTokens") or first(record, "promptTokens", "inputUsage"),
        completion or first(details, "completionTokens") or first(record, "completionTokens", "outputUsage"),
        sum(count for name, count in details.items() if "cached" in name or "cache_read" in name),
    )
