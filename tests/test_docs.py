"""The guide names everything a user can set, send, read or type; what is added to the code is added there too."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import pytest
from pydantic import BaseModel

from proxy import answered, headers
from proxy.capture import DROPS
from proxy.cli import main
from proxy.configfile import parse_settings
from proxy.decide import REASONS
from proxy.settings import Settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GUIDE = ("configuration.md", "headers.md", "metrics.md", "commands.md", "recognition.md", "replay.md", "feedback.md")
LINK = re.compile(r"\]\(([^)#]+?)(?:#[^)]*)?\)")

LIST_METRICS = """
import json
from proxy.metrics import Metrics

found = {}
for value in vars(Metrics()).values():
    if hasattr(value, "_labelnames") and hasattr(value, "_type"):
        name = value._name + ("_total" if value._type == "counter" else "")
        found[name] = list(value._labelnames)
print(json.dumps(found))
"""


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def nested(annotation: Any) -> tuple[type[BaseModel], str] | None:
    """The model inside a field's type, and what stands before its keys: `.NAME` in a dict, `[]` in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    marks: dict[Any, str] = {dict: ".NAME", tuple: "[]", list: "[]"}
    mark = marks.get(get_origin(annotation), "")
    for argument in get_args(annotation):
        if found := nested(argument):
            return found[0], mark + found[1]
    return None


def setting_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        yield key
        if inner := nested(field.annotation):
            yield from setting_keys(inner[0], f"{key}{inner[1]}.")


def commands() -> Iterator[tuple[str, click.Parameter | None]]:
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        yield name, None
        for parameter in command.params:
            yield name, parameter


def section(text: str, title: str) -> str:
    """From the heading that holds `title` in backticks to the next heading of its level."""
    found = re.search(rf"^## `{re.escape(title)}`.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """In a process of its own: prometheus_client decides at its first import where values live."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path_factory.mktemp("metrics"))}
    command = [sys.executable, "-c", LIST_METRICS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_the_walk_reaches_nested_keys() -> None:
    keys = set(setting_keys())
    assert {"mode", "listen.port", "upstreams.NAME.base_url", "tasks.NAME.output.kind", "auth.keys[].tenant"} <= keys


@pytest.mark.parametrize("key", sorted(setting_keys()))
def test_every_setting_has_a_row(key: str) -> None:
    assert re.search(rf"^\| `{re.escape(key)}` \|", page("configuration.md"), re.MULTILINE)


def test_no_row_describes_a_setting_that_is_gone() -> None:
    rows = re.findall(r"^\| `([a-z][\w.\[\]]*)` \|", page("configuration.md"), re.MULTILINE)
    assert set(rows) - set(setting_keys()) == set()


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "CUECARD_CONFIG", "CUECARD_KEY", "CUECARD_ADMIN_TOKEN"])
def test_every_environment_variable_has_a_row(name: str) -> None:
    assert f"| `{name}` |" in page("configuration.md")


@pytest.mark.parametrize("title", ["Request headers", "Response headers"])
def test_every_header_has_a_row(title: str) -> None:
    names = headers.REQUEST_HEADERS if title.startswith("Request") else headers.RESPONSE_HEADERS
    part = page("headers.md").split(f"## {title}", 1)[1].split("\n## ", 1)[0]
    assert [name for name in names if f"| `{name}" not in part] == []


def test_every_metric_has_a_row_with_its_labels(metrics: dict[str, list[str]]) -> None:
    assert len(metrics) > 10
    rows = {
        found[1]: found[2]
        for found in re.finditer(r"^\| `(cuecard_\w+)` \| [^|]+ \| ([^|]*)\|", page("metrics.md"), re.MULTILINE)
    }
    assert {name: re.findall(r"`(\w+)`", labels) for name, labels in rows.items()} == metrics


@pytest.mark.parametrize("reason", REASONS + DROPS + answered.DROPS)
def test_every_reason_has_a_row(reason: str) -> None:
    assert f"| `{reason}` |" in page("metrics.md")


@pytest.mark.parametrize(("command", "parameter"), list(commands()))
def test_every_command_and_option_is_described(command: str, parameter: click.Parameter | None) -> None:
    part = section(page("commands.md"), f"cuecard {command}")
    assert part, f"no section for `cuecard {command}`"
    if isinstance(parameter, click.Option):
        assert [name for name in parameter.opts if f"`{name}" not in part] == []
    elif parameter is not None:
        assert (parameter.name or "").upper() in part


def test_the_readme_gives_the_commands_and_links_to_the_guide() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    needed = ("make serve", "make test", "cuecard off", "http://127.0.0.1:8080/v1", *(f"docs/{name}" for name in GUIDE))
    assert [part for part in needed if part not in text] == []


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(DOCS / name for name in GUIDE), *(DOCS / "decisions").glob("*.md")]
    links = [(p, link) for p in pages for link in LINK.findall(p.read_text("utf-8")) if "://" not in link]
    assert [(p.name, link) for p, link in links if not (p.parent / link).exists()] == []


def test_examples_of_configuration_load(tmp_path: Path) -> None:
    """Every block of YAML in the guide is a configuration that is accepted as it stands."""
    from_guide = [ROOT / "README.md", *(DOCS / name for name in GUIDE)]
    blocks = [b for p in from_guide for b in re.findall(r"^```yaml\n(.*?)^```", p.read_text("utf-8"), re.M | re.S)]
    environment = dict.fromkeys(("OPENAI_API_KEY", "CUECARD_KEY_SHOP", "CUECARD_ADMIN_TOKEN"), "an-example")
    assert blocks
    for block in blocks:
        parse_settings(block, str(tmp_path / "cuecard.yaml"), environment)
