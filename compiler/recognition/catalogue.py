"""The tasks that were recognised: their templates, and what people made of them. Kept in the store; workers read it
whole, as a Recognition."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from compiler.errors import UnknownTask
from compiler.generation import bump
from compiler.recognition.naming import name_of
from compiler.recognition.recognise import Match, Recogniser
from compiler.recognition.template import Template
from compiler.store import Store

TASKS, GENERATION, STRUCTURES = "recognised", "recognised:generation", "recognised:structures"


@dataclass(frozen=True)
class Recognised:
    """A task as people know it. Several templates where a person merged them; `merged`: the values of its enumerated
    slots don't make tasks of their own. `since`: Unix seconds."""

    name: str
    templates: tuple[str, ...]
    ignored: bool = False
    merged: bool = False
    since: float = 0.0


class Named(NamedTuple):
    """What a request was found to be. `task` None: free chat, of no task. `variant`: the task with the values that its
    enumerated slots have here; the same as the task's name without any."""

    match: Match
    task: Recognised | None
    variant: str

    @property
    def template(self) -> Template:
        return self.match.template


@dataclass(frozen=True)
class Recognition:
    """An immutable picture for the request path."""

    generation: int = 0
    recogniser: Recogniser = field(default_factory=Recogniser)
    tasks: Mapping[str, Recognised] = field(default_factory=dict)  # by template id

    def name(self, structure: str, texts: Sequence[str]) -> Named | None:
        match = self.recogniser.match(structure, texts)
        if match is None:
            return None
        template = match.template
        task = self.tasks.get(template.id)
        if template.catch_all or task is None:
            return Named(match, None, "")
        chosen = "" if task.merged else match.task_id.removeprefix(template.id).replace("-", "~")
        return Named(match, task, task.name + chosen)


NOTHING = Recognition()


class Catalogue:
    """Methods raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def recognition(self, known: Recognition = NOTHING) -> Recognition:
        """`known` itself where nothing has changed: an index of a thousand templates takes some milliseconds."""
        generation = int(self._store.get(GENERATION, 0))
        if generation == known.generation:
            return known
        by_template = {id_: task for task in self.tasks().values() for id_ in task.templates}
        return Recognition(generation, Recogniser(self.templates()), MappingProxyType(by_template))

    def templates(self) -> list[Template]:
        structures = self._store.get(STRUCTURES, [])
        return [
            Template.from_json(t) for structure in structures for t in self._store.get(f"templates:{structure}", [])
        ]

    def tasks(self) -> dict[str, Recognised]:
        kept: dict[str, dict[str, Any]] = self._store.get(TASKS, {})
        return {name: Recognised(**{**task, "templates": tuple(task["templates"])}) for name, task in kept.items()}

    def publish(self, structure: str, templates: Sequence[Template], *, reserved: Iterable[str] = ()) -> None:
        """All templates of a structure, instead of those before. New ones become tasks, under names that are neither
        another's nor `reserved`; a task whose templates are all gone goes with them."""
        with self._store.transact():
            structures: list[str] = self._store.get(STRUCTURES, [])
            if structure not in structures:
                self._store.put(STRUCTURES, [*structures, structure])
            before = {t["id"] for t in self._store.get(f"templates:{structure}", [])}
            self._store.put(f"templates:{structure}", [template.to_json() for template in templates])
            gone = before - {template.id for template in templates}
            tasks = _without(self.tasks(), gone)
            known = {id_ for task in tasks.values() for id_ in task.templates}
            for template in templates:
                if template.id not in known and not template.catch_all:
                    name = name_of(template, {*tasks, *reserved})
                    tasks[name] = Recognised(name, (template.id,), since=time.time())
            self._put(tasks)

    def rename(self, old: str, new: str, *, reserved: Iterable[str] = ()) -> None:
        """Raises UnknownTask, and ValueError where the new name is taken."""
        with self._store.transact():
            tasks = self.tasks()
            _require(tasks, old)
            if new in tasks or new in reserved:
                raise ValueError(f"there is a task {new!r} already; `cuecard tasks merge` makes one of two")
            self._put({new if name == old else name: _named(task, old, new) for name, task in tasks.items()})

    def ignore(self, name: str, ignored: bool = True) -> None:
        with self._store.transact():
            tasks = self.tasks()
            _require(tasks, name)
            self._put(tasks | {name: replace(tasks[name], ignored=ignored)})

    def merge(self, names: Sequence[str]) -> Recognised:
        """One task under the first name: their templates, and all values of their enumerated slots."""
        with self._store.transact():
            tasks = self.tasks()
            for name in names:
                _require(tasks, name)
            templates = tuple(dict.fromkeys(id_ for name in names for id_ in tasks[name].templates))
            merged = replace(tasks[names[0]], templates=templates, merged=True)
            self._put({n: task for n, task in tasks.items() if n not in names[1:]} | {merged.name: merged})
            return merged

    def forget(self, tenant: str) -> int:
        """What was learned from a tenant's traffic; how many templates that were."""
        with self._store.transact():
            gone: set[str] = set()
            for structure in self._store.get(STRUCTURES, []):
                kept = self._store.get(f"templates:{structure}", [])
                left = [template for template in kept if template["tenant"] != tenant]
                if len(left) < len(kept):
                    gone |= {template["id"] for template in kept} - {template["id"] for template in left}
                    self._store.put(f"templates:{structure}", left)
            if gone:
                self._put(_without(self.tasks(), gone))
            return len(gone)

    def _put(self, tasks: Mapping[str, Recognised]) -> None:
        self._store.put(TASKS, {name: asdict(task) for name, task in tasks.items()})
        self._store.put(GENERATION, int(self._store.get(GENERATION, 0)) + 1)
        bump(self._store)


def _without(tasks: Mapping[str, Recognised], gone: set[str]) -> dict[str, Recognised]:
    left = {}
    for name, task in tasks.items():
        templates = tuple(id_ for id_ in task.templates if id_ not in gone)
        if templates:
            left[name] = replace(task, templates=templates)
    return left


def _named(task: Recognised, old: str, new: str) -> Recognised:
    return replace(task, name=new) if task.name == old else task


def _require(tasks: Mapping[str, Recognised], name: str) -> None:
    if name not in tasks:
        raise UnknownTask(f"no task {name!r} was recognised; `cuecard tasks` lists them")
