"""How the newest observations were redacted, so that what a user says of one later is redacted alike. In memory only:
on the disk it would undo the redaction."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from compiler.observation import Observation
from compiler.redaction.redact import Redactor, redact_values

AT_MOST = 2_000  # observations: some 10 MB
Redact = Callable[[Sequence[Any], Redactor], list[Any]]


class Surrogates:
    """Written by one thread and read by another. `redact`: None keeps everything as it was said."""

    def __init__(self, redact: Redact | None = redact_values) -> None:
        self.redact = redact
        self._of: OrderedDict[str, Redactor] = OrderedDict()

    def keep(self, id_: str, redactor: Redactor) -> None:
        if redactor.changed:
            self._of[id_] = redactor
            while len(self._of) > AT_MOST:
                self._of.popitem(last=False)

    def redacted(self, observation: Observation, text: str) -> str | None:
        """`text` as it would stand in that observation; None where nobody knows any more."""
        if self.redact is None:
            return text
        redactor = self._of.get(observation.id) or (Redactor() if observation.plain else None)
        return redactor.text(text) if redactor else None
