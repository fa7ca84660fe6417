"""Plain JSONL, one call a line: {"request": {...}, "response": {...}}, or body and response in one object.

Beside them, if they are there: when (`time`, `timestamp`, `created`), where to (`path`, `endpoint`, `url`), `status`,
`cost` in USD, `seconds` or `latency_ms`, `tenant`. Bodies may stand in an envelope: {"request": {"body": {...}}}.
"""

from typing import Any

from proxy.replay.logged import LoggedCall, NotReadableError, Record
from proxy.replay.values import answer, first, number, object_of, parsed, path_of, when

RESPONSE_KEYS = frozenset(("id", "object", "created", "choices", "usage", "system_fingerprint"))


def fits(record: Record) -> bool:
    return "request" in record or isinstance(record.get("messages"), list)


def read(record: Record, place: str) -> LoggedCall:
    """Raises NotReadableError."""
    asked, answered = (record["request"], record.get("response")) if "request" in record else _parted(record)
    envelope, request = object_of(asked), _body(asked)
    if not request:
        raise NotReadableError("`request` must be a JSON object")
    model = str(request.get("model") or "")
    response = answer(_body(answered) or answered, model, None)
    status = number(first(record, "status", "status_code", "code") or first(object_of(answered), "status"))
    created = (response or {}).get("created")
    address = first(record, "path", "endpoint", "url") or first(envelope, "path", "url")
    milliseconds = number(first(record, "latency_ms", "duration_ms"))
    return LoggedCall(
        request=request,
        response=response,
        time=when(first(record, "time", "timestamp", "created", "created_at") or created),
        endpoint=path_of(address, request),
        status=int(status or (500 if "error" in object_of(answered) else 200)),
        cost=number(first(record, "cost", "cost_usd")),
        seconds=number(record.get("seconds")) if milliseconds is None else milliseconds / 1_000,
        tenant=str(record.get("tenant") or "default"),
        place=place,
    )


def _body(side: Any) -> dict[str, Any]:
    found = object_of(side)
    inner = found.get("body")
    return object_of(inner) if inner is not None and not {"messages", "model", "choices"} & found.keys() else found


def _parted(record: Record) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A body and its response in one object; `model` belongs to both."""
    beside = {"cost", "cost_usd", "seconds", "latency_ms", "duration_ms", "tenant", "time", "timestamp", "status"}
    request = {k: parsed(v) for k, v in record.items() if k not in RESPONSE_KEYS | beside and v is not None}
    response = {k: v for k, v in record.items() if k in RESPONSE_KEYS | {"model"}}
    return request, response if response.keys() & {"choices", "usage"} else None
