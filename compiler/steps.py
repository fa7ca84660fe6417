"""What a compile did, step by step: for whoever watches it, and for `cuecard show --steps` afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from compiler.store import Store

KEEP = 90 * 86_400.0  # seconds, where nothing else is compiled for the task


@dataclass(frozen=True)
class Score:
    """One prompt on examples: how many of its answers were right (of JSON and free text also in part), out of `of`, and
    what they took. `stopped`: it could not win any more."""

    name: str
    right: float
    of: int
    input_tokens: int
    output_tokens: int
    usd: float = 0.0
    stopped: bool = False

    @property
    def share(self) -> float:
        return self.right / self.of if self.of else 0.0

    def __str__(self) -> str:
        return f"{self.right:.4g}/{self.of}"


@dataclass(frozen=True)
class Step:
    """`model`: who was asked. `calls` and `usd` of all models, the judge's too."""

    name: str
    model: str
    line: str
    calls: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    scores: tuple[Score, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}: {self.line}"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "scores": tuple(Score(**score) for score in data["scores"])})


class Steps:
    """Of the last compile of each task, also while it runs and where no card came of it. Methods raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, task: str, scope: str | None = None) -> list[Step]:
        """Oldest first; none where the last compile is not of `scope`."""
        kept = self._store.get(f"steps:{task}", {})
        wanted = bool(kept) and scope in (None, kept["scope"])
        return [Step.from_json(step) for step in kept["steps"]] if wanted else []

    def put(self, task: str, scope: str, steps: Sequence[Step]) -> None:
        self._store.put(f"steps:{task}", {"scope": scope, "steps": [asdict(step) for step in steps]}, expire=KEEP)
