"""What a person says about how far a card may serve, and who said what and why."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from compiler.card import Card
from compiler.errors import UnknownTask
from compiler.proof import Standing
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import Mode

KEPT_ENTRIES = 1_000  # of the audit log
Act = Literal["approve", "pause", "resume", "rollback"]


@dataclass(frozen=True)
class Said:
    """`approved`: the label of a card that may serve, in mode `manual`, up to `most`. `paused`: nothing is served."""

    approved: str = ""
    most: float = 1.0
    paused: str = ""


class Entry(NamedTuple):
    time: float  # Unix seconds
    task: str
    act: Act
    who: str
    why: str


class Rollout:
    """Methods raise StoreError, and UnknownTask for a task without a card."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._registry = Registry(store)

    def said(self, task: str) -> Said:
        return Said(**self._store.get(f"said:{task}", {}))

    def approve(self, task: str, *, most: float, who: str, why: str = "") -> Card:
        """Raises ValueError where `most` is no share."""
        if not 0 < most <= 1:
            raise ValueError(f"a share of the requests lies between 0 and 1: {most}")
        card = self._card(task)
        self._say(task, replace(self.said(task), approved=card.label, most=most, paused=""), "approve", who, why)
        return card

    def pause(self, task: str, *, who: str, why: str = "") -> None:
        self._card(task)
        self._say(task, replace(self.said(task), paused=why or "by a person"), "pause", who, why)

    def resume(self, task: str, *, who: str, why: str = "") -> None:
        """What its evidence says counts again; after a fall of its quality, a new proof is begun."""
        self._card(task)
        self._say(task, replace(self.said(task), paused=""), "resume", who, why)

    def rollback(self, task: str, *, who: str, why: str = "") -> int:
        """To the card before, which has to be proven anew, or to none. The version it is back at; 0: none."""
        card = self._card(task)
        with self._store.transact():
            version = next((v for v in range(card.version - 1, 0, -1) if self._registry.card(task, v)), 0)
            before = self._registry.card(task, version) if version else None
            self._registry.go_back(task, before)
            self._store.put(f"said:{task}", asdict(Said()))
            self._note(Entry(time.time(), task, "rollback", who, why))
        return version

    def audit(self) -> list[Entry]:
        return [Entry(*entry) for entry in self._store.get("audit", [])]

    def _card(self, task: str) -> Card:
        known = self._registry.task(task)
        view = self._registry.view(task, known) if known else None
        if view is None or view.compiled is None:
            raise UnknownTask(f"no task {task!r} with a card; `cuecard tasks` lists them")
        return view.compiled

    def _say(self, task: str, said: Said, act: Act, who: str, why: str) -> None:
        with self._store.transact():
            self._store.put(f"said:{task}", asdict(said))
            self._note(Entry(time.time(), task, act, who, why))
            if act == "pause":  # at once, not when the next pair comes
                state = self._registry.state(task)
                self._registry.set_state(task, replace(state, traffic=0.0, stage="paused", reason=said.paused))
            elif act == "resume":
                self._registry.set_state(task, replace(self._registry.state(task), stage="shadowing", traffic=0.0))

    def _note(self, entry: Entry) -> None:
        entries: list[Any] = self._store.get("audit", [])
        self._store.put("audit", [*entries[-KEPT_ENTRIES + 1 :], entry])


def allowed(standing: Standing, said: Said, card: str, mode: Mode) -> Standing:
    """How much of what the evidence allows may be served, by the mode and by what a person said."""
    if said.paused:
        return Standing("paused", 0.0, said.paused)
    if mode == "auto" or standing.traffic == 0:
        return standing
    if said.approved != card:
        return Standing("shadowing", 0.0, f"{standing.reason}; `cuecard approve` lets it serve")
    return standing._replace(traffic=min(standing.traffic, said.most))
