"""What is known of every task: its definition, its stage, its cards. Written by few, read whole as a snapshot."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from compiler.card import Card
from compiler.example import Example
from compiler.generation import bump, generation
from compiler.ledger import Incumbent, Ledger
from compiler.recognition.catalogue import NOTHING, Catalogue, Recognition
from compiler.store import Store
from compiler.task import Task, of_variant

Stage = Literal["observing", "compiling", "shadowing", "ramping", "live", "kept", "paused"]
STAGES: tuple[Stage, ...] = ("observing", "compiling", "shadowing", "ramping", "live", "kept", "paused")
Origin = Literal["config", "admin"]
MOST_EXAMPLES = 400  # out of a task's traffic; the newest
SCOPES = ("proof", "compile", "try")  # of background calls whose answers are kept
RESUMED = "resumed"  # the reason of a state that waits for its evidence to be looked at


@dataclass(frozen=True)
class TaskState:
    """`reason` and `retry_at` (Unix seconds) are about the last compile or proof, if it failed; `definition` is the
    wording."""

    stage: Stage = "observing"
    definition: str = ""
    version: int = 0
    reason: str = ""
    retry_at: float = 0.0
    failures: int = 0
    traffic: float = 1.0  # share of a proven task's requests that its card may serve

    def wants_compile(self, definition: str, now: float) -> bool:
        if self.definition != definition:
            return True
        return self.stage == "observing" or (self.stage == "kept" and now >= self.retry_at)


@dataclass(frozen=True)
class TaskView:
    """All a worker needs to serve a task, at one moment."""

    task: Task
    state: TaskState
    card: Card | None
    incumbent: Incumbent
    paused: str = ""  # why, where a person paused it: whatever its state became since

    @property
    def stage(self) -> Stage:
        return "paused" if self.paused else self.state.stage

    @property
    def reason(self) -> str:
        return self.paused or self.state.reason

    @property
    def served(self) -> float:
        """The share of the requests that its card may serve."""
        if self.compiled is None or self.stage == "paused":
            return 0.0
        return self.state.traffic if self.task.trust == "proven" else 1.0

    @cached_property
    def compiled(self) -> Card | None:
        """The card, if it is of the task's present wording."""
        return self.card if self.card and self.card.definition == self.task.definition() else None

    @property
    def settled(self) -> bool:
        """Nothing to wait for: there is a card, or the compile ended without one and it isn't time to try again."""
        return self.compiled is not None or not (
            self.state.stage == "compiling" or self.state.wants_compile(self.task.definition(), time.time())
        )


@dataclass(frozen=True)
class Snapshot:
    generation: int = 0
    off: bool = False
    tasks: Mapping[str, TaskView] = field(default_factory=dict)
    recognition: Recognition = NOTHING
    adopted: Mapping[str, TaskView] = field(default_factory=dict)  # recognised in the traffic, by variant

    @cached_property
    def serves_recognised(self) -> bool:
        """Whether to recognise a request may save its price."""
        return any(view.served > 0 for view in self.adopted.values())


class Registry:
    """Every change bumps `generation` in its own transaction, so that a reader asks one number whether to read on."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def store(self) -> Store:
        return self._store

    def generation(self) -> int:
        return generation(self._store)

    def snapshot(self, known: Recognition = NOTHING) -> Snapshot:
        """`known`: of the snapshot before, to go on with where nothing else was recognised since."""
        with self._store.transact():
            number = self.generation()
            off = self.is_off()
            tasks = {name: self.view(name, task) for name, (task, _) in self.tasks().items()}
            adopted = {name: self.view(name, task) for name, task in self.adopted().items()}
            recognition = Catalogue(self._store).recognition(known)
        return Snapshot(number, off, tasks, recognition, adopted)

    def tasks(self) -> dict[str, tuple[Task, Origin]]:
        kept: dict[str, dict[str, Any]] = self._store.get("tasks", {})
        return {name: (Task.from_json(entry["task"]), entry["origin"]) for name, entry in kept.items()}

    def adopted(self) -> dict[str, Task]:
        """Tasks that were recognised, and are compiled and proven like declared ones; by their variant's name."""
        kept: dict[str, dict[str, Any]] = self._store.get("adopted", {})
        return {name: Task.from_json(task) for name, task in kept.items()}

    def adopt(self, task: Task, examples: Sequence[Example]) -> None:
        with self._store.transact():
            self._store.put("adopted", self._store.get("adopted", {}) | {task.name: task.to_json()})
            self._store.put(f"examples:{task.name}", [asdict(example) for example in examples])
            bump(self._store)

    def drop(self, names: Iterable[str]) -> None:
        """No longer adopted; nothing stays of what was learned from their traffic."""
        with self._store.transact():
            kept: dict[str, Any] = self._store.get("adopted", {})
            gone = [name for name in names if kept.pop(name, None) is not None]
            self._store.put("adopted", kept)
            for name in gone:
                self.clear(name)

    def clear(self, name: str) -> None:
        """Nothing stays that holds traffic: demonstrations, labels, kept answers. Numbers do: no version and no proof
        is counted twice."""
        with self._store.transact():
            for version in range(1, self.next_version(name)):
                self._store.delete(f"card:{name}@{version}")
            for kind in ("examples", "learned", "state", "proof", "diffs", "said", "feedback", "steps"):
                self._store.delete(f"{kind}:{name}")
            self.clear_answers(name)
            self.unwant(name)
            bump(self._store)

    def clear_answers(self, name: str) -> bool:
        """Those that were kept so that nothing is paid for twice; whether there were any."""
        kept = [key for scope in SCOPES for key in self._store.keys(f"memo:{scope}:{name}@")]
        for key in kept:
            self._store.delete(key)
        return bool(kept)

    def move(self, old: str, new: str) -> None:
        """An adopted task under another name, with its examples, its cards and where they stand."""
        with self._store.transact():
            task = self.adopted()[old]
            moved, state = replace(task, name=new), self.state(old)
            wording = {task.definition(): moved.definition()}
            self.adopt(moved, self.examples(old))
            for version in range(1, self.next_version(old)):
                if card := self.card(old, version):
                    defined = wording.get(card.definition, card.definition)
                    self.publish(replace(card, task=new, definition=defined))
            stage: Stage = "observing" if state.stage == "compiling" else state.stage  # under the old name
            defined = wording.get(state.definition, state.definition)
            self.set_state(new, replace(state, stage=stage, definition=defined))
            self.drop([old])

    def task(self, name: str) -> Task | None:
        """Declared or adopted."""
        declared = self.tasks().get(name)
        return declared[0] if declared else self.adopted().get(name)

    def view(self, name: str, task: Task) -> TaskView:
        state = self.state(name)
        card = self.card(name, state.version) if state.version else None
        paused = self._store.get(f"said:{name}", {}).get("paused", "")
        return TaskView(task, state, card, Ledger(self._store).incumbent(of_variant(name)), paused)

    def declare(self, declared: Mapping[str, tuple[Task, Sequence[Example]]], origin: Origin) -> None:
        """From `config`: exactly these, what the configuration no longer names is gone. From `admin`: these as well."""
        with self._store.transact():
            kept: dict[str, Any] = self._store.get("tasks", {})
            if origin == "config":
                kept = {name: entry for name, entry in kept.items() if entry["origin"] != "config"}
            for name, (task, examples) in declared.items():
                kept[name] = {"task": task.to_json(), "origin": origin}
                self._store.put(f"examples:{name}", [asdict(example) for example in examples])
            self._store.put("tasks", kept)
            bump(self._store)

    def remove(self, name: str) -> bool:
        with self._store.transact():
            kept: dict[str, Any] = self._store.get("tasks", {})
            if kept.pop(name, None) is None:
                return False
            self._store.put("tasks", kept)
            self._store.delete(f"examples:{name}")
            if name in self.learned():
                self.clear(name)
            bump(self._store)
            return True

    def examples(self, name: str) -> list[Example]:
        return [Example(**e) for e in self._store.get(f"examples:{name}", [])]

    def add_examples(self, name: str, examples: Sequence[Example]) -> None:
        """Out of its traffic, to a declared task that came without any."""
        with self._store.transact():
            self._store.put(f"examples:{name}", [asdict(example) for example in examples])
            self._store.put(f"learned:{name}", True)

    def correct(self, name: str, example: Example) -> bool:
        """What should have been answered, among examples out of the traffic; those that a user gave are left alone."""
        with self._store.transact():
            if name not in self.adopted() and not self._store.get(f"learned:{name}"):
                return False
            found = {one.input: one for one in self.examples(name)} | {example.input: example}
            kept = [*found.values()][-MOST_EXAMPLES:]
            self._store.put(f"examples:{name}", [asdict(one) for one in kept])
            return True

    def learned(self, tenant: str | None = None) -> list[str]:
        """The declared tasks with examples out of their traffic; of a tenant, those that it may use."""
        names = (key.removeprefix("learned:") for key in self._store.keys("learned:"))
        found = {name: self.task(name) for name in names}
        return [name for name, task in found.items() if not tenant or not task or task.tenant in (None, tenant)]

    def state(self, name: str) -> TaskState:
        return TaskState(**self._store.get(f"state:{name}", {}))

    def set_state(self, name: str, state: TaskState, *, quietly: bool = False) -> None:
        """`quietly`: nothing that a worker has to know at once."""
        with self._store.transact():
            self._store.put(f"state:{name}", asdict(state))
            if not quietly:
                bump(self._store)

    def card(self, name: str, version: int) -> Card | None:
        data = self._store.get(f"card:{name}@{version}")
        return Card.from_json(data) if data else None

    def next_version(self, name: str) -> int:
        """One past the newest card that was ever published: versions are never used twice."""
        return int(self._store.get(f"versions:{name}", 0)) + 1

    def publish(self, card: Card, *, stage: Stage = "live", traffic: float = 1.0) -> None:
        """Keep the card and make it the task's; it serves as far as `traffic` says."""
        with self._store.transact():
            self._store.put(f"card:{card.task}@{card.version}", card.to_json())
            self._store.put(f"versions:{card.task}", max(card.version, self.next_version(card.task) - 1))
            self._store.put(
                f"state:{card.task}", asdict(TaskState(stage, card.definition, card.version, traffic=traffic))
            )
            bump(self._store)

    def go_back(self, name: str, card: Card | None, *, proven: bool = True) -> None:
        """To a card of before, which serves nothing until it is proven, or to none. Not `proven`: it serves at once."""
        state = self.state(name)
        if card is None:
            self.set_state(name, TaskState("kept", state.definition, 0, "rolled back", float("inf")))
            return
        stage, traffic = _begins(proven)
        self.set_state(name, TaskState(stage, card.definition, card.version, "rolled back", traffic=traffic))

    def begin(self, name: str, *, proven: bool) -> None:
        """Let the task's card serve again: at once, or as far as it is proven from now on."""
        stage, traffic = _begins(proven)
        self.set_state(name, replace(self.state(name), stage=stage, traffic=traffic, reason=RESUMED if proven else ""))

    def keep(self, name: str, definition: str, reason: str, retry_after: float, *, hopeless: bool = False) -> None:
        """No new card: what serves the task stays, the original or the card before, until it is worth another try. A
        card that served nothing goes on to be proven, unless all is `hopeless`."""
        state = self.state(name)
        failures = state.failures + 1 if state.definition == definition else 1
        retry_at = time.time() + retry_after
        card = self.card(name, state.version) if state.version else None
        stage: Stage = "kept"
        if card and card.definition == definition and (state.traffic > 0 or not hopeless):
            stage = "live" if state.traffic > 0 else "shadowing"
        self.set_state(name, TaskState(stage, definition, state.version, reason, retry_at, failures, state.traffic))

    def reopen(self, name: str) -> None:
        """Let the task want a compile now, whatever came of the last one; a card serves on meanwhile."""
        state = self.state(name)
        self.set_state(name, TaskState("observing", state.definition, state.version, traffic=state.traffic))

    def compiling(self, name: str, definition: str) -> None:
        state = self.state(name)
        failures = state.failures if state.definition == definition else 0
        self.set_state(name, replace(state, stage="compiling", definition=definition, failures=failures))

    def is_off(self) -> bool:
        return bool(self._store.get("off", False))

    def set_off(self, off: bool) -> None:
        with self._store.transact():
            self._store.put("off", off)
            bump(self._store)

    def want(self, names: Iterable[str]) -> None:
        """Ask the learner to compile; asking twice is asking once."""
        with self._store.transact():
            wanted: dict[str, float] = self._store.get("wanted", {})
            new = {name: time.time() for name in names if name not in wanted}
            if new:
                self._store.put("wanted", wanted | new)

    def wanted(self) -> list[str]:
        return list(self._store.get("wanted", {}))

    def unwant(self, name: str) -> None:
        with self._store.transact():
            wanted: dict[str, float] = self._store.get("wanted", {})
            if wanted.pop(name, None) is not None:
                self._store.put("wanted", wanted)


def _begins(proven: bool) -> tuple[Stage, float]:
    """Where a card begins, and the share of the requests that it may serve then."""
    return ("shadowing", 0.0) if proven else ("live", 1.0)
