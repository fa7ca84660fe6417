"""Cuecard that observes and mines while it serves, on the corpus's requests, and the proof that it did."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from bench import recipes
from bench.corpus.tasktypes import generate
from bench.figures import Case
from bench.noted import AS_IT_COMES, NONE
from bench.processes import cpu_seconds, learners
from bench.servers import Contender, Recipe, Site
from compiler.observation import Observation, Observations
from compiler.recognition.catalogue import GENERATION
from compiler.recognition.structure import CHAT, structure_key
from compiler.store import Store

OBSERVING, MINING = "observing", "mining"
NAMES = (OBSERVING, MINING)
BESIDE = ("original", *NAMES)
KNOWN = 10  # requests of each type that the learner has before
ENOUGH = {OBSERVING: 0.0, MINING: 0.25}  # share of each case's time that it must have mined


class NotMining(Exception):
    """The learner did not do what was to be measured."""


def contenders(workers: int) -> list[Recipe]:
    """Beside one that captures nothing: as it comes, and one that mines without a rest."""
    off = recipes.cuecard(workers, capture=False, compiled=False)
    comes = recipes.cuecard(workers, compiled=False)
    told = f"{comes.how}; {KNOWN} requests of each type are known, halted while others have their turn"
    return [
        replace(off, how=f"{off.how}; `capture: {{enabled: false}}`"),
        replace(_noted(comes, OBSERVING, AS_IT_COMES), how=told),
        replace(_noted(comes, MINING, NONE), how="the same, mining without a rest"),
    ]


def _noted(recipe: Recipe, name: str, rest: str) -> Recipe:
    def command(site: Site) -> list[str]:
        python, _, _, *arguments = recipe.command(site)
        _observe(site.folder / "store")
        return [python, "-m", "bench.noted", str(notes(site.folder)), rest, *arguments]

    def asks(site: Site) -> Any:
        return tuple(replace(ask, name=name) for ask in recipe.asks(site))

    return replace(recipe, name=name, command=command, asks=asks, stopped=True)


def notes(folder: Path) -> Path:
    return folder / "minings"


def _observe(store: Path) -> None:
    """As if it had been asked and answered before."""
    samples = generate(seed=2, requests=KNOWN)
    Random(2).shuffle(samples)
    found = []
    for sample in samples:
        asked, structure = dict(sample.request), structure_key("default", CHAT, sample.request)
        found.append(
            Observation(time.time(), "default", structure, "instant", "", asked, "good", [], [50, 0, 1, 0], None, 0.1)
        )
    with Observations(store, retention_days=14) as observations:
        observations.add(found)


class Seen(NamedTuple):
    """What a learner had done by some moment."""

    at: float
    captured: int  # observations
    published: int  # times
    cpu: float


@dataclass
class Work:
    """What it did in its turns. Seconds."""

    seconds: float = 0.0
    mined: float = 0.0
    minings: int = 0  # begun or under way in a turn, each turn's by itself
    captured: int = 0
    published: int = 0
    cpu: float = 0.0

    @property
    def share(self) -> float:
        return self.mined / self.seconds if self.seconds else 0.0

    def to_json(self, name: str, case: Case) -> dict[str, Any]:
        return {"server": name, **case._asdict(), **asdict(self)}

    def add(self, before: Seen, after: Seen, minings: Sequence[tuple[float, float]]) -> None:
        within = [min(end, after.at) - max(begin, before.at) for begin, end in minings]
        self.seconds += after.at - before.at
        self.mined += sum(length for length in within if length > 0)
        self.minings += sum(length > 0 for length in within)
        self.captured += after.captured - before.captured
        self.published += after.published - before.published
        self.cpu += after.cpu - before.cpu


def seen(contender: Contender) -> Seen:
    assert contender.folder and contender.pid
    store = contender.folder / "store"
    with Store(store) as books, Observations(store, retention_days=14) as observations:
        captured, published = observations.position(), int(books.get(GENERATION, 0))
    return Seen(time.monotonic(), captured, published, sum(map(cpu_seconds, learners(contender.pid))))


def minings(contender: Contender) -> list[tuple[float, float]]:
    """(begin, end); one under way has no end."""
    assert contender.folder
    noted = notes(contender.folder)
    lines = noted.read_text().splitlines() if noted.exists() else []
    pairs = [line.partition(" ") for line in lines]
    return [(float(begin), float(end) if end.strip() else math.inf) for begin, _, end in pairs]


def require(done: Mapping[tuple[str, Case], Work]) -> None:
    """Raises NotMining where a figure would say nothing of mining."""
    for (name, case), work in done.items():
        if not work.captured:
            raise NotMining(f"{name}, {case}: nothing was captured")
        if work.share < ENOUGH[name]:
            raise NotMining(f"{name}, {case}: it mined for {work.share:.0%} of the time, not {ENOUGH[name]:.0%}")
    for name in NAMES:
        of_it = [work for (its, _), work in done.items() if its == name]
        if of_it and not any(work.published for work in of_it):
            raise NotMining(f"{name}: it published nothing")
