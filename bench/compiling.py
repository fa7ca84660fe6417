"""Cuecard that compiles two tasks all the time while it serves, and the proof that it did.

`python -m bench.compiling CONFIG serve …` is `cuecard serve` whose supervisor asks for both again once
they are done.
"""

import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench import recipes
from bench.cards import publish
from bench.figures import Case
from bench.processes import cpu_seconds, learners
from bench.servers import Contender, Recipe, Site
from compiler.ledger import Ledger
from compiler.program import Prompt
from compiler.registry import Registry
from compiler.store import Store
from proxy.cli import main
from proxy.configfile import load_settings

COMPILING = "compiling"
BESIDE = ("original", COMPILING)
TASKS = ("first", "second")
LABELS = ("good", "bad")
EXAMPLES = 200
LOOK = 0.2  # seconds
ENOUGH = 5.0  # compile calls a second: two compiles at work


class NotCompiling(Exception):
    """The learner did not do what was to be measured."""


def contenders(workers: int) -> list[Recipe]:
    off = recipes.cuecard(workers, capture=False, compiled=False)
    how = f"the same, and its learner compiles {len(TASKS)} tasks without a rest, halted while others have their turn"
    asks = off.asks

    def renamed(site: Site) -> Any:
        return tuple(replace(ask, name=COMPILING) for ask in asks(site))

    return [off, replace(off, name=COMPILING, how=how, command=_command, asks=renamed, stopped=True)]


def _command(site: Site) -> list[str]:
    """The upstream says the same to everything, so that no prompt is good enough and each is tried."""
    examples = site.folder / "examples.jsonl"
    lines = (f'{{"input": "text {n} of many", "expected": "{LABELS[n % 2]}"}}\n' for n in range(EXAMPLES))
    examples.write_text("".join(lines))
    said = {"description": "Say what the text is like.", "incumbent": "instant", "trust": "declared"}
    label = {"output": {"kind": "label", "labels": [*LABELS]}, "examples": str(examples)}
    settings = {
        "listen": {"port": site.port, "workers": site.workers},
        "upstreams": {"instant": {"base_url": f"{site.upstream_url}/v1", "api_key": "none"}},
        "prices": {name: {"input": 0.01, "output": 0.01} for name in ("instant", "paced")},
        "models": {"meta": "instant", "production": ["instant"]},
        "tasks": {name: {**said, **label} for name in TASKS},
        "capture": {"enabled": False},
        "background": {"usd_per_day": 1_000},
        "store": {"url": f"file:{site.folder / 'store'}"},
    }
    config = site.folder / "cuecard.yaml"
    config.write_text(yaml.safe_dump(settings))
    publish(config, lambda name, description: ("instant", Prompt(description)))
    return [sys.executable, "-m", "bench.compiling", str(config), "serve", "--config", str(config)]


class Seen(NamedTuple):
    at: float
    calls: int  # of compiles, so far
    cpu: float


@dataclass
class Work:
    """What the learner did in its turns. Seconds."""

    seconds: float = 0.0
    calls: int = 0
    cpu: float = 0.0

    @property
    def calls_a_second(self) -> float:
        return self.calls / self.seconds if self.seconds else 0.0

    def add(self, before: Seen, after: Seen) -> None:
        self.seconds += after.at - before.at
        self.calls += after.calls - before.calls
        self.cpu += after.cpu - before.cpu

    def to_json(self, name: str, case: Case) -> dict[str, Any]:
        return {"server": name, **case._asdict(), **asdict(self)}


def seen(contender: Contender) -> Seen:
    assert contender.folder and contender.pid
    with Store(contender.folder / "store") as store:
        calls = sum(sums.calls for _, row, sums in Ledger(store).rows() if row.role == "compile")
    return Seen(time.monotonic(), calls, sum(map(cpu_seconds, learners(contender.pid))))


def require(done: Mapping[tuple[str, Case], Work]) -> None:
    """Raises NotCompiling where a figure would say nothing of compiles."""
    for (name, case), work in done.items():
        if work.calls_a_second < ENOUGH:
            raise NotCompiling(f"{name}, {case}: {work.calls_a_second:.1f} compile calls a second, not {ENOUGH:.0f}")


def _ask_again(config: Path) -> None:
    with Store(load_settings(config).store.folder) as store:
        registry = Registry(store)
        while True:
            for name in set(TASKS) - set(registry.wanted()):
                registry.reopen(name)
                registry.want([name])
            time.sleep(LOOK)


if __name__ == "__main__":
    _, file, *arguments = sys.argv
    threading.Thread(target=_ask_again, args=(Path(file),), daemon=True).start()
    main(arguments)
