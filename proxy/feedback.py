"""POST /v1/feedback: what a user says of an answer, by its id. It is Cuecard's own: nothing of it goes upstream."""

import asyncio
import json
from typing import Any, NoReturn

from aiohttp import web

from proxy.access import CALLER
from proxy.answered import MAX_ID, Word
from proxy.call import now, read_call
from proxy.errors import BadRequestError, NotFoundError, ProxyError, TooLargeError, UnavailableError
from proxy.gateway import GATEWAY

PATH = "/v1/feedback"
KEYS = ("id", "score", "expected")
MAX_BODY = 256 * 2**10  # bytes
MAX_EXPECTED = 64 * 2**10  # characters
PATIENCE = 5.0  # seconds that the learner has for it; it is replaced within two or three
RETRY_AFTER = 5  # seconds
AGAIN = 0.3  # seconds: an answer of another worker may just be on its way to the learner


async def feedback(request: web.Request) -> web.Response:
    """{"id", "score": 0..1} or {"id", "expected": text or any JSON}."""
    gateway = request.app[GATEWAY]
    call = await read_call(request, now(), request[CALLER], gateway.timeouts.client)
    if len(call.raw) > MAX_BODY:
        raise TooLargeError(f"feedback may have {MAX_BODY // 2**10} KiB at most")
    word = word_of(call.tenant, call.body)
    reply = await gateway.answers.say(word, PATIENCE)
    if reply and reply.get("error") == "unknown":
        await asyncio.sleep(AGAIN)
        reply = await gateway.answers.say(word, PATIENCE)
    if reply is None:
        message = "nobody notes feedback just now; say it again, it counts once"
        raise UnavailableError(message, code="learner_unavailable", retry_after=RETRY_AFTER)
    if error := reply.get("error"):
        _refuse(error)
    return web.json_response({"object": "feedback", "id": word.id, **reply})


def word_of(tenant: str, body: dict[str, Any]) -> Word:
    """Raises BadRequestError."""
    for name in body:
        if name not in KEYS:
            raise BadRequestError(f"unknown parameter {name[:MAX_ID]!r}; feedback has {', '.join(KEYS)}")
    id_, score, expected = (body.get(name) for name in KEYS)
    if not isinstance(id_, str) or not id_ or len(id_) > MAX_ID or not id_.isprintable():
        raise BadRequestError("`id`: the `id` of a completion, or its X-Cuecard-Request-Id", param="id")
    if (score is None) == (expected is None):
        raise BadRequestError("one of `score` and `expected`", param="score")
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1):
        raise BadRequestError("`score`: a number from 0 (bad) to 1 (good)", param="score")
    return Word(tenant, id_, None if score is None else float(score), None if expected is None else _text(expected))


def _text(expected: Any) -> str:
    try:
        text = expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError):
        raise BadRequestError("`expected`: text, or JSON without NaN", param="expected") from None
    if not text.strip() or len(text) > MAX_EXPECTED:
        raise BadRequestError(f"`expected`: some text, {MAX_EXPECTED:,} characters at most", param="expected")
    return text


def _refuse(error: str) -> NoReturn:
    if error == "unknown":
        raise NotFoundError(
            "no answer is known by this id: it was given to another tenant, more than 7 days ago, on no task, with "
            "X-Cuecard-Bypass, X-Cuecard-No-Store or `store: false`, or to several. Use the `id` of the completion or "
            "its X-Cuecard-Request-Id, with the key that asked for it.",
            code="answer_not_found",
            param="id",
        )
    if error == "store":
        message = "the store can't be used; say it again later"
        raise UnavailableError(message, code="store_unavailable", retry_after=RETRY_AFTER)
    raise ProxyError("internal error", code="internal_error")
