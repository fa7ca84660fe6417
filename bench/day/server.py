"""What takes part in a day beside the app: the real server's configuration, the upstream, and what is left after."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.day.traffic import CANDIDATE, JUDGE, KINDS, META, PRICES
from compiler.proof import Proofs
from compiler.registry import Registry
from compiler.store import Store

PER_SECOND = 10.0  # observations: the default of `capture.per_second`
QUIET_SECONDS, QUIET_AT_MOST = 3.0, 60.0


def configuration(
    folder: Path, upstream: str, *, workers: int, times: float, usd_per_day: float, compile_usd: float
) -> Path:
    """`times`: how many seconds of the day pass in one."""
    settings = {
        "listen": {"port": 0, "workers": workers},
        "upstreams": {"team": {"base_url": upstream, "api_key": "sk-of-the-server"}},
        "models": {"meta": META, "judge": JUDGE, "production": [CANDIDATE]},
        "mode": "auto",
        "prices": PRICES,
        "background": {"usd_per_day": usd_per_day},
        "compile": {"max_usd": compile_usd},
        "capture": {"per_second": PER_SECOND * times},
        "store": {"url": f"file:{folder / 'store'}"},
    }
    file = folder / "cuecard.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@contextmanager
def upstream(log: Path) -> Iterator[str]:
    """Its address, while it runs in a process of its own."""
    command = [sys.executable, "-m", "bench.day.upstream", str(log)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        found = re.search(r"listens on (\S+)", process.stdout.readline().decode())
        if not found:
            raise RuntimeError("the day's upstream did not start")
        yield found[1]
    finally:
        process.terminate()
        process.wait()


def until_quiet(log: Path) -> None:
    """What the background has under way is done, or rests."""
    end, since, size = time.monotonic() + QUIET_AT_MOST, time.monotonic(), log.stat().st_size
    while time.monotonic() < end and time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.25)
        if log.stat().st_size != size:
            since, size = time.monotonic(), log.stat().st_size


@dataclass(frozen=True)
class Stood:
    """Where a task stood at the end of the day."""

    name: str
    stage: str
    traffic: float
    reason: str
    pairs: int
    outcomes: dict[str, int]
    bound: float | None
    kappa: float | None


def stands(folder: Path) -> dict[str, list[Stood]]:
    """By kind: the tasks that Cuecard made of it."""
    found: dict[str, list[Stood]] = {}
    with Store(folder / "store") as store:
        registry, proofs = Registry(store), Proofs(store)
        for name, task in registry.adopted().items():
            state, proof = registry.state(name), proofs.get(name)
            stood = Stood(
                name,
                state.stage,
                state.traffic,
                state.reason,
                proof.pairs if proof else 0,
                {str(name): number for name, number in proof.outcomes.items()} if proof else {},
                proof.bound if proof else None,
                proof.kappa if proof else None,
            )
            found.setdefault(_kind_of(f"{task.description} {task.system}"), []).append(stood)
    return found


def _kind_of(wording: str) -> str:
    return next((kind.name for kind in KINDS if kind.prompt[:40] in wording), "-")
