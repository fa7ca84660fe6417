"""The compiled artifact: program, where it came from, and what was measured. Immutable; readable as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from compiler.program import Prompt
from compiler.score import Scoring
from compiler.task import Contract, contract_from_json


@dataclass(frozen=True)
class Score:
    """One candidate on the held-out examples: how many it got right, and what it was paid for that."""

    name: str
    right: int
    of: int
    input_tokens: int
    output_tokens: int

    @property
    def share(self) -> float:
        return self.right / self.of if self.of else 0.0


@dataclass(frozen=True)
class Card:
    """`definition` ties it to the task's wording: a card of another definition is never served.

    `static_tokens` is what the program adds to every input, `original_tokens` what the task's own instructions would
    have cost instead; both in tokens, for the baseline estimate. `scoring`: how its proof compares answers.
    """

    task: str
    version: int
    definition: str
    model: str
    program: Prompt
    contract: Contract
    winner: str
    static_tokens: int
    original_tokens: int
    created: str
    compile_usd: float
    provenance: dict[str, str] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    notes: tuple[str, ...] = ()
    scoring: Scoring | None = None  # of older cards

    @property
    def label(self) -> str:
        return f"{self.task}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "program": self.program.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(
            **{
                **data,
                "program": Prompt.from_json(data["program"]),
                "contract": contract_from_json(data["contract"]),
                "scores": tuple(Score(**score) for score in data["scores"]),
                "notes": tuple(data["notes"]),
                "scoring": Scoring.from_json(scoring) if (scoring := data.get("scoring")) else None,
            }
        )
