"""One error put into a text, a piece of code or a JSON object; None where it doesn't apply. Deterministic: `seed` says
where. Pure."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

Worsen = Callable[[str, int], str | None]
Path = tuple[str | int, ...]

SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s|$)|[。！？]|(?=\n)|$)")
NEGATIONS = (  # taking one away comes first: a text with two would say the same again
    (r"\b(is|are|was|were|will|should|must|has|have|does|do|did|can) ?not\b", r"\1"),
    (r"\b(is|are|was|were|should|must|has|have|does|do|did|could|would)n['’]t\b", r"\1"),
    (r" (nicht|nunca|never) ", " "),
    (r"\b(is|are|was|were|will|should|must|has|have|does|did|can|could|would)\b", r"\1 not"),
    (r"\b(ist|sind|wird|werden|kann|können|muss|müssen|hat|haben|soll)\b", r"\1 nicht"),
    (r"\b(está|son|fue|puede|debe|tiene|hay)\b", r"no \1"),
    (r"\b(est|sont|peut|doit|faut)\b", r"ne \1 pas"),
)
OTHER_LANGUAGE = (  # an answer in a language that the text is not in
    (re.compile(r"\b(der|die|das|und|ist|nicht)\b", re.I), "Das lässt sich so nicht sagen; bitte fragen Sie später."),
    (re.compile(r"\b(the|and|is|of|to)\b", re.I), "That can't be said like this; please ask again later."),
)
OPERATORS = {"==": "!=", "!=": "==", "<=": ">", ">=": "<", " < ": " >= ", " > ": " <= ", " + ": " - ", " - ": " + "}
OPERATORS |= {" and ": " or ", " or ": " and ", "&&": "||", "||": "&&", "True": "False", "False": "True"}
OPERATORS |= {"true": "false", "false": "true", "if not ": "if "}
COMMENT = ("#", "//", "--", "/*", "*")


def wrong_number(text: str, seed: int) -> str | None:
    found = [*re.finditer(r"\d+", text)]
    if not found:
        return None
    at = found[seed % len(found)]
    digit = int(at[0][0])
    other = (digit + 1 + seed % 8) % 9 + 1
    other = other if other != digit else other % 9 + 1
    return f"{text[: at.start()]}{other}{at[0][1:]}{text[at.end() :]}"


def negated(text: str, seed: int) -> str | None:
    """In one place: a "not" is taken away, else put in."""
    for pattern, replacement in NEGATIONS:
        if found := [*re.finditer(pattern, text)]:
            at = found[seed % len(found)]
            return text[: at.start()] + at.expand(replacement) + text[at.end() :]
    return None


def opposite(text: str, seed: int) -> str | None:
    swaps = _opposites()
    words = [at for at in re.finditer(r"\w+", text) if at[0].lower() in swaps]
    if not words:
        return None
    at = words[seed % len(words)]
    other = swaps[at[0].lower()]
    return text[: at.start()] + (other.capitalize() if at[0][0].isupper() else other) + text[at.end() :]


@cache
def _opposites() -> dict[str, str]:
    lines = resources.files("compiler").joinpath("opposites.txt").read_text("utf-8").splitlines()
    pairs = [line.split() for line in lines]
    return dict([*pairs, *(pair[::-1] for pair in pairs)])


def without_sentence(text: str, seed: int) -> str | None:
    """The longest goes: it says the most."""
    found = [*SENTENCE.finditer(text)]
    if len(found) < 2:
        return None
    at = max(found, key=lambda at: len(at[0]))
    return f"{text[: at.start()]}{text[at.end() :].lstrip()}".strip()


def looped(text: str, seed: int) -> str | None:
    found = SENTENCE.findall(text)
    return " ".join([found[0]] * 4) if len(found) > 1 else None


def cut_off(text: str, seed: int) -> str | None:
    words = [*re.finditer(r"\S+", text)]
    return text[: words[len(words) * 2 // 5].start()].rstrip() if len(words) > 5 else None


def other_language(text: str, seed: int) -> str | None:
    if len(text.split()) < 5:
        return None
    return next((answer for marks, answer in OTHER_LANGUAGE if not marks.search(text)), None)


def wrong_operator(code: str, seed: int) -> str | None:
    found = [*re.finditer("|".join(map(re.escape, OPERATORS)), code)]
    if not found:
        return None
    at = found[seed % len(found)]
    return code[: at.start()] + OPERATORS[at[0]] + code[at.end() :]


def without_line(code: str, seed: int) -> str | None:
    lines = code.split("\n")
    doing = [i for i, line in enumerate(lines) if len(line.strip()) > 3 and not line.strip().startswith(COMMENT)]
    doing = [i for i in doing if not lines[i].startswith("```")]
    if len(doing) < 2:
        return None
    gone = doing[seed % len(doing)]
    return "\n".join(lines[:gone] + lines[gone + 1 :])


def half_of_lines(code: str, seed: int) -> str | None:
    lines = code.rstrip().split("\n")
    return "\n".join(lines[: len(lines) // 2]) if len(lines) > 3 else None


TEXT: Mapping[str, Worsen] = {
    "wrong_number": wrong_number,
    "negated": negated,
    "opposite": opposite,
    "without_sentence": without_sentence,
    "cut_off": cut_off,
    "looped": looped,
    "other_language": other_language,
}
CODE: Mapping[str, Worsen] = {
    "wrong_number": wrong_number,
    "wrong_operator": wrong_operator,
    "without_line": without_line,
    "half_of_lines": half_of_lines,
}


def worse_number(value: Any, seed: int) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    other = wrong_number(json.dumps(value), seed)
    return None if other is None else json.loads(other)


def worse_text(value: Any, seed: int) -> Any:
    if not isinstance(value, str):
        return None
    ways = [*TEXT.values()]
    first = seed % len(ways)
    return next((other for way in (*ways[first:], *ways[:first]) if (other := way(value, seed)) is not None), None)


def emptied(value: Any, seed: int) -> Any:
    return type(value)() if isinstance(value, str | list) and value else None


def flipped(value: Any, seed: int) -> Any:
    return not value if isinstance(value, bool) else None


def shorter(value: Any, seed: int) -> Any:
    if not isinstance(value, list) or not value:
        return None
    gone = seed % len(value)
    return value[:gone] + value[gone + 1 :]


JSON: Mapping[str, Callable[[Any, int], Any]] = {
    "wrong_number": worse_number,
    "wrong_text": worse_text,
    "flipped": flipped,
    "without_item": shorter,
    "emptied": emptied,
}


def worse_field(way: Callable[[Any, int], Any], data: Any, seed: int) -> Any:
    """`data` with one of the fields that `way` applies to made worse."""
    found = [(path, worse) for path, value in _within(data) if (worse := way(value, seed)) is not None]
    return replaced(data, *found[seed % len(found)]) if found else None


def exchanged_field(data: Any, other: Any, seed: int) -> Any:
    """`data` with one field as `other` has it: a value that is right for another input."""
    theirs = dict(_within(other))
    found = [(path, theirs[path]) for path, mine in _within(data) if path and path in theirs and theirs[path] != mine]
    return replaced(data, *found[seed % len(found)]) if found else None


def without_field(data: Any, seed: int, keep: frozenset[str] = frozenset()) -> Any:
    found = [
        path
        for path, _ in _within(data)
        if path and isinstance(path[-1], str) and not (path[0] in keep and len(path) == 1)
    ]
    if not found:
        return None
    path = found[seed % len(found)]
    parent = dict(path_value(data, path[:-1]))
    del parent[path[-1]]
    return replaced(data, path[:-1], parent)


def path_value(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def replaced(data: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    step, *rest = path
    inner = replaced(data[step], tuple(rest), value)
    if isinstance(data, list):
        return [inner if i == step else item for i, item in enumerate(data)]
    return {**data, step: inner}


def _within(data: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, data
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _within(value, (*path, key))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from _within(value, (*path, i))
