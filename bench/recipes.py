"""Ours: the instant upstream, the bare proxy that is the yardstick, and Cuecard with cards already in its store."""

import sys
from functools import partial
from typing import Any, NamedTuple

import yaml

from bench.cards import publish
from bench.servers import Ask, Contender, Kind, Recipe, Site
from compiler.program import Prompt


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


def cuecard(workers: int, *, capture: bool = True, compiled: bool = True) -> Recipe:
    tasks = {task.kind: name for name, task in TASKS.items()}
    asks = (
        Ask("original", expects=b"X-Cuecard-Route: original"),
        Ask("compiled", tasks=tasks, expects=b"X-Cuecard-Route: compiled"),
    )
    return Recipe(
        "cuecard",
        "`cuecard serve` as it comes: ledger, journal, metrics and request log on, its learner beside it",
        partial(_command, capture=capture),
        lambda site: asks if compiled else asks[:1],
        workers,
    )


def _command(site: Site, *, capture: bool) -> list[str]:
    said = {"description": "Say what the text is like.", "incumbent": "instant", "trust": "declared"}
    settings = {
        "listen": {"port": site.port, "workers": site.workers},
        "upstreams": {"instant": {"base_url": f"{site.upstream_url}/v1", "api_key": "none"}},
        "prices": {name: {"input": 1, "output": 1} for name in ("instant", "paced")},
        "models": {"meta": "instant", "production": ["instant"]},
        "tasks": {name: {**said, **task.written} for name, task in TASKS.items()},
        "capture": {"enabled": capture},
        "store": {"url": f"file:{site.folder / 'store'}"},
    }
    config = site.folder / "cuecard.yaml"
    config.write_text(yaml.safe_dump(settings))
    publish(config, _compiled)
    return [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config)]


def _compiled(name: str, description: str) -> tuple[str, Prompt]:
    return TASKS[name].model, Prompt(f"{description} Answer with nothing else, in lower case, without quotes.")
