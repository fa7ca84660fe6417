"""From cuecard.yaml (or none) to Settings. Every complaint carries file and line and says what to write instead."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from proxy.settings import Settings

DEFAULT_FILE = "cuecard.yaml"
OPENAI = "https://api.openai.com/v1"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")

Location = tuple[str | int, ...]


class ConfigError(Exception):
    pass


def load_settings(path: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """From `path`, else CUECARD_CONFIG, else ./cuecard.yaml, else the environment alone. Raises ConfigError."""
    named = path or (Path(environment["CUECARD_CONFIG"]) if environment.get("CUECARD_CONFIG") else None)
    if named is None and not Path(DEFAULT_FILE).exists():
        return _validated(_from_environment(environment), {}, "environment")
    file = named or Path(DEFAULT_FILE)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: can't be read: {error}") from error
    return parse_settings(text, str(file), environment)


def parse_settings(text: str, name: str, environment: Mapping[str, str]) -> Settings:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{where}: not YAML: {_problem(error)}") from None
    if not isinstance(data, dict) or node is None:
        raise ConfigError(f"{name}: must hold keys such as `upstreams:`; see docs/configuration.md")
    try:
        lines = dict(_lines(node, (), name))
        expanded = _expand(data, (), lines, name, environment)
    except RecursionError:
        raise ConfigError(f"{name}: a YAML alias contains itself") from None
    if "upstreams" not in expanded:
        expanded["upstreams"] = _from_environment(environment)["upstreams"]
    settings = _validated(expanded, lines, name)
    return _with_paths(settings, Path(name).resolve().parent)


def _problem(error: yaml.YAMLError) -> str:
    """What the parser says, without what it quotes: an unquoted secret that starts with * or ! would be repeated."""
    problem = str(getattr(error, "problem", None) or error)
    if "alias" in problem or "tag" in problem:
        return "a value that starts with * & or ! must be put in quotes"
    return problem


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """No file: OpenAI with OPENAI_API_KEY; CUECARD_KEY is who may call, CUECARD_ADMIN_TOKEN who may change."""
    if not environment.get("OPENAI_API_KEY"):
        raise ConfigError(
            f"no {DEFAULT_FILE} here and OPENAI_API_KEY is not set: "
            f"set the key, or write a {DEFAULT_FILE} with `upstreams:`"
        )
    data: dict[str, Any] = {"upstreams": {"openai": {"base_url": OPENAI, "api_key": environment["OPENAI_API_KEY"]}}}
    auth: dict[str, Any] = {}
    if key := environment.get("CUECARD_KEY"):
        auth["keys"] = [{"key": key}]
    if token := environment.get("CUECARD_ADMIN_TOKEN"):
        auth["admin_token"] = token
    return data | ({"auth": auth} if auth else {})


def _lines(node: yaml.Node, at: Location, name: str) -> Iterator[tuple[Location, int]]:
    """The line of every key and list item, by location. A repeated key is refused: YAML would drop the first."""
    yield at, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _lines(item, (*at, index), name)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ConfigError(f"{name}:{key.start_mark.line + 1}: `{key.value}` stands here twice")
            seen.add(key.value)
            yield from _lines(value, (*at, key.value), name)
            yield (*at, key.value), key.start_mark.line + 1


def _expand(value: Any, at: Location, lines: Mapping[Location, int], name: str, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, (*at, key), lines, name, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, (*at, index), lines, name, environment) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(found: re.Match[str]) -> str:
        filled = environment.get(found[1]) or found[2]
        if filled is None:
            raise ConfigError(f"{name}:{lines.get(at, 1)}: environment variable {found[1]} is not set")
        return filled

    return VARIABLE.sub(fill, value)


def _validated(data: Mapping[str, Any], lines: Mapping[Location, int], name: str) -> Settings:
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_complaint(e, lines, name) for e in error.errors())) from None


def _complaint(error: Any, lines: Mapping[Location, int], name: str) -> str:
    """One line for a person; the value itself is not repeated, it may be a secret."""
    at: Location = tuple(error["loc"])
    where = f"{name}:{_line(at, lines)}" if lines else name
    key = ".".join(str(part) for part in at)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(at[-1]), _known_keys(at[:-1]), n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(_known_keys(at[:-1]))}"
        return f"{where}: unknown key `{key}`; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: `{key}`: {message[0].lower() + message[1:]}" if key else f"{where}: {message}"


def _line(at: Location, lines: Mapping[Location, int]) -> int:
    while at and at not in lines:
        at = at[:-1]
    return lines.get(at, 1)


def _known_keys(at: Location) -> list[str]:
    model: Any = Settings
    for part in at:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation if part in model.model_fields else None
            continue
        model = next((a for a in get_args(model) if isinstance(a, type) and issubclass(a, BaseModel)), None)
    for option in (model, *get_args(model)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return list(option.model_fields)
    return []


def _with_paths(settings: Settings, folder: Path) -> Settings:
    """Examples and a relative store are looked for beside the configuration file, wherever `cuecard` is started."""
    tasks = {
        name: task.model_copy(update={"examples": str(folder / Path(task.examples).expanduser())})
        if task.examples
        else task
        for name, task in settings.tasks.items()
    }
    store = settings.store.model_copy(update={"url": f"file:{folder / settings.store.folder}"})
    return settings.model_copy(update={"tasks": tasks, "store": store})
