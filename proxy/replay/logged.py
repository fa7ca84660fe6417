"""One call of a log, whoever wrote it down: what every reader makes of a record, or why it can't."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]


class NotReadableError(Exception):
    """Why a record is no call that can be counted; shown to the person whose log it is."""


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """`request` and `response` are OpenAI's bodies; an answer of which only the tokens were kept has no `choices`."""

    request: dict[str, Any]
    response: dict[str, Any] | None
    time: float | None  # Unix seconds
    endpoint: str  # the path, such as /v1/chat/completions
    status: int  # HTTP; 0: no answer came
    cost: float | None  # USD, as the log says
    seconds: float | None  # until the whole answer was there
    tenant: str
    place: str  # file:line
