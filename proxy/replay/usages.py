"""What a logged call used: as its answer says, else counted. The vocabulary takes 75-100 MB: read when it is needed."""

import importlib
from typing import Any

from compiler.json_text import json_bytes
from compiler.pricing import Usage
from compiler.recognition.structure import CHAT
from proxy.replay.logged import LoggedCall

MOST_TOKENS = 1_000_000_000  # of one call; more is no count of tokens


class Usages:
    def __init__(self) -> None:
        self._counting: Any = None
        self._counter: Any = None

    def of(self, call: LoggedCall) -> Usage | None:
        """None where there is nothing to count: what an embedding or a picture used, only its log could say."""
        said = (call.response or {}).get("usage")
        if isinstance(said, dict):
            usage = Usage.from_openai(said)
            if 0 < usage.input + usage.output <= MOST_TOKENS:
                return usage
        return self._counted(call) if call.endpoint == CHAT else None

    def _counted(self, call: LoggedCall) -> Usage:
        if self._counting is None:
            self._counting = importlib.import_module("proxy.count_server")
            self._counter = importlib.import_module("compiler.tokens").TokenCounter()
        request, response = json_bytes(call.request), json_bytes(call.response)
        inputs, outputs = self._counting.count(self._counter, str(call.request.get("model")), request, response)
        return Usage(input=inputs, output=outputs, counted=True)
