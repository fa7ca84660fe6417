"""Requests as the proxy would have kept them: redacted, and in the same way each time the same log is read."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import overload

from compiler.json_text import json_bytes
from compiler.observation import Observation
from compiler.redaction.redact import Redactor, redact_values


class Redacted(Sequence[Observation]):
    """Each when it is first asked for. `key`: what the surrogates are drawn by, None leaves all as it was said."""

    def __init__(self, observed: Sequence[Observation], key: bytes | None) -> None:
        self._observed = observed
        self._key = key
        self._done: dict[int, Observation] = {}

    def __len__(self) -> int:
        return len(self._observed)

    @overload
    def __getitem__(self, at: int) -> Observation: ...
    @overload
    def __getitem__(self, at: slice) -> list[Observation]: ...
    def __getitem__(self, at: int | slice) -> Observation | list[Observation]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        if at not in self._done:
            self._done[at] = self._redacted(self._observed[at])
        return self._done[at]

    def _redacted(self, observation: Observation) -> Observation:
        """All that was said with one map, as when it is captured. The model's name is no text."""
        if self._key is None:
            return observation
        said = [observation.request, observation.answer, observation.tool_calls]
        drawn = Random(hmac.new(self._key, json_bytes(said), hashlib.sha256).digest())
        request, answer, tool_calls = redact_values(said, Redactor(drawn))
        request = {**request, "model": observation.request.get("model")}
        return replace(observation, request=request, answer=answer, tool_calls=tool_calls)
