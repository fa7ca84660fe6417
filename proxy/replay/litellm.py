"""LiteLLM's logs (1.100):

- `StandardLoggingPayload`, a JSON object a call, as its S3, GCS, Azure and generic loggers write it;
- the table `LiteLLM_SpendLogs`, exported as JSON or CSV. It holds prompts and answers only if the proxy ran with
  `store_prompts_in_spend_logs: true`: the request's body in `proxy_server_request`, in older ones in `messages`.

An answer from LiteLLM's cache is passed over: no model was called.
"""

from typing import Any

from compiler.recognition.structure import CHAT
from proxy.replay.logged import LoggedCall, NotReadableError, Record
from proxy.replay.values import answer, first, messages_of, number, object_of, parameters, parsed, took, usage_of, when

ENDPOINTS = {
    "completion": CHAT,
    "text_completion": "/v1/completions",
    "embedding": "/v1/embeddings",
    "responses": "/v1/responses",
    "image_generation": "/v1/images/generations",
    "transcription": "/v1/audio/transcriptions",
    "speech": "/v1/audio/speech",
    "moderation": "/v1/moderations",
}
OWN = frozenset(
    ("litellm_call_id", "litellm_metadata", "litellm_trace_id", "litellm_logging_obj", "proxy_server_request")
)
REDACTED = "redacted-by-litellm"


def fits(record: Record) -> bool:
    return "standard_logging_object" in record or (
        "call_type" in record and bool({"spend", "response_cost", "startTime"} & record.keys())
    )


def read(record: Record, place: str) -> LoggedCall | None:
    """Raises NotReadableError."""
    call = object_of(record.get("standard_logging_object")) or record
    if str(call.get("cache_hit")).lower() == "true":
        return None
    endpoint = _endpoint(str(call.get("call_type") or "completion"))
    model = str(first(call, "model", "model_group") or "")
    usage = usage_of(call.get("prompt_tokens"), call.get("completion_tokens"))
    start, end = when(call.get("startTime")), when(call.get("endTime"))
    cost = number(first(call, "response_cost", "spend"))
    status = _status(call)
    return LoggedCall(
        request=_request(call, model, endpoint),
        response=answer(call.get("response"), model, usage) if status < 400 else None,
        time=start,
        endpoint=endpoint,
        status=status,
        cost=cost or (0.0 if cost == 0 and not usage else None),  # it writes 0 for a model it has no price of
        seconds=took(start, end),
        tenant="default",
        place=place,
    )


def _endpoint(call_type: str) -> str:
    """Each kind of call has a twin whose name begins with an `a`: the asynchronous one."""
    return ENDPOINTS.get(call_type) or ENDPOINTS.get(call_type.removeprefix("a")) or f"/{call_type}"


def _request(call: Record, model: str, endpoint: str) -> dict[str, Any]:
    sent = object_of(call.get("proxy_server_request"))
    sent = object_of(sent.get("body")) or sent
    noted = parsed(call.get("messages"))
    turns = first(sent, "messages") or (noted.get("messages") if isinstance(noted, dict) else noted)
    found = {k: v for k, v in parameters(sent, call.get("model_parameters")).items() if k not in OWN}
    if endpoint != CHAT:
        return found | {"model": model}
    if not turns:
        raise NotReadableError("holds no messages: LiteLLM keeps them with `store_prompts_in_spend_logs: true`")
    messages = messages_of(turns)
    if any(message.get("content") == REDACTED for message in messages):
        raise NotReadableError("its messages were redacted by LiteLLM (`turn_off_message_logging`)")
    return found | {"model": model, "messages": messages}


def _status(call: Record) -> int:
    if str(call.get("status") or "success") != "failure":
        return 200
    return int(number(object_of(call.get("error_information")).get("error_code")) or 500)
