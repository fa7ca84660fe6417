"""What a person knows better about recognised tasks, where some of them are adopted by now: these follow."""

from compiler.feedback import Feedback
from compiler.proof import Proofs
from compiler.recognition.catalogue import Catalogue, Recognised
from compiler.registry import Registry
from compiler.rollout import Rollout
from compiler.store import Store
from compiler.task import of_variant


def rename(store: Store, old: str, new: str) -> None:
    """As `Catalogue.rename`; cards, evidence and what was said of them go along."""
    registry = Registry(store)
    with store.transact():
        Catalogue(store).rename(old, new, reserved=registry.tasks())
        Feedback(store).move(old, new)
        for name in of(registry, {old}):
            to = new + name.removeprefix(old)
            Proofs(store).move(name, to)
            Rollout(store).move(name, to)
            Feedback(store).move(name, to)
            registry.move(name, to)


def merge(store: Store, names: list[str]) -> Recognised:
    """As `Catalogue.merge`; what was adopted is dropped: as one task they are compiled anew."""
    registry = Registry(store)
    with store.transact():
        merged = Catalogue(store).merge(names)
        registry.drop(of(registry, set(names)))
    return merged


def of(registry: Registry, names: set[str]) -> list[str]:
    """The adopted tasks of these recognised ones, by their variants' names."""
    return [name for name in registry.adopted() if of_variant(name) in names]
