"""What a server's store knows of one task that was recognised in the traffic."""

from typing import NamedTuple

from compiler.card import Card
from compiler.proof import Proof, Proofs
from compiler.registry import Registry
from compiler.steps import Step, Steps
from compiler.store import Store
from proxy.dossier import Stand
from proxy.seen import seen_task

__all__ = ["SERVING", "Known", "known"]

SERVING = ("shadowing", "ramping", "live")  # stages with a card that serves, or may come to


class Known(NamedTuple):
    """`stand` None: it was not taken up for a compile yet. `proof`: of the card."""

    template: str
    stand: Stand | None = None
    card: Card | None = None
    proof: Proof | None = None
    steps: tuple[Step, ...] = ()

    @property
    def stage(self) -> str:
        return self.stand.stage if self.stand else "recognised"

    @property
    def compiles(self) -> bool:
        return self.stand is not None and self.stand.stage in ("observing", "compiling")


def known(store: Store, name: str) -> Known | None:
    """None until it is recognised. Of its variants, the one whose proof is furthest. Raises StoreError."""
    seen = seen_task(store, name)
    if seen is None or not seen.templates:
        return None
    template = seen.templates[0].shown()
    if not seen.adopted:
        return Known(template)
    stand, registry = max(seen.adopted, key=lambda one: one.pairs), Registry(store)
    card, proof = registry.card(stand.name, registry.state(stand.name).version), Proofs(store).get(stand.name)
    mine = proof if proof and card and proof.card == card.label else None
    return Known(template, stand, card, mine, tuple(Steps(store).get(stand.name)))
