"""Ours: the instant upstream, the bare proxy that is the yardstick, and Cuecard with cards already in its store."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.servers import Ask, Contender, Kind, Recipe, Site
from compiler.card import Card
from compiler.program import Prompt
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import Contract
from proxy.configfile import load_settings
from proxy.declare import configured_tasks


class Declared(NamedTuple):
    kind: Kind  # of the requests that name it
    model: str  # that its card is for
    written: dict[str, Any]


TASKS = {
    "mood": Declared("whole", "instant", {"output": {"kind": "label", "labels": ["good", "bad"]}}),
    "story": Declared("stream", "instant", {"output": {"kind": "text"}}),
    "slow-story": Declared("paced", "paced", {"output": {"kind": "text"}}),
}

UPSTREAM = Recipe(
    "upstream",
    "canned bytes over raw sockets",
    lambda site: [sys.executable, "-m", "bench.upstream", str(site.port)],
    lambda site: (Ask("direct"),),
)


def direct(upstream: Contender) -> Contender:
    return Contender(Ask("direct"), upstream.port, 1, None)


def bare(workers: int) -> Recipe:
    return Recipe(
        "bare",
        "aiohttp's server and client on uvloop, the least code that forwards and streams",
        lambda site: [sys.executable, "-m", "bench.bare", str(site.port), str(workers), site.upstream_url],
        lambda site: (Ask("bare"),),
        workers,
    )


def cuecard(workers: int) -> Recipe:
    return Recipe(
        "cuecard",
        "`cuecard serve` as it comes: ledger, journal, metrics and request log on, its learner beside it",
        _command,
        lambda site: (
            Ask("original", expects=b"X-Cuecard-Route: original"),
            Ask(
                "compiled",
                tasks={task.kind: name for name, task in TASKS.items()},
                expects=b"X-Cuecard-Route: compiled",
            ),
        ),
        workers,
    )


def _command(site: Site) -> list[str]:
    said = {"description": "Say what the text is like.", "incumbent": "instant", "trust": "declared"}
    settings = {
        "listen": {"port": site.port, "workers": site.workers},
        "upstreams": {"instant": {"base_url": f"{site.upstream_url}/v1", "api_key": "none"}},
        "prices": {name: {"input": 1, "output": 1} for name in ("instant", "paced")},
        "models": {"meta": "instant", "production": ["instant"]},
        "tasks": {name: {**said, **task.written} for name, task in TASKS.items()},
        "store": {"url": f"file:{site.folder / 'store'}"},
    }
    config = site.folder / "cuecard.yaml"
    config.write_text(yaml.safe_dump(settings))
    _publish(config)
    return [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config)]


def _publish(config: Path) -> None:
    """A card for each task, as a compile would have left it."""
    settings = load_settings(config)
    with Store(settings.store.folder) as store:
        for name, (task, _) in configured_tasks(settings).items():
            card = Card(
                task=name,
                version=1,
                definition=task.definition(),
                model=TASKS[name].model,
                program=Prompt(f"{task.description} Answer with nothing else, in lower case, without quotes."),
                contract=task.contract or Contract(),
                winner="prompt",
                static_tokens=20,
                original_tokens=8,
                created="2026-11-23T00:00:00+00:00",
                compile_usd=0.0,
            )
            Registry(store).publish(card)
