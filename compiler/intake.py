"""Which tasks are taken up: what is recorded of each is read, and what is worth it is compiled."""

import logging
import time
from dataclasses import replace

from compiler.adopt import adopted, examples_of, unfit
from compiler.example import Example
from compiler.recognition.catalogue import NOTHING, Catalogue
from compiler.recorded import Recorded
from compiler.registry import Registry, TaskView
from compiler.store import Store
from compiler.task import Task, of_variant
from compiler.terms import Terms

log = logging.getLogger("cuecard.prover")

CONVERSATIONS = 3  # requests that go on where one of the task ended: it is left alone
CONVERSATION = "its requests go on as conversations, which no card serves yet"
RECENT = 200  # examples of a task, the newest


class Intake:
    """For a thread. Methods raise StoreError."""

    def __init__(self, store: Store, recorded: Recorded, terms: Terms) -> None:
        self._store = store
        self._registry = Registry(store)
        self._catalogue = Catalogue(store)
        self._recorded = recorded
        self._terms = terms
        self.recognition = NOTHING
        self._learned = (0, 0)  # what was known of the traffic when it was read

    def read(self) -> None:
        self._learned = self._catalogue.learned_at()
        known = self._catalogue.recognition(self.recognition)
        if known is not self.recognition:
            if known.tasks != self.recognition.tasks:
                self._recorded.again()
            self.recognition = known
        declared = self._registry.tasks()
        while self._recorded.read(known, declared):
            pass

    def take_up(self) -> None:
        """Recognised tasks that are worth it become tasks to compile; so do those whose wording changed."""
        templates = {template.id: template for template in self._catalogue.templates()}
        by_name = {task.name: task for task in self.recognition.tasks.values()}
        with self._store.transact():
            own, known = self._registry.adopted(), self._catalogue.tasks()
            gone = [name for name in own if of_variant(name) not in known]
            self._registry.drop([*gone, *filter(self.is_conversation, own)])
        for name in self._recorded.names():
            found = by_name.get(of_variant(name))
            its = [templates[id_] for id_ in found.templates if id_ in templates] if found else []
            if found and its and not found.ignored and unfit(its) is None and not self.is_conversation(name):
                self._take_up_one(adopted(name, its), own.get(name))
        for task, _ in self._registry.tasks().values():
            if task.trust == "proven" and self._may_compile(task) and not self.is_conversation(task.name):
                with self._store.transact():
                    if self._catalogue.learned_at() == self._learned:
                        self._want(task)

    def is_conversation(self, name: str) -> bool:
        """Its first turn served by a card, the next by the app's own model: that would be a change midway."""
        return self._recorded.continued(name) >= CONVERSATIONS

    def leave_alone(self, view: TaskView) -> None:
        """Once it turned out to be a conversation; a declared task stays known."""
        name = view.task.name
        if view.task.recognised:
            self._registry.drop([name])
            return
        retry_at = time.time() + self._terms.retry_kept_after
        with self._store.transact():
            state = self._registry.state(name)
            self._registry.set_state(
                name, replace(state, stage="kept", traffic=0.0, reason=CONVERSATION, retry_at=retry_at)
            )
        log.info("%s: %s → kept, %s", name, state.stage, CONVERSATION)

    def _take_up_one(self, task: Task, before: Task | None) -> None:
        if before is None and (not self._may_compile(task) or self._terms.worth(task.name)):
            return
        is_new = before is None or before.definition() != task.definition()
        examples = self._examples(task.name) if is_new else []
        with self._store.transact():
            if self._catalogue.learned_at() != self._learned:  # it has another name since, or was forgotten
                return
            if is_new:
                self._registry.adopt(task, examples)
                log.info("%s is worth a compile", task.name)
            self._want(task)

    def _may_compile(self, task: Task) -> bool:
        enough = self._recorded.number(task.name) >= self._terms.min_examples or self._registry.examples(task.name)
        return self._terms.mode(task) != "observe" and bool(enough)

    def _want(self, task: Task) -> None:
        if self._registry.state(task.name).wants_compile(task.definition(), time.time()):
            if not self._registry.examples(task.name):
                self._registry.add_examples(task.name, self._examples(task.name))
            self._registry.want([task.name])

    def _examples(self, name: str) -> list[Example]:
        return examples_of(observation for _, observation in self._recorded.since(name))[-RECENT:]
