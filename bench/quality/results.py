"""What was found, a JSON file for each task and arm, so that a run goes on where another one ended."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.quality.counting import Tally

RECORDED = "traffic"


@dataclass(frozen=True)
class Result:
    """One arm on one task's gold rows. `meta`, `candidate`: what its search asked; `gold`: what the answers took.

    `kept`: why there is no card; the answers are then the current model's, which is what users get.
    """

    task: str
    arm: str
    answers: tuple[str, ...]
    right: tuple[bool, ...]
    gold: Tally
    gold_seconds: float
    meta: Tally = field(default_factory=Tally)
    candidate: Tally = field(default_factory=Tally)
    seconds: float = 0.0  # of the search
    winner: str = ""
    kept: str = ""
    best: float | None = None  # share that the search itself saw at best
    rewritten: bool = False  # whether anything but the app's own prompt is sent
    breached: tuple[bool, ...] = ()  # answers of a card that break its contract: not they are served
    program: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right)

    def served(self, current: "Result") -> float:
        """Right of what users get: where the contract is broken, the current model's answer."""
        breached = self.breached or (False,) * len(self.right)
        got = [b if broken else a for a, b, broken in zip(self.right, current.right, breached, strict=True)]
        return sum(got) / len(got)

    @property
    def usd_per_1000(self) -> float:
        return 1_000 * self.gold.usd / self.gold.calls if self.gold.calls else 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        tallies = {name: Tally.from_json(data[name]) for name in ("gold", "meta", "candidate")}
        lists = {name: tuple(data[name]) for name in ("answers", "right", "breached", "steps")}
        return cls(**{**data, **tallies, **lists})


class Results:
    """A file appears whole or not at all. One of another fingerprint is as none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, task: str, arm: str, fingerprint: str) -> Result | None:
        found = self._read(task, arm, fingerprint)
        return None if found is None else Result.from_json(found)

    def put(self, result: Result, fingerprint: str) -> None:
        self._write(result.task, result.arm, fingerprint, result.to_json())

    def recorded(self, task: str, fingerprint: str) -> list[str] | None:
        """The current model's answers to the app's traffic, in its order."""
        found: list[str] | None = self._read(task, RECORDED, fingerprint)
        return found

    def record(self, task: str, fingerprint: str, answers: Sequence[str]) -> None:
        self._write(task, RECORDED, fingerprint, list(answers))

    def forget(self, task: str, arm: str) -> None:
        self._path(task, arm).unlink(missing_ok=True)

    def forget_all(self, task: str) -> None:
        shutil.rmtree(self._folder / task, ignore_errors=True)

    def _path(self, task: str, arm: str) -> Path:
        return self._folder / task / f"{arm}.json"

    def _read(self, task: str, arm: str, fingerprint: str) -> Any:
        path = self._path(task, arm)
        if not path.exists():
            return None
        kept = json.loads(path.read_text("utf-8"))
        return kept["found"] if kept["fingerprint"] == fingerprint else None

    def _write(self, task: str, arm: str, fingerprint: str, found: Any) -> None:
        path = self._path(task, arm)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        text = json.dumps({"fingerprint": fingerprint, "found": found}, ensure_ascii=False, indent=1)
        partial.write_text(text + "\n", "utf-8")
        partial.replace(path)
