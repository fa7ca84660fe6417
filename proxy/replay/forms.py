"""Which tool wrote a log, told from its first records, and its calls in one form whichever it was."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

from proxy.replay import helicone, langfuse, litellm, plain, stored
from proxy.replay.files import LogFile
from proxy.replay.logged import LoggedCall, NotReadableError, Record
from proxy.replay.records import Found, records

LOOKED_AT = 20  # records of a file, to tell its form
SHOWN = 3  # records that could not be read
SILENT: Callable[[int], None] = lambda read: None  # noqa: E731


class Form(NamedTuple):
    name: str
    about: str
    fits: Callable[[Record], bool]
    read: Callable[[Record, str], LoggedCall | None]


FORMS = (
    Form("litellm", "LiteLLM: its loggers' JSON, or the table LiteLLM_SpendLogs", litellm.fits, litellm.read),
    Form("helicone", "Helicone: its export with bodies", helicone.fits, helicone.read),
    Form("langfuse", "Langfuse: exported observations", langfuse.fits, langfuse.read),
    Form("openai", "OpenAI: stored chat completions with their messages", stored.fits, stored.read),
    Form("plain", 'lines of {"request": {…}, "response": {…}}', plain.fits, plain.read),
)
"""The more special a form, the earlier: a record that fits several is of the first."""
NAMES = tuple(form.name for form in FORMS)


@dataclass
class Reading:
    """What became of a log's records. `passed_over`: they are no model calls."""

    calls: int = 0
    passed_over: int = 0
    unreadable: int = 0
    problems: list[str] = field(default_factory=list)  # the first of them, with file and line
    forms: dict[str, str] = field(default_factory=dict)  # by file

    def refuse(self, place: str, why: str) -> None:
        self.unreadable += 1
        if len(self.problems) < SHOWN:
            self.problems.append(f"{place}: {why}")


class Logs:
    """The calls of some files, as often as they are asked for; in memory is one at a time."""

    def __init__(self, files: Sequence[LogFile], form: str | None = None) -> None:
        self._files = files
        self._form = next((known for known in FORMS if known.name == form), None)
        self.size = sum(file.size for file in files)  # bytes

    def calls(self, reading: Reading, advance: Callable[[int], None] = SILENT) -> Iterator[LoggedCall]:
        """`advance` is told how many bytes of all files have been read. Raises LogError."""
        before = 0
        for file in self._files:
            yield from self._calls_of(file, reading, lambda read, before=before: advance(before + read))  # type: ignore[misc]
            before += file.size

    def _calls_of(self, file: LogFile, reading: Reading, advance: Callable[[int], None]) -> Iterator[LoggedCall]:
        found = records(file, advance)
        ahead = list(islice(found, LOOKED_AT))
        form = self._form or detect([each.value for each in ahead])
        reading.forms[file.name] = form.name if form else "unknown"
        for each in chain(ahead, found):
            place = f"{file.name}:{each.line}"
            try:
                call = _read(each, place, form)
            except NotReadableError as error:
                reading.refuse(place, str(error))
                continue
            if call:
                yield call
                reading.calls += 1
            else:
                reading.passed_over += 1


def detect(values: Sequence[Any]) -> Form | None:
    """The form that most records are of; None where none is of any."""
    votes: Counter[str] = Counter()
    for value in values:
        if isinstance(value, dict) and (form := next((form for form in FORMS if form.fits(value)), None)):
            votes[form.name] += 1
    return next((form for form in FORMS if votes and form.name == votes.most_common(1)[0][0]), None)


def _read(found: Found, place: str, form: Form | None) -> LoggedCall | None:
    if found.problem:
        raise NotReadableError(found.problem)
    if not isinstance(found.value, dict):
        raise NotReadableError(f"must be a JSON object, this is {type(found.value).__name__}")
    if form is None or not form.fits(found.value):
        keys = ", ".join(list(found.value)[:6])
        raise NotReadableError(f"is no call {f'of the form {form.name}' if form else 'in a known form'} (keys: {keys})")
    return form.read(found.value, place)
