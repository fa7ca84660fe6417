"""Whether a card's answer may be shown: read whole, or held back until enough of a stream is known."""

from collections.abc import Mapping
from typing import Any

from compiler.score import breach, shown_early
from compiler.task import Contract
from proxy import sse
from proxy.exchange import Exchange
from proxy.upstream import Answer


class Breach(Exception):
    """The compiled attempt may not be served; the message is the metric's `reason`."""


def check(completion: Mapping[str, Any], contract: Contract) -> None:
    """Raises Breach."""
    choice = sse.choice_of(completion)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Breach("malformed")
    _check_text(message.get("content") or "", message, choice.get("finish_reason"), contract)


def _check_text(text: object, message: object, finish: object, contract: Contract) -> None:
    if isinstance(message, dict) and (message.get("refusal") or message.get("tool_calls")):
        raise Breach("refusal" if message.get("refusal") else "tool_calls")
    if not isinstance(text, str):
        raise Breach("malformed")
    if problem := breach(text, finish if isinstance(finish, str) else None, contract):
        raise Breach(problem)


async def hold(exchange: Exchange, answer: Answer, contract: Contract) -> bytes:
    """The stream up to where the answer may be shown: a label whole, JSON up to HELD_CHARS, text at once.

    Raises Breach.
    """
    seen = _Seen(contract)
    events = sse.Events()
    held: list[bytes] = []
    with exchange:
        async for chunk in answer.content.iter_any():
            exchange.keep(chunk)
            held.append(chunk)
            if any(seen.settled(event) for event in events.feed(chunk)):
                return b"".join(held)
        if seen.settled(events.rest()):
            return b"".join(held)
        raise Breach("broke_off")


class _Seen:
    """What was seen of a streamed answer, event by event."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._text = ""

    def settled(self, event: bytes) -> bool:
        """Whether the answer may be shown from here on. Raises Breach where it may not be shown at all."""
        value = sse.parsed(event)
        if value is None:
            return False
        if value.get("error"):
            raise Breach("stream_error")
        choice = sse.choice_of(value)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            if value.get("choices"):
                raise Breach("malformed")
            return False
        text = delta.get("content") or ""
        if not isinstance(text, str):
            raise Breach("malformed")
        self._text += text
        finish = choice.get("finish_reason")
        if finish or delta.get("refusal") or delta.get("tool_calls"):
            _check_text(self._text, delta, finish, self._contract)
            return True
        return shown_early(self._contract.kind, len(self._text)) and bool(self._text.strip())
