"""What differs between model families, and the translation of a request's parameters from one to another. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

REASONING = re.compile(r"^(o[1-9]|gpt-([5-9]|(?!35)\d\d))(?!.*chat)")
OPENAI = re.compile(r"^(gpt-|o[1-9]|chatgpt-|ft:gpt-|ft:o[1-9])")
NO_JSON_SCHEMA = re.compile(r"^(gpt-3\.5|gpt-4(-|$))")
SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
DEFAULT_REASONING_ROOM = 4_000  # tokens a reasoning model may think before its answer's own cap counts


@dataclass(frozen=True)
class Family:
    """`reasoning` models refuse sampling parameters and `max_tokens`, and think inside their output cap."""

    reasoning: bool = False
    json_schema: bool = True
    openai: bool = True  # knows max_completion_tokens, store, metadata and the like

    @classmethod
    def of(cls, model: str, overrides: Mapping[str, "Family"] | None = None) -> "Family":
        bare = model.rpartition("/")[2].lower()
        if overrides and (known := overrides.get(model) or overrides.get(bare)):
            return known
        return _by_name(bare)


@lru_cache(1_024)
def _by_name(bare: str) -> Family:
    return Family(
        reasoning=bool(REASONING.match(bare)),
        json_schema=not NO_JSON_SCHEMA.match(bare),
        openai=bool(OPENAI.match(bare)),
    )


def translate(body: Mapping[str, Any], target: Family) -> dict[str, Any]:
    """The same request for a model of another family; messages and model are left as they are."""
    out = dict(body)
    cap = out.pop("max_completion_tokens", None)
    cap = out.pop("max_tokens", None) if cap is None else (out.pop("max_tokens", None), cap)[1]
    if target.reasoning:
        for name in SAMPLING:
            out.pop(name, None)
        out.pop("stop", None)
        if cap is not None:
            out["max_completion_tokens"] = cap + DEFAULT_REASONING_ROOM if isinstance(cap, int) else cap
        return out
    out.pop("reasoning_effort", None)
    out.pop("verbosity", None)
    if cap is not None:
        out["max_completion_tokens" if target.openai else "max_tokens"] = cap
    return out
