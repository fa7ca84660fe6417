"""What users say of answers: once for each answer, summed up by route, and a gate on a task's card that only demotes.

The gate compares the card's answers with the current model's where chance chose between the two. Whatever was said of
one is held against the mean of what was said of the other since the last such pair: d, in [-1, 1], is then in the mean
how much worse the card is, at that time. The bets are `compiler.evidence.Futility`'s.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from compiler.answers import KEEP, PAGE, Answered, Answers, Arm, is_of_task, of_tenant
from compiler.evidence import Futility
from compiler.registry import Registry, TaskView
from compiler.rollout import Rollout
from compiler.store import Store

WHO = "feedback"  # in the audit log
REASON = "your feedback says so"
MOST_LOG = 30.0  # of a capital that is shown
ARMS: tuple[Arm, ...] = ("card", "control")


@dataclass
class Sum:
    """`noted`: answers that something was said of; `scored`: those with a score, which add up to `total`."""

    noted: int = 0
    scored: int = 0
    total: float = 0.0

    def add(self, score: float | None, by: int = 1) -> None:
        """`by` -1: take it back."""
        self.noted += by
        if score is not None:
            self.scored += by
            self.total += by * score

    @property
    def mean(self) -> float | None:
        return min(1.0, max(0.0, self.total / self.scored)) if self.scored else None

    def to_json(self) -> list[float]:
        return [self.noted, self.scored, self.total]


def _sums(saved: dict[str, list[Any]]) -> dict[str, Sum]:
    return {name: Sum(*one) for name, one in saved.items()}


class Word(NamedTuple):
    """What was last said of an answer; what it is counted in is told by `since` (a Tally) and `turn` (of a
    Comparison, the first that it had a part in)."""

    score: float | None
    route: str
    version: int
    arm: Arm
    since: float
    turn: int


@dataclass
class Comparison:
    """Of one card, by its version. `turn`: another number after each pair; what was said in an earlier one has been bet
    on, and is not bet on again. `capital`: of the bets that the card is worse by more than the margin."""

    version: int = 0
    arms: dict[str, Sum] = field(default_factory=lambda: {arm: Sum() for arm in ARMS})
    waiting: dict[str, Sum] = field(default_factory=lambda: {arm: Sum() for arm in ARMS})
    turn: int = 0
    pairs: int = 0
    capital: list[float] = field(default_factory=lambda: [0.0])

    def add(self, arm: Arm, score: float | None, margin: float, *, bet_on: bool = False) -> bool:
        """Whether the card is worse, by all that was said so far. `bet_on`: the answer was before."""
        self.arms[arm].add(score)
        if bet_on:
            return False
        self.waiting[arm].add(score)
        card, control = (self.waiting[arm].mean for arm in ARMS)
        if card is None or control is None:
            return False
        bets = Futility(margin, self.capital)
        bets.add(control - card)
        self.capital = bets.capital.to_json()
        self.waiting = {arm: Sum() for arm in ARMS}
        self.turn, self.pairs = self.turn + 1, self.pairs + 1
        return bets.futile

    @property
    def odds(self) -> float:
        """What the bets have made of 1; the card is worse at 20. They are weighed alike whatever the margin."""
        return math.exp(min(Futility(0.5, self.capital).capital.log, MOST_LOG))

    def take_back(self, word: Word) -> int | None:
        """The turn in which it was bet on, if it was."""
        self.arms[word.arm].add(word.score, -1)
        if word.turn != self.turn:
            return word.turn
        self.waiting[word.arm].add(word.score, -1)
        return None

    def begin_anew(self) -> None:
        self.waiting = {arm: Sum() for arm in ARMS}
        self.turn, self.pairs, self.capital = self.turn + 1, 0, [0.0]

    def to_json(self) -> dict[str, Any]:
        sums = {name: {arm: one.to_json() for arm, one in getattr(self, name).items()} for name in ("arms", "waiting")}
        return {**vars(self), **sums}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**{**data, "arms": _sums(data["arms"]), "waiting": _sums(data["waiting"])})


@dataclass
class Tally:
    """All that was said of a task's answers. `since`: Unix seconds, and no other tally's of that name."""

    since: float
    routes: dict[str, Sum] = field(default_factory=dict)
    comparison: Comparison = field(default_factory=Comparison)

    def take_back(self, word: Word) -> int | None:
        """As of its comparison."""
        if word.since != self.since:
            return None
        self.routes[word.route].add(word.score, -1)
        compared = word.arm and word.version == self.comparison.version
        return self.comparison.take_back(word) if compared else None

    def add(
        self, answered: Answered, score: float | None, margin: float, bet_on: int | None = None
    ) -> tuple[Word, bool]:
        """The word to remember, and whether the card is worse by it. A newer card is compared by itself. `bet_on`: of
        what was taken back for it."""
        _, _, version, route, arm, _ = answered
        self.routes.setdefault(route, Sum()).add(score)
        if arm and version > self.comparison.version:
            self.comparison = Comparison(version)
        turn = self.comparison.turn if bet_on is None else bet_on
        compared = bool(arm) and version == self.comparison.version
        worse = compared and self.comparison.add(arm, score, margin, bet_on=bet_on is not None)
        return Word(score, route, version, arm, self.since, turn), worse

    def to_json(self) -> dict[str, Any]:
        routes = {route: one.to_json() for route, one in self.routes.items()}
        return {"since": self.since, "routes": routes, "comparison": self.comparison.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(data["since"], _sums(data["routes"]), Comparison.from_json(data["comparison"]))


class Noted(NamedTuple):
    """`task`: as it is called now; `again`: something had been said of that answer before."""

    task: str
    again: bool


class Feedback:
    """Methods raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, task: str) -> Tally | None:
        data = self._store.get(f"feedback:{task}")
        return Tally.from_json(data) if data else None

    def tasks(self) -> list[str]:
        return [key.removeprefix("feedback:") for key in self._store.keys("feedback:")]

    def note(self, key: str, answered: Answered, score: float | None, margin: Callable[[str], float]) -> Noted:
        """In place of what was said of the same answer before. One transaction with what follows from it. `margin`: by
        the kind of a task's answers."""
        with self._store.transact():
            task = self._now_called(answered)
            tally = self.of(task) or Tally(time.time())
            before = self._store.get(f"word:{key}")
            bet_on = tally.take_back(Word(*before[1:])) if before else None
            word, worse = tally.add(answered, score, margin(answered.kind), bet_on)
            view = self._view(task)
            if worse and view:
                self._demote(view, tally.comparison)
            if worse or (view and view.stage == "paused"):
                tally.comparison.begin_anew()  # else the next word would pause again what a person has resumed
            self._store.put(f"word:{key}", [task, *word], expire=KEEP)
            self._store.put(f"feedback:{task}", tally.to_json())
        return Noted(task, before is not None)

    def move(self, old: str, new: str) -> None:
        """Of a task that has another name now; answers given under the old one are still spoken of."""
        if tally := self.of(old):
            self._store.put(f"feedback:{new}", tally.to_json())
            self._store.delete(f"feedback:{old}")
        self._store.delete(f"renamed:{new}")
        self._store.put(f"renamed:{old}", [new, time.time()], expire=KEEP)

    def _now_called(self, answered: Answered) -> str:
        task = answered.task
        while (moved := self._store.get(f"renamed:{task}")) and answered.time <= moved[1]:
            task = moved[0]
        return task

    def _view(self, task: str) -> TaskView | None:
        registry = Registry(self._store)
        known = registry.task(task)
        return registry.view(task, known) if known else None

    def _demote(self, view: TaskView, comparison: Comparison) -> None:
        """Where that card may still serve, or come to."""
        compared = view.compiled is not None and view.compiled.version == comparison.version
        if compared and view.stage not in ("paused", "kept"):
            card, control = (_told(comparison.arms[arm]) for arm in ARMS)
            why = f"{REASON}: {card} for its answers, {control} for your model's"
            Rollout(self._store).pause(view.task.name, who=WHO, why=why)


def _told(found: Sum) -> str:
    return f"{found.mean or 0.0:.2f} of 1 ({found.scored})"


def forget(store: Store, *, tenant: str | None = None, task: str | None = None) -> None:
    """Which answers were given to whom, and what was said of each. Sums stay."""
    if not Answers.exist(store.folder):
        return
    with Answers(store.folder) as answers:
        answers.forget(tenant=tenant, task=task)
    prefix, after = f"word:{of_tenant(tenant) if tenant else ''}", ""
    while page := store.page(prefix, after, PAGE):
        with store.transact():
            for key, word in page:
                if task is None or is_of_task(word[0], task):
                    store.delete(key)
        after = page[-1][0]
