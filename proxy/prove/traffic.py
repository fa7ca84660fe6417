"""The requests of each task in a log: how many, what they cost, and of the newest what was said. In memory only."""

import hashlib
import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from compiler.json_text import json_bytes
from compiler.observation import ENDED, WHO_ASKED, Observation
from compiler.recognition.structure import structure_key, texts_of
from compiler.recorded import continued
from proxy.answer import Answer, whole_answer
from proxy.replay.logged import LoggedCall
from proxy.replay.mining import Mining
from proxy.replay.recogniser import Match
from proxy.replay.replay import Added

MOST = 3_000  # requests of a task, the newest
MOST_CHARS = 256 * 2**20  # of all of them


class _Kept(NamedTuple):
    time: float
    order: int
    size: int
    observation: Observation


@dataclass
class Requests:
    """Of one task. `calls`: all that were answered, and what they cost."""

    match: Match
    calls: int = 0
    usd: float = 0.0
    _newest: list[_Kept] = field(default_factory=list)

    @property
    def observed(self) -> list[Observation]:
        """Oldest first; those without a time in the order of the log."""
        return [kept.observation for kept in sorted(self._newest)]

    @property
    def chars(self) -> int:
        return sum(kept.size for kept in self._newest)

    def count(self, cost: float | None) -> None:
        self.calls += 1
        self.usd += cost or 0.0

    def keep(self, observation: Observation, order: int, size: int) -> int:
        """By how many characters more is kept."""
        heapq.heappush(self._newest, _Kept(observation.time, order, size, observation))
        return size - (self.drop() if len(self._newest) > MOST else 0)

    def drop(self) -> int:
        """The oldest; how many characters that were."""
        return heapq.heappop(self._newest).size


class Traffic:
    """Told of every call of a log, in its order. `mark`: the same for the same log, also when it has grown.
    `continued`: how often a task's request went on as a conversation."""

    def __init__(self, mining: Mining) -> None:
        self.of: dict[str, Requests] = {}  # by the task's name, its values' variants apart
        self.continued = Counter[str]()
        self.mark = ""
        self._mining = mining
        self._calls = 0
        self._chars = 0

    def take(self, added: Added) -> None:
        self._calls += 1
        if not self.mark:
            call = added.call
            self.mark = hashlib.sha256(json_bytes([call.request, call.response, call.time])).hexdigest()[:16]
        if _has_answers(added.call) and (name := self._began_as(added)):
            self.continued[name] += 1
        if added.match and not added.match.catch_all:
            self._keep(added, added.match)

    def _began_as(self, added: Added) -> str | None:
        return continued(_observation(added, "", Answer()), self._mining.recognition, ())

    def _keep(self, added: Added, match: Match) -> None:
        requests = self._of(match)
        requests.count(added.cost)
        answer = whole_answer(added.call.response or {})
        if answer.choices != 1 or answer.finish not in (*ENDED, "") or not (answer.text or answer.tool_calls):
            return
        observation = _observation(added, match.id, answer)
        size = sum(map(len, texts_of(observation.request.get("messages")) or ())) + len(answer.text)
        self._chars += requests.keep(observation, self._calls, size)
        while self._chars > MOST_CHARS:
            self._chars -= max(self.of.values(), key=lambda one: one.chars).drop()

    def _of(self, match: Match) -> Requests:
        return self.of.setdefault(match.variant or match.name, Requests(match))


def _has_answers(call: LoggedCall) -> bool:
    messages = call.request.get("messages")
    found = messages if isinstance(messages, list) else []
    return any(isinstance(message, dict) and message.get("role") == "assistant" for message in found)


def _observation(added: Added, template: str, answer: Answer) -> Observation:
    """As the proxy would have captured it, before it is redacted."""
    call, usage = added.call, added.usage
    return Observation(
        time=call.time or 0.0,
        tenant=call.tenant,
        structure=structure_key(call.tenant, call.endpoint, call.request),
        model=str((call.response or {}).get("model") or call.request.get("model") or ""),
        template=template,
        request={name: value for name, value in call.request.items() if name not in WHO_ASKED},
        answer=answer.text,
        tool_calls=answer.tool_calls,
        usage=[usage.input, usage.cached_input, usage.output, usage.reasoning] if usage else [],
        cost=added.cost,
        seconds=call.seconds or 0.0,
    )
