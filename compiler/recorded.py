"""The observations of every task, in their order: those that a worker named, and those that came before it could."""

from collections import Counter, deque
from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

from compiler.observation import Observation, Observations
from compiler.recognition.catalogue import Recognition
from compiler.recognition.structure import CHAT, structure_key, texts_of

AT_MOST = 400  # positions remembered of a task, the newest
PAGE = 500  # observations read at a time


class Recorded:
    """Reads each observation once; for a thread. Raises StoreError, like what it reads."""

    def __init__(self, observations: Observations) -> None:
        self._observations = observations
        self._epoch = observations.epoch()
        self._position = 0
        self._of: dict[str, deque[int]] = {}
        self._continued: Counter[str] = Counter()
        self._samples: dict[str, list[Observation]] = {}

    def read(self, recognition: Recognition, declared: Container[str]) -> bool:
        """Take note of what is new, at most a page; whether there may be more."""
        if self._epoch != self._observations.epoch():  # something was forgotten: what was noted may be gone
            self._epoch = self._observations.epoch()
            self._samples = {}
            self.again()
        for number, (position, observation) in enumerate(self._observations.since(self._position), 1):
            self._position = position
            if name := continued(observation, recognition, declared):
                self._continued[name] += 1
            elif name := task_of(observation, recognition, declared):
                self._of.setdefault(name, deque(maxlen=AT_MOST)).append(position)
            if number == PAGE:
                return True
        return False

    def again(self) -> None:
        """From the beginning: other tasks are known by now."""
        self._position, self._of, self._continued = 0, {}, Counter()

    def continued(self, name: str) -> int:
        """How often a request of the task was seen to go on as a conversation."""
        return self._continued[name]

    def number(self, name: str) -> int:
        return len(self._of.get(name, ()))

    def names(self) -> list[str]:
        return list(self._of)

    def since(self, name: str, position: int = 0) -> Iterator[tuple[int, Observation]]:
        """A task's behind `position`, oldest first, each with its own."""
        for at in [*self._of.get(name, ())]:
            if at > position and (observation := self._observations.get(at)) is not None:
                yield at, observation

    def has(self, position: int) -> bool:
        """Whether it was neither forgotten nor dropped since."""
        return self._observations.get(position) is not None

    def sample(self, key: str, name: str, number: int) -> list[Observation]:
        """The newest of a task, and for the same `key` the same ones, until something is forgotten."""
        if key not in self._samples:
            self._samples[key] = [observation for _, observation in self.since(name)][-number:]
        return self._samples[key]

    def drop_sample(self, key: str) -> None:
        self._samples.pop(key, None)

    def position(self) -> int:
        """Of the newest that there is: what comes later has seen nothing of what was learned from those."""
        return self._observations.position()


def continued(observation: Observation, recognition: Recognition, declared: Container[str]) -> str | None:
    """The task that a conversation began as, where this is a later turn of one."""
    messages: list[Any] = observation.request.get("messages") or []
    roles = [message.get("role") for message in messages]
    first = roles.index("user") + 1 if "user" in roles else len(roles)
    if first == len(roles):
        return None
    if observation.template in declared:
        return observation.template
    body = {**observation.request, "messages": messages[:first]}
    return task_of(
        replace(observation, request=body, structure=structure_key(observation.tenant, CHAT, body)), recognition, ()
    )


def task_of(observation: Observation, recognition: Recognition, declared: Container[str]) -> str | None:
    """The task's name, with the variant where enumerated values make several; None where it is of none."""
    if observation.template in declared:
        return observation.template
    texts = texts_of(observation.request.get("messages"))
    found = recognition.name(observation.structure, texts) if texts else None
    return found.variant if found and found.task and not found.task.ignored else None
