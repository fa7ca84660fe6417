"""How well requests were told apart: from the ids they got to shares. Pure."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from bench.corpus.draft import Part
from bench.corpus.edits import KINDS, Kind

CATCH_ALL = "catch-all"
"""The id of requests that are known to be of no task: never compiled, so never wrong."""


class Assigned(NamedTuple):
    type: str
    part: Part
    id: str | None

    @property
    def task(self) -> str | None:
        return None if self.id == CATCH_ALL else self.id


class AssignedEdit(NamedTuple):
    kind: Kind
    how: str
    original: str  # the type it no longer is of
    id: str | None


Trained = Mapping[str, Counter[str]]
"""By id, the types of the training requests that got it."""


def trained(assigned: Iterable[Assigned]) -> Trained:
    found: dict[str, Counter[str]] = {}
    for one in assigned:
        if one.task is not None:
            found.setdefault(one.task, Counter())[one.type] += 1
    return found


def is_wrong(one: Assigned, by: Trained) -> bool:
    """Matched to an id that is not its type's alone. An id that no training request got is nobody's."""
    return one.task is not None and set(by.get(one.task, ())) != {one.type}


def is_matched(edit: AssignedEdit, by: Trained) -> bool:
    """Whether it would get the answers of the task that it was made from."""
    return edit.id is not None and edit.id != CATCH_ALL and edit.original in by.get(edit.id, ())


def share(of: Iterable[bool]) -> float | None:
    found = list(of)
    return sum(found) / len(found) if found else None


def homogeneity(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Of pairs of type and id: 1 where each id holds one type (Rosenberg and Hirschberg 2007). None without any."""
    if not pairs:
        return None
    whole = _entropy(Counter(first for first, _ in pairs).values())
    if whole == 0:
        return 1.0
    groups: dict[str, Counter[str]] = {}
    for first, second in pairs:
        groups.setdefault(second, Counter())[first] += 1
    inside = sum(group.total() * _entropy(group.values()) for group in groups.values()) / len(pairs)
    return 1 - inside / whole


def completeness(pairs: Sequence[tuple[str, str]]) -> float | None:
    return homogeneity([(second, first) for first, second in pairs])


def _entropy(counts: Iterable[int]) -> float:
    found = list(counts)
    return -sum(count / sum(found) * math.log(count / sum(found)) for count in found)


@dataclass(frozen=True)
class Score:
    """One recogniser, one seed. Shares are None where there was nothing to take them of."""

    wrong: float | None  # of the main part's scored requests
    wrong_adversarial: float | None
    homogeneity: float | None  # of scored requests that were matched to a task, like completeness
    completeness: float | None
    recognised: float | None  # matched, or known to be of no task
    catch_all: float | None
    ids_mean: float  # of types that have any; training and scored requests together
    ids_max: float
    edits_a: float | None
    edits_b: float | None
    edits_c: float | None
    learn_seconds: float
    p50_us: float
    p99_us: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Times:
    learn: float  # seconds
    assign: Sequence[float]  # seconds, of each scored request


def score(
    learned: Sequence[Assigned], scored: Sequence[Assigned], edited: Sequence[AssignedEdit], took: Times
) -> Score:
    by = trained(learned)
    pairs = [(one.type, one.task) for one in scored if one.task is not None]
    ids = _ids_of_types([*learned, *scored])
    wrong = {part: share(is_wrong(one, by) for one in scored if one.part == part) for part in ("main", "adversarial")}
    edits = {kind: share(is_matched(edit, by) for edit in edited if edit.kind == kind) for kind in KINDS}
    return Score(
        wrong=wrong["main"],
        wrong_adversarial=wrong["adversarial"],
        homogeneity=homogeneity(pairs),
        completeness=completeness(pairs),
        recognised=share(one.id is not None for one in scored),
        catch_all=share(one.id == CATCH_ALL for one in scored),
        ids_mean=statistics.mean(ids) if ids else 0.0,
        ids_max=max(ids, default=0),
        edits_a=edits["a"],
        edits_b=edits["b"],
        edits_c=edits["c"],
        learn_seconds=took.learn,
        p50_us=_percentile(took.assign, 0.50) * 1e6,
        p99_us=_percentile(took.assign, 0.99) * 1e6,
    )


def _ids_of_types(assigned: Iterable[Assigned]) -> list[int]:
    found: dict[str, set[str]] = {}
    for one in assigned:
        if one.task is not None:
            found.setdefault(one.type, set()).add(one.task)
    return [len(ids) for ids in found.values()]


def _percentile(values: Sequence[float], at: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * at))] if values else 0.0


def wrong_types(learned: Iterable[Assigned], scored: Iterable[Assigned]) -> Counter[str]:
    """Which types' requests were taken for another's: where to look first."""
    by = trained(learned)
    return Counter(one.type for one in scored if is_wrong(one, by))


def matched_edits(learned: Iterable[Assigned], edited: Iterable[AssignedEdit]) -> Counter[str]:
    """In which ways an edit went unnoticed, as `kind: how`."""
    by = trained(learned)
    return Counter(f"{edit.kind}: {edit.how}" for edit in edited if is_matched(edit, by))


def over_seeds(scores: Sequence[Score]) -> Score:
    """Means; of the most ids of one type the maximum."""
    found: dict[str, Any] = {}
    for name in scores[0].to_json():
        values = [value for one in scores if (value := getattr(one, name)) is not None]
        found[name] = statistics.mean(values) if values else None
    return Score(**found | {"ids_max": max(one.ids_max for one in scores)})
