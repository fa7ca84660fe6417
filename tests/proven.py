"""A task with a card and a proof, in a store: as the learner leaves it."""

import time
from dataclasses import replace

from compiler.card import Card
from compiler.evidence import Evidence
from compiler.example import Example
from compiler.judge import scoring_of
from compiler.program import Prompt
from compiler.proof import Proof, Proofs, Ran, standing
from compiler.registry import Registry
from compiler.rollout import Rollout, allowed
from compiler.score import Scored
from compiler.store import Store
from compiler.task import Contract, Mode, Task

CONTROL = 0.02
LABELS = Contract("label", ("no", "yes"))
OBJECT = Contract("json", keys=("toxic",))  # of labels, some would have to be waited for


def recognised(name: str, tenant: str = "default") -> Task:
    return Task(name, f"user: the template of {name}", incumbent="fake-strong", tenant=tenant, recognised=True)


def compiled(store: Store, task: Task, *, shown: str = "a comment") -> Card:
    """Adopted where it was recognised, with a card whose demonstration is `shown`."""
    registry = Registry(store)
    if task.recognised and task.name not in registry.adopted():
        registry.adopt(task, [Example(shown, "yes")])
    card = Card(
        task=task.name,
        version=registry.next_version(task.name),
        definition=task.definition(),
        model="fake-nano",
        program=Prompt("Say yes or no.", (Example(shown, "yes"),)),
        contract=OBJECT,
        winner="prompt",
        static_tokens=20,
        original_tokens=10,
        created="2026-03-01T12:00:00+00:00",
        compile_usd=0.01,
    )
    proven = task.trust == "proven"
    registry.publish(card, stage="shadowing" if proven else "live", traffic=0.0 if proven else 1.0)
    return card


def ran(position: int, *, label: str = "yes", worse: bool = False) -> Ran:
    scored = Scored(1.0, "different") if worse else Scored(0.0, "same")
    return Ran(position, scored, label, "fake-strong", "fake-nano", (0.5, 0.3), (0.01, 0.001))


def proven(store: Store, card: Card, pairs: int, *, worse: int = 0, mode: Mode = "auto") -> Proof:
    """`worse`: so many of the pairs, the last ones. Where the card stands follows, as the prover would set it."""
    proofs, registry = Proofs(store), Registry(store)
    number = proofs.begun(card.task) + 1
    proof = Proof(card.label, scoring_of(card.contract, None), Evidence(0.02, number), since=time.time())
    for at in range(pairs):
        proof.add(ran(at + 1, label=("no", "yes")[at % 2], worse=at >= pairs - worse))
    proofs.begin(card.task, proof)
    stands = allowed(standing(proof, CONTROL), Rollout(store).said(card.task), card.label, mode)
    state = registry.state(card.task)
    registry.set_state(card.task, replace(state, stage=stands.stage, traffic=stands.traffic, reason=stands.reason))
    return proof
