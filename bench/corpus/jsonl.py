"""A corpus as a file: one JSON object a line, {"type", "request"} and maybe "part" and "split"."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from bench.corpus.draft import Labelled

ALLOWED: Mapping[str, tuple[str | None, ...]] = {"part": ("main", "adversarial"), "split": (None, "learn", "score")}


class CorpusError(ValueError):
    """A line that is no labelled request; says which."""


def read(path: Path) -> list[Labelled]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_labelled(orjson.loads(line)))
        except orjson.JSONDecodeError as error:
            raise CorpusError(f"{path}:{number}: no JSON: {error}") from error
        except CorpusError as error:
            raise CorpusError(f"{path}:{number}: {error}") from error
    if not found:
        raise CorpusError(f"{path}: no requests")
    return found


def _labelled(given: Any) -> Labelled:
    if not isinstance(given, dict):
        raise CorpusError("not an object")
    name, request = given.get("type"), given.get("request")
    if not isinstance(name, str) or not name:
        raise CorpusError('"type" must be a text')
    if not isinstance(request, dict):
        raise CorpusError('"request" must be an object')
    for problem in _problems(request):
        raise CorpusError(f'"request": {problem}')
    for key, allowed in ALLOWED.items():
        if given.get(key, allowed[0]) not in allowed:
            raise CorpusError(f'"{key}" must be one of {", ".join(word for word in allowed if word)}')
    return Labelled(name, request, given.get("part", "main"), given.get("split"))


def _problems(request: Mapping[str, Any]) -> Iterator[str]:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        yield '"messages" must be a list of at least one'
        return
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            yield f'messages[{number}] must be an object with a "role"'
        elif not _is_content(message.get("content")):
            yield f'messages[{number}]: "content" must be a text, null or a list of objects'


def _is_content(content: Any) -> bool:
    listed = isinstance(content, list) and all(isinstance(part, dict) for part in content)
    return listed or content is None or isinstance(content, str)


def write(path: Path, samples: Iterable[Labelled]) -> None:
    with path.open("wb") as file:
        for sample in samples:
            line: dict[str, Any] = {"type": sample.type, "part": sample.part, "request": sample.request}
            file.write(orjson.dumps(line | ({"split": sample.split} if sample.split else {})) + b"\n")
