"""The compiled artifact: program, where it came from, and what was measured. Immutable; readable as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

from compiler.program import Prompt
from compiler.score import Outcome, Scoring
from compiler.steps import Score, Step
from compiler.task import Contract, contract_from_json


class Sealed(NamedTuple):
    """One of the sealed examples: a first pair of the card's proof."""

    d: float
    outcome: Outcome
    label: str | None


@dataclass(frozen=True)
class Card:
    """`definition` ties it to the task's wording: a card of another definition is never served.

    `static_tokens` is what the program adds to every input, `original_tokens` what the app's own words that it stands
    for would have cost instead; both in tokens, for the baseline estimate. `scoring`: how its proof compares answers.

    `scores`: of the prompts that were tried on this model; `steps`: all that was done. `sealed`: what the sealed
    examples showed, where they are a sample of the traffic; `looks`: how often they were looked at. `usd_per_call`: of
    the app's own model, estimated, and of the card, both as measured on the examples.
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
    steps: tuple[Step, ...] = ()
    sealed: tuple[Sealed, ...] = ()
    looks: int = 0
    usd_per_call: tuple[float | None, float | None] = (None, None)

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
                "steps": tuple(map(Step.from_json, data.get("steps", ()))),
                "sealed": tuple(Sealed(*one) for one in data.get("sealed", ())),
                "usd_per_call": tuple(data.get("usd_per_call", (None, None))),
                "notes": tuple(data["notes"]),
                "scoring": Scoring.from_json(scoring) if (scoring := data.get("scoring")) else None,
            }
        )
