"""The pairs of a task's proof in which the two answers differed: the worst few, for a person to read. What was asked,
and what the current model answered, is with the observations; here is only what came of it."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from compiler.score import Outcome
from compiler.store import Store

AT_MOST = 50  # of a task
MOST_CHARS = 4_000  # of an answer
MOST_WORDS = 600  # characters of what the judge said
CUT = "…"


class Diff(NamedTuple):
    """`position`: of the observation. `said`: the judge's own words, in which A is the current model's answer.
    `answer`: the candidate's."""

    position: int
    time: float  # Unix seconds
    d: float
    outcome: Outcome
    reason: str
    said: str
    answer: str


class Diffs:
    """Methods raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, task: str) -> list[Diff]:
        """The worst first; of equals the newest."""
        return [Diff(*found) for found in self._store.get(_key(task), [])]

    def add(self, task: str, found: Iterable[Diff]) -> None:
        if new := [one._replace(said=_cut(one.said, MOST_WORDS), answer=_cut(one.answer, MOST_CHARS)) for one in found]:
            with self._store.transact():
                worst = sorted((*self.of(task), *new), key=lambda one: (-one.d, -one.position))
                self._store.put(_key(task), worst[:AT_MOST])

    def clear(self, task: str) -> None:
        self._store.delete(_key(task))

    def move(self, old: str, new: str) -> None:
        with self._store.transact():
            self.clear(new)
            if found := self.of(old):
                self._store.put(_key(new), found)

    def prune(self, is_kept: Callable[[int], bool]) -> bool:
        """Of all tasks those go whose observations are gone; whether any did."""
        pruned = False
        with self._store.transact():
            for key in self._store.keys(_key("")):
                found = [Diff(*one) for one in self._store.get(key, [])]
                left = [one for one in found if is_kept(one.position)]
                if left != found:
                    self._store.put(key, left)
                    pruned = True
        return pruned


def _key(task: str) -> str:
    return f"diffs:{task}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + CUT
