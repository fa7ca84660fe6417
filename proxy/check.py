"""Whether a card's answer may be shown: read whole, or held back until enough of a stream is known."""

from collections.abc import Mapping, Sequence
from typing import Any

from compiler.score import Answer as Said
from compiler.score import problem, shown_early
from compiler.task import Contract
from proxy import sse
from proxy.answer import add_calls
from proxy.exchange import Exchange
from proxy.unpack import dicts
from proxy.upstream import Answer


class Breach(Exception):
    """The compiled attempt may not be served; the message is the metric's `reason`."""


def check(completion: Mapping[str, Any], contract: Contract) -> None:
    """Raises Breach."""
    choice = sse.choice_of(completion)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Breach("malformed")
    text, calls = message.get("content") or "", dicts(message.get("tool_calls"))
    _check(text, calls, message, choice.get("finish_reason"), contract)


def _check(
    text: object, calls: Sequence[Mapping[str, Any]], message: Mapping[str, Any], finish: object, contract: Contract
) -> None:
    if not isinstance(text, str):
        raise Breach("malformed")
    whole = Said(text, tuple(calls), finish if isinstance(finish, str) else None, bool(message.get("refusal")))
    if found := problem(whole, contract):
        raise Breach(found)


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
        self._calls: dict[int, dict[str, Any]] = {}

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
        add_calls(self._calls, delta)
        finish, unasked = choice.get("finish_reason"), self._calls and self._contract.kind != "tool_call"
        if finish or delta.get("refusal") or unasked:
            _check(self._text, [*self._calls.values()], delta, finish, self._contract)
            return True
        return shown_early(self._contract.kind, len(self._text)) and bool(self._text.strip())
