"""What was captured of a task or of a tenant, and what was learned from it, deleted for good. For a thread.

Rows go first, then what was learned from them. In between the learner may publish from its memory once more; that is
undone, and behind it nothing that it knew before counts (`Catalogue.epoch`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from compiler import feedback
from compiler.diffs import Diffs
from compiler.observation import Observation, Observations, Scope
from compiler.recognition.catalogue import Catalogue
from compiler.recognition.curating import of
from compiler.recognition.recognise import Recogniser
from compiler.recognition.structure import texts_of
from compiler.recognition.template import Template
from compiler.registry import Registry
from compiler.store import Store


class Forgotten(NamedTuple):
    """How many went."""

    requests: int = 0
    templates: int = 0


def forget_tenant(store: Store, observations: Observations, tenant: str) -> Forgotten:
    """Raises StoreError, like `forget_task`; to do it again then is no mistake."""
    requests = observations.forget(tenant=tenant)
    registry = Registry(store)
    with store.transact():
        templates = Catalogue(store).forget(tenant)
        registry.drop([name for name, task in registry.adopted().items() if task.tenant == tenant])
        for name in registry.learned(tenant):
            registry.clear(name)
        for name, (task, _) in registry.tasks().items():
            if task.tenant in (None, tenant):
                registry.clear_answers(name)
        _drop_diffs(store, observations)
    feedback.forget(store, tenant=tenant)
    store.scrub()
    return Forgotten(requests, templates)


def forget_task(store: Store, observations: Observations, name: str, tenant: str | None = None) -> Forgotten:
    """Of a recognised task, a declared one, or both: requests that were recorded as its own, and those that came before
    its templates were known. Templates go that are its own, or that no request is left of."""
    catalogue = Catalogue(store)
    known = [template for template in catalogue.templates() if tenant in (None, template.tenant)]
    ids = {name, *(task.templates if (task := catalogue.tasks().get(name)) else ())}
    own = [template for template in known if template.id in ids]
    recorded = [Scope(tenant, label) for label in sorted(ids)]
    structures = {template.structure for template in own}
    affected = structures | {s.structure for s in observations.census() if any(scope.has(s) for scope in recorded)}
    sorting = _Sorting(ids, own, [template for template in known if template.structure in affected])

    ways = [*recorded, *(Scope(tenant, structure=structure) for structure in sorted(structures))]
    requests = observations.forget_those(ways, sorting.is_wanted)
    gone = {template.id for template in own}
    if sorting.lost - gone:
        rest = observations.of([Scope(tenant, structure=structure) for structure in sorted(affected)])
        gone |= sorting.lost - {sorting.template_of(observation) for _, observation in rest}
    touched = {template.structure for template in known if template.id in gone}
    left = {s: [t for t in known if t.structure == s and t.id not in gone] for s in touched}
    feedback.forget(store, tenant=tenant, task=name)
    unlearned = _unlearn(store, name, left, gone | sorting.lost)
    if _drop_diffs(store, observations) or unlearned:
        store.scrub()
    return Forgotten(requests, len(gone))


def _unlearn(store: Store, name: str, left: Mapping[str, Sequence[Template]], lost: set[str]) -> bool:
    """The templates that are not `left`, and what was learned by tasks whose examples or demonstrations may be of what
    was `lost`. Whether anything was."""
    catalogue, registry = Catalogue(store), Registry(store)
    with store.transact():
        losing = {task.name for task in catalogue.tasks().values() if lost & set(task.templates)}
        learned, answers = name in registry.learned(), registry.clear_answers(name)
        if not lost and not learned:
            return answers
        catalogue.put_back(left, reserved=registry.tasks())
        registry.drop(of(registry, losing))
        if learned:
            registry.clear(name)
        return True


def _drop_diffs(store: Store, observations: Observations) -> bool:
    """Also of declared tasks whose cards and proofs stay. Behind the rows: the prover looks for them when it adds."""
    return Diffs(store).prune(lambda position: observations.get(position) is not None)


class _Sorting:
    """Whose a captured request is, by its label or by its text."""

    def __init__(self, labels: set[str], own: Sequence[Template], known: Sequence[Template]) -> None:
        self._labels = labels
        self._own = own
        self._recogniser = Recogniser(known)
        self.lost: set[str] = set()  # templates of the requests that were wanted

    def template_of(self, observation: Observation) -> str:
        """Its id; "" where it is of none."""
        texts = texts_of(observation.request.get("messages"))
        match = self._recogniser.match(observation.structure, texts) if texts else None
        return match.template.id if match else ""

    def is_wanted(self, observation: Observation) -> bool:
        """Also where it has all the words of a template, and only its data is other than usual."""
        template = self.template_of(observation)
        wanted = (
            observation.template in self._labels
            or template in self._labels
            or (not template and any(_is_like(observation, own) for own in self._own))
        )
        if wanted and template:
            self.lost.add(template)
        return wanted


def _is_like(observation: Observation, template: Template) -> bool:
    texts = texts_of(observation.request.get("messages"))
    if observation.structure != template.structure or texts is None or len(texts) != len(template.patterns):
        return False
    pieces = [[_core(literal) for literal in pattern.literals] for pattern in template.patterns]
    return any(map(any, pieces)) and all(_are_in(text, cores) for text, cores in zip(texts, pieces, strict=True))


def _core(literal: str) -> str:
    """From its first letter or digit to its last: what is around them may belong to the data."""
    found = [place for place, char in enumerate(literal) if char.isalnum()]
    return literal[found[0] : found[-1] + 1] if found else ""


def _are_in(text: str, pieces: Sequence[str]) -> bool:
    """One behind the other."""
    at = 0
    for piece in pieces:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True
