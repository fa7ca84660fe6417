"""A card's proof: what its pairs showed, and how far the card may serve by that; `Proofs` keeps it in the store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Self

from compiler.card import Sealed
from compiler.diffs import Diff, Diffs
from compiler.evidence import TRUSTED, UNPROVEN, Evidence, held_traffic, traffic
from compiler.score import Outcome, Scored, Scoring
from compiler.store import Store

UNEASY_CONTROL = 0.2  # share that stays with the incumbent while something may have changed
SLOWER = 1.1  # times the incumbent's 95th percentile, and
SLACK = 0.2  # seconds more: the pairs are timed by a busy client, several at once, the incumbent by the proxy
TIMED = 200  # newest pairs whose times are compared
ENOUGH_TIMES = 40
TIMED_IN = 10  # pairs: one is asked so that its time counts, also where there are enough times
STRANGE = 20  # pairs in a row of another model: it has been replaced
ENOUGH_MONEY = 100  # pairs until it is said that a card saves nothing
POINTS = 60  # of the history, for a plot


class Ran(NamedTuple):
    """One pair, run and scored. Seconds and USD of both arms; `label` is the incumbent's answer where that is one,
    `answer` the candidate's."""

    position: int
    scored: Scored
    label: str | None
    incumbent: str  # the models that answered; empty where none did
    candidate: str
    seconds: tuple[float, float] | None
    usd: tuple[float | None, float | None]
    answer: str = ""

    @property
    def differs(self) -> bool:
        return self.scored.d != 0 or self.scored.outcome in ("fallback", "unjudged")

    def as_diff(self, now: float) -> Diff:
        scored = self.scored
        return Diff(self.position, now, scored.d, scored.outcome, scored.reason, scored.said, self.answer)


class Standing(NamedTuple):
    """Where a card stands. `reason`: why it serves no more than it does."""

    stage: Literal["shadowing", "ramping", "live", "kept", "paused"]
    traffic: float
    reason: str = ""


@dataclass
class Proof:
    """Of one card, against one snapshot of the incumbent. `position`: of the last observation that is in it; `kappa`
    None: not known yet.

    `history`: (pairs, bound), thinned out as it grows.
    """

    card: str
    scoring: Scoring
    evidence: Evidence
    position: int = 0
    kappa: float | None = 1.0
    arms: tuple[str, str] = ("", "")
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    seconds: list[tuple[float, float]] = field(default_factory=list)
    usd: tuple[float, float] = (0.0, 0.0)
    priced: int = 0
    strange: int = 0  # pairs in a row of other models than `arms`, which are in no evidence
    history: list[tuple[int, float]] = field(default_factory=list)
    since: float = 0.0

    def add(self, ran: Ran) -> bool:
        """Once for each pair, in the order of their positions. Whether it is in the evidence."""
        self.position = ran.position
        self.arms = self.arms[0] or ran.incumbent, self.arms[1] or ran.candidate
        if any(
            answered not in ("", arm) for answered, arm in zip((ran.incumbent, ran.candidate), self.arms, strict=True)
        ):
            self.strange += 1
            return False
        self.strange = 0
        self.evidence.add(ran.scored.d, ran.label, self.share_seen)
        self.outcomes[ran.scored.outcome] += 1
        if ran.seconds:
            self.seconds = [*self.seconds[-TIMED + 1 :], ran.seconds]
        if None not in ran.usd:
            falls_back = ran.scored.outcome == "fallback"
            ours = (ran.usd[1] or 0.0) + (ran.usd[0] or 0.0) * falls_back
            self.usd = self.usd[0] + (ran.usd[0] or 0.0), self.usd[1] + ours
            self.priced += 1
        self._note()
        return True

    def open_with(self, sealed: Sequence[Sealed]) -> None:
        """Pairs that the compile ran before any other, on examples that nothing in the card has seen."""
        for one in sealed:
            self.evidence.add(one.d, one.label, self.share_seen)
            self.outcomes[one.outcome] += 1
            self._note()

    def is_over(self, strange: int) -> bool:
        """Whether a new one has to begin, should the card serve again: another model answers, or it failed."""
        return self.strange >= strange or self.evidence.drift.drifted or self.evidence.futility.futile

    @property
    def pairs(self) -> int:
        return self.evidence.pairs

    @property
    def timed(self) -> bool:
        """Whether the times of both arms can be compared."""
        return len(self.seconds) >= ENOUGH_TIMES

    @property
    def bound(self) -> float:
        """At most so much worse, with 95 % confidence. 1 where nobody can tell."""
        return 1.0 if self.sight is None else self.evidence.bound(self.sight)

    @property
    def sight(self) -> float | None:
        """κ where a judge's word is in the evidence, None while it is not known; 1 where all was settled without."""
        return self.kappa if self.outcomes["judged"] else 1.0

    @property
    def share_seen(self) -> float:
        """Of a loss, as far as it is known: what alarms are measured by. A judge that is not trusted lets nobody
        serve."""
        return self.sight if self.sight is not None and self.sight >= TRUSTED else 1.0

    @property
    def was_good(self) -> bool:
        """Whether it ever was good enough to serve."""
        return any(bound <= UNPROVEN * self.evidence.margin for _, bound in self.history)

    def _note(self) -> None:
        if len(self.history) >= POINTS:
            self.history = self.history[1::2]
        last = self.history[-1][0] if self.history else 0
        if self.pairs >= last + max(1, self.pairs // POINTS):
            self.history.append((self.pairs, self.bound))

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "scoring": self.scoring.to_json(),
            "evidence": self.evidence.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        read = {
            "scoring": Scoring.from_json(data["scoring"]),
            "evidence": Evidence.from_json(data["evidence"]),
            "outcomes": Counter(data["outcomes"]),
            "arms": tuple(data["arms"]),
            "usd": tuple(data["usd"]),
            "seconds": [tuple(pair) for pair in data["seconds"]],
            "history": [tuple(point) for point in data["history"]],
        }
        return cls(**{**data, **read})


def standing(proof: Proof, control: float, *, pairs_per_call: float = 1.0) -> Standing:
    """Where a card stands by its evidence alone. `pairs_per_call`: of the task's calls, what share is compared."""
    evidence = proof.evidence
    if proof.was_good and (evidence.drift.drifted or evidence.futility.futile):
        return Standing("paused", 0.0, "its answers became worse than they were: your model answers")
    if evidence.futility.futile:
        return Standing("kept", 0.0, f"worse than your model by more than the margin ({proof.pairs} pairs)")
    if worse := evidence.segments.worse():
        which = "one of many answers" if worse[0] is None else repr(worse[0])
        return Standing("kept", 0.0, f"much worse where your model answers {which}")
    if proof.priced >= ENOUGH_MONEY and proof.usd[1] >= proof.usd[0]:
        return Standing("kept", 0.0, "saves nothing: it costs as much as your model, with what falls back to it")
    if proof.sight is not None and proof.sight < TRUSTED:
        return Standing("shadowing", 0.0, f"the judge can't tell good answers from bad ones (κ = {proof.sight:.2f})")
    if proof.sight is None:
        return Standing("shadowing", 0.0, "the judge is not calibrated yet")
    if slow := slower(proof):
        return Standing("shadowing", 0.0, slow)
    control = max(control, UNEASY_CONTROL) if evidence.drift.is_uneasy(proof.share_seen) else control
    allowed = traffic(proof.bound, evidence.margin, control)
    seen = f"at most {proof.bound:.1%} worse, 95 % sure ({proof.pairs} pairs)"
    if allowed <= 0:
        return Standing("shadowing", 0.0, seen)
    if proof.scoring.kind == "label" and not evidence.segments.covered:
        held = held_traffic(pairs_per_call)
        return Standing("ramping", min(allowed, held), f"{seen}; some answers are still rare among them")
    return Standing("live" if allowed >= 1 - control - 1e-9 else "ramping", allowed, seen)


def slower(proof: Proof) -> str | None:
    if not proof.timed:
        return None
    theirs, ours = (_p95([pair[arm] for pair in proof.seconds]) for arm in (0, 1))
    if ours <= SLOWER * theirs + SLACK:
        return None
    return f"slower than your model: 95 % of its answers within {ours:.2f} s, your model's within {theirs:.2f} s"


def _p95(seconds: list[float]) -> float:
    return sorted(seconds)[(len(seconds) * 95) // 100]


class Proofs:
    """Methods raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, task: str) -> Proof | None:
        data = self._store.get(f"proof:{task}")
        return Proof.from_json(data) if data else None

    def put(self, task: str, proof: Proof) -> None:
        self._store.put(f"proof:{task}", proof.to_json())

    def bounds(self) -> dict[str, float]:
        """Of every task with a proof."""
        names = [key.removeprefix("proof:") for key in self._store.keys("proof:")]
        return {name: proof.bound for name in names if (proof := self.get(name))}

    def begun(self, task: str) -> int:
        """How many were begun for the task, ever: each makes the next one's bar higher."""
        return int(self._store.get(f"proofs:{task}", 0))

    def move(self, old: str, new: str) -> None:
        """Of a task that has another name now, and its cards with it."""
        with self._store.transact():
            begun = max(self.begun(old), self.begun(new))
            if begun:
                self._store.put(f"proofs:{new}", begun)
            Diffs(self._store).move(old, new)
            if proof := self.get(old):
                self.put(new, replace(proof, card=new + proof.card.removeprefix(old)))

    def looked(self, task: str, times: int) -> None:
        """At sealed examples that are in no proof: each look might have let a card through, like a proof."""
        if times > 0:
            with self._store.transact():
                self._store.put(f"proofs:{task}", self.begun(task) + times)

    def begin(self, task: str, proof: Proof) -> None:
        with self._store.transact():
            self._store.put(f"proofs:{task}", self.begun(task) + 1)
            self.put(task, proof)
            Diffs(self._store).clear(task)
