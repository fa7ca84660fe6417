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
from compiler.recognition.wording import read_lexicon
from compiler.store import Store
from compiler.task import NAME, NAME_FORM

TASKS, GENERATION = "recognised", "recognised:generation"
PUBLISHED = "recognised:published"  # structure → the generation in which its templates were last replaced
EPOCH = "recognised:epoch"


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
    """An immutable picture for the request path. `published`: of which generation each structure's templates are."""

    generation: int = 0
    recogniser: Recogniser = field(default_factory=Recogniser)
    tasks: Mapping[str, Recognised] = field(default_factory=dict)  # by template id
    published: Mapping[str, int] = field(default_factory=dict)

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
        """`known` itself where nothing has changed, and its index of every structure that has not: one of a thousand
        templates takes some twenty milliseconds to read and build."""
        generation = int(self._store.get(GENERATION, 0))
        if generation == known.generation:
            return known
        read_lexicon()  # here, and not for the first request that may be of a template
        published: dict[str, int] = self._store.get(PUBLISHED, {})
        changed = {s: self._of(s) for s, at in published.items() if known.published.get(s) != at}
        gone: dict[str, list[Template]] = {s: [] for s in known.published if s not in published}
        recogniser = known.recogniser.instead(gone | changed)
        return Recognition(generation, recogniser, MappingProxyType(by_template(self.tasks())), published)

    def templates(self) -> list[Template]:
        return [template for structure in self._store.get(PUBLISHED, {}) for template in self._of(structure)]

    def _of(self, structure: str) -> list[Template]:
        return [Template.from_json(template) for template in self._store.get(f"templates:{structure}", [])]

    def tasks(self) -> dict[str, Recognised]:
        kept: dict[str, dict[str, Any]] = self._store.get(TASKS, {})
        return {name: Recognised(**{**task, "templates": tuple(task["templates"])}) for name, task in kept.items()}

    def epoch(self) -> int:
        """Another number whenever something was forgotten: what was learned before may hold text of it."""
        return int(self._store.get(EPOCH, 0))

    def learned_at(self) -> tuple[int, int]:
        """Other numbers whenever anything was learned, decided or forgotten."""
        return int(self._store.get(GENERATION, 0)), self.epoch()

    def learned(self) -> tuple[int, list[Template]]:
        """The templates, and the epoch they are of."""
        with self._store.transact():
            return self.epoch(), self.templates()

    def publish(
        self, found: Mapping[str, Sequence[Template]], *, reserved: Iterable[str] = (), epoch: int | None = None
    ) -> bool:
        """Of each structure all its templates, instead of those before. New ones become tasks, under names that are
        neither another's nor `reserved`; a task whose templates are all gone goes with them.

        `epoch`: of what they were learned from. False: something was forgotten since, so nothing was published."""
        with self._store.transact():
            if epoch not in (None, self.epoch()):
                return False
            self._replace(found, reserved)
            return True

    def _replace(self, found: Mapping[str, Sequence[Template]], reserved: Iterable[str]) -> None:
        tasks = self.tasks()
        for structure, templates in found.items():
            before = {t["id"] for t in self._store.get(f"templates:{structure}", [])}
            if templates:
                self._store.put(f"templates:{structure}", [template.to_json() for template in templates])
            else:
                self._store.delete(f"templates:{structure}")
            tasks = _without(tasks, before - {template.id for template in templates})
            tasks = with_new(tasks, templates, reserved)
        generation = int(self._store.get(GENERATION, 0)) + 1
        published = self._store.get(PUBLISHED, {}) | dict.fromkeys(found, generation)
        self._store.put(PUBLISHED, {s: at for s, at in published.items() if found.get(s, True)})
        self._put(tasks)

    def rename(self, old: str, new: str, *, reserved: Iterable[str] = ()) -> None:
        """Raises UnknownTask, and ValueError where the new name is taken, or is none."""
        with self._store.transact():
            tasks = self.tasks()
            _require(tasks, old)
            if not NAME.fullmatch(new):
                raise ValueError(f"{new!r} is no task name: {NAME_FORM}")
            if new in tasks or new in reserved:
                raise ValueError(f"there is a task {new!r} already; `cuecard tasks merge` makes one of two")
            self._put({new if name == old else name: _named(task, old, new) for name, task in tasks.items()})

    def ignore(self, names: Sequence[str], ignored: bool = True) -> None:
        """All of them, or with an unknown one among them none."""
        with self._store.transact():
            tasks = self.tasks()
            for name in names:
                _require(tasks, name)
            self._put(tasks | {name: replace(tasks[name], ignored=ignored) for name in names})

    def merge(self, names: Sequence[str]) -> Recognised:
        """One task under the first name: their templates, and all values of their enumerated slots. Raises UnknownTask,
        and ValueError where they are of several tenants."""
        with self._store.transact():
            tasks = self.tasks()
            for name in names:
                _require(tasks, name)
            templates = tuple(dict.fromkeys(id_ for name in names for id_ in tasks[name].templates))
            if len({template.tenant for template in self.templates() if template.id in templates}) > 1:
                raise ValueError("tasks of different tenants can't be one: no tenant's requests are used for another")
            merged = replace(tasks[names[0]], templates=templates, merged=True)
            self._put({n: task for n, task in tasks.items() if n not in names[1:]} | {merged.name: merged})
            return merged

    def forget(self, tenant: str) -> int:
        """What was learned from a tenant's traffic; how many templates that were."""
        with self._store.transact():
            gone = [template for template in self.templates() if template.tenant == tenant]
            self.put_back({template.structure: [] for template in gone})  # a structure is of one tenant
            return len(gone)

    def put_back(self, left: Mapping[str, Sequence[Template]], *, reserved: Iterable[str] = ()) -> None:
        """Of these structures only these templates, whatever was learned meanwhile: the rest is forgotten."""
        with self._store.transact():
            self._store.put(EPOCH, self.epoch() + 1)
            if left:
                self._replace(left, reserved)

    def _put(self, tasks: Mapping[str, Recognised]) -> None:
        self._store.put(TASKS, {name: asdict(task) for name, task in tasks.items()})
        self._store.put(GENERATION, int(self._store.get(GENERATION, 0)) + 1)
        bump(self._store)


def with_new(
    tasks: Mapping[str, Recognised], templates: Sequence[Template], reserved: Iterable[str] = ()
) -> dict[str, Recognised]:
    """And a task for each template that is of none; free chat is no task."""
    all_ = dict(tasks)
    known = by_template(tasks)
    for template in templates:
        if template.id not in known and not template.catch_all:
            name = name_of(template, {*all_, *reserved})
            all_[name] = Recognised(name, (template.id,), since=time.time())
    return all_


def by_template(tasks: Mapping[str, Recognised]) -> dict[str, Recognised]:
    return {id_: task for task in tasks.values() for id_ in task.templates}


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
