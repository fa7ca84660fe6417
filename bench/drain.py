"""Drain: log templates from a tree over a line's length and first words; here a request's texts are the line."""

from collections.abc import Mapping, Sequence
from typing import Any

from drain3 import TemplateMiner
from drain3.masking import MaskingInstruction
from drain3.template_miner_config import TemplateMinerConfig

from bench.recognisers import shape_of, text_of

MASKS = ((r"[\w.+-]+@[\w.-]+", "EMAIL"), (r"https?://\S+", "URL"), (r"(?<!\w)\d[\d.,:-]*", "NUM"))


class Drain:
    """The library's own settings, and the masks that its manual suggests."""

    name = "drain3"

    def __init__(self) -> None:
        self._miners: dict[str, Any] = {}

    def learn(self, requests: Sequence[Mapping[str, Any]]) -> None:
        for request in requests:
            shape = shape_of(request)
            if shape not in self._miners:
                self._miners[shape] = TemplateMiner(config=_config())
            self._miners[shape].add_log_message(text_of(request))

    def assign(self, request: Mapping[str, Any]) -> str | None:
        shape = shape_of(request)
        if shape not in self._miners:
            return None
        cluster = self._miners[shape].match(text_of(request))
        return f"{shape}:{cluster.cluster_id}" if cluster else None


def _config() -> Any:
    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in MASKS]
    return config
