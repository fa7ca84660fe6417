"""What a person says about how far a card may serve, and who said what and why."""

import difflib
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from compiler.card import Card
from compiler.errors import NotNow, UnknownTask
from compiler.proof import Proofs, Standing, standing
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry, TaskView
from compiler.store import Store
from compiler.task import Mode, of_variant

KEPT_ENTRIES = 1_000  # of the audit log
Act = Literal["approve", "pause", "resume", "rollback"]


@dataclass(frozen=True)
class Said:
    """`approved`: the label of a card that may serve in mode `manual`. `most`: the share that may be served, in `auto`
    too. `paused`: nothing is served."""

    approved: str = ""
    most: float = 1.0
    paused: str = ""


class Entry(NamedTuple):
    time: float  # Unix seconds
    task: str
    act: Act
    who: str
    why: str
    what: str = ""  # the card it is about, and how far

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class Rollout:
    """Methods raise StoreError, UnknownTask for a name that no task has, and NotNow where the task is not so far."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._registry = Registry(store)

    def said(self, task: str) -> Said:
        return Said(**self._store.get(f"said:{task}", {}))

    def approve(
        self, task: str, *, most: float, who: str, why: str = "", control: float, shown: Card | None = None
    ) -> Card:
        """Also before there is evidence: the card serves as soon as there is. `shown`: the card that a person was asked
        about; raises NotNow where the task has another by now, and ValueError where `most` is no share."""
        if not 0 < most <= 1:
            raise ValueError(f"a share of the requests lies between 0 and 1: {most}")
        with self._store.transact():
            view, card = self.approvable(task)
            if shown and shown.label != card.label:
                raise NotNow(f"{task!r} has another card by now, {card.label}: look again")
            said = replace(self.said(task), approved=card.label, most=most)
            self._say(
                task, said, Entry(time.time(), task, "approve", who, why, f"{card.label}, at most {100 * most:.4g} %")
            )
            proof = Proofs(self._store).get(task)
            if proof and proof.card == card.label and view.state.stage != "compiling":  # at once, not at the next pair
                now = allowed(standing(proof, control), said, card.label, "manual")
                state = replace(view.state, stage=now.stage, traffic=now.traffic, reason=now.reason)
                self._registry.set_state(task, state)
        return card

    def approvable(self, task: str) -> tuple[TaskView, Card]:
        """The task as it stands, and the card that may be approved."""
        view, card = self.with_card(task)
        if view.task.trust != "proven":
            raise NotNow(f"{task!r} has `trust: declared`: its card serves without a proof, and waits for nobody")
        found = Catalogue(self._store).tasks().get(of_variant(task)) if view.task.recognised else None
        if found and found.ignored:
            raise NotNow(f"{found.name!r} is ignored; `cuecard tasks ignore --undo {found.name}` comes first")
        if view.stage == "paused":
            raise NotNow(f"{task!r} is paused ({view.reason}); `cuecard resume {task}` comes first")
        if view.stage == "kept":
            raise NotNow(f"{card.label} was kept back: {view.reason}. It serves nothing; a new card can be approved")
        return view, card

    def pause(self, task: str, *, who: str, why: str = "") -> None:
        with self._store.transact():
            view, card = self.with_card(task)
            said = replace(self.said(task), paused=why or f"by {who}")
            self._say(task, said, Entry(time.time(), task, "pause", who, why, card.label))
            # at once, not when the next pair comes
            self._registry.set_state(task, replace(view.state, stage="paused", traffic=0.0, reason=said.paused))

    def resume(self, task: str, *, who: str, why: str = "") -> None:
        """What its evidence says counts again once the prover looks; after a fall of its quality a new proof begins."""
        with self._store.transact():
            view, card = self.with_card(task)
            if view.stage != "paused":
                raise NotNow(f"{task!r} is not paused: it is {view.stage}")
            said = replace(self.said(task), paused="")
            self._say(task, said, Entry(time.time(), task, "resume", who, why, card.label))
            self._registry.begin(task, proven=view.task.trust == "proven")

    def rollback(self, task: str, *, who: str, why: str = "") -> int:
        """To the card before, which has to be proven anew, or to none. The version it is back at; 0: none."""
        with self._store.transact():
            view, card = self.with_card(task)
            before = self._before(card)
            self._registry.go_back(task, before, proven=view.task.trust == "proven")
            what = f"{card.label} to {before.label if before else 'no card'}"
            self._say(task, Said(), Entry(time.time(), task, "rollback", who, why, what))
        return before.version if before else 0

    def move(self, old: str, new: str) -> None:
        """Of a task that has another name now, and its cards with it. The audit log is left as it was written."""
        said = self.said(old)
        if said != Said():
            card = new + said.approved.removeprefix(old) if said.approved else ""
            self._store.put(f"said:{new}", asdict(replace(said, approved=card)))

    def audit(self, task: str | None = None) -> list[Entry]:
        entries = [Entry(*entry) for entry in self._store.get("audit", [])]
        return [entry for entry in entries if task in (None, entry.task)]

    def known(self, task: str) -> TaskView:
        if (known := self._registry.task(task)) is None:
            raise UnknownTask(self._unknown(task))
        return self._registry.view(task, known)

    def with_card(self, task: str) -> tuple[TaskView, Card]:
        view = self.known(task)
        if view.compiled is None:
            why = f" ({view.reason})" if view.reason else ""
            raise NotNow(f"{task!r} has no card: it is {view.stage}{why}")
        return view, view.compiled

    def _unknown(self, task: str) -> str:
        adopted = self._registry.adopted()
        variants = [name for name in adopted if of_variant(name) == task]
        if variants:
            return f"the values in {task!r} make tasks of their own, say which one: {', '.join(sorted(variants))}"
        near = difflib.get_close_matches(task, {*self._registry.tasks(), *adopted}, n=1)
        meant = f", did you mean {near[0]!r}?" if near else ";"
        return f"no task {task!r} with a card{meant} `cuecard tasks` lists them"

    def _before(self, card: Card) -> Card | None:
        """The newest of the same wording that is older: another's would never be served."""
        found = (self._registry.card(card.task, version) for version in range(card.version - 1, 0, -1))
        return next((one for one in found if one and one.definition == card.definition), None)

    def _say(self, task: str, said: Said, entry: Entry) -> None:
        self._store.put(f"said:{task}", asdict(said))
        entries: list[Any] = self._store.get("audit", [])
        self._store.put("audit", [*entries[-KEPT_ENTRIES + 1 :], entry])


def allowed(standing: Standing, said: Said, card: str, mode: Mode) -> Standing:
    """How much of what the evidence allows may be served, by the mode and by what a person said."""
    if said.paused:
        return Standing("paused", 0.0, said.paused)
    if standing.traffic == 0:
        return standing
    if mode != "auto" and said.approved != card:
        return Standing("shadowing", 0.0, f"{standing.reason}; `cuecard approve` lets it serve")
    if said.most >= standing.traffic:
        return standing
    return standing._replace(
        stage="ramping", traffic=said.most, reason=f"{standing.reason}; {100 * said.most:.4g} % as you said"
    )
