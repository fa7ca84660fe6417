"""The background's second half: proves every card pair by pair, until it serves all that it may, or none. Each pair
is in the evidence once, whatever is killed in between: evidence and position are one record.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice

from compiler.budget import PROOFS
from compiler.card import Card
from compiler.diffs import Diffs
from compiler.errors import BudgetExceeded, CalibrationFailed, ModelBusy, ModelFailed
from compiler.evidence import Evidence
from compiler.intake import RECENT, Intake
from compiler.judge import Judge, judge_for, scoring_of, secret
from compiler.ledger import Role
from compiler.llm import Llm, Purpose
from compiler.observation import Observation, Observations
from compiler.patience import Patience
from compiler.proof import STRANGE, TIMED_IN, Proof, Proofs, Ran, Standing, standing
from compiler.recorded import Recorded
from compiler.registry import RESUMED, Registry, TaskView
from compiler.rollout import Rollout, allowed
from compiler.score import Scoring
from compiler.shadow import Shadow
from compiler.sight import PROMISING, sight_of
from compiler.store import Store
from compiler.task import Task, of_variant
from compiler.terms import Terms

log = logging.getLogger("cuecard.prover")

LOOK = 5.0  # between looks for tasks to take up
DAY = 86_400.0
NOTICED = 0.01  # more traffic than before, for which workers read the tasks anew; less is told at once
RECOGNISED = Task("any", "", recognised=True)  # all recognised ones have one mode


class Prover:
    def __init__(
        self,
        store: Store,
        observations: Observations,
        llm: Llm,
        terms: Terms,
        *,
        on_pair: Callable[[str, Ran], None] = lambda task, ran: None,
    ) -> None:
        self._store = store
        self._registry = Registry(store)
        self._proofs = Proofs(store)
        self._diffs = Diffs(store)
        self._rollout = Rollout(store)
        self._recorded = Recorded(observations)
        self._intake = Intake(store, self._recorded, terms)
        self._llm = llm
        self._terms = terms
        self._on_pair = on_pair
        self._patience = Patience()
        self._looked = 0.0

    async def step(self) -> bool:
        """A batch of every task's pairs; whether there were any. Nothing is spent while Cuecard is off, nor is anything
        read where no task's mode lets it be proven. Raises StoreError."""
        if not await asyncio.to_thread(self._has_work):
            return False
        await asyncio.to_thread(self._intake.read)
        if await asyncio.to_thread(self._registry.is_off):
            return False
        if time.monotonic() - self._looked >= LOOK:
            self._looked = time.monotonic()
            await asyncio.to_thread(self._intake.take_up)
        worked = False
        for view in await asyncio.to_thread(self._at_work):
            if self._intake.is_conversation(view.task.name):
                await asyncio.to_thread(self._intake.leave_alone, view)
                continue
            if view.state.reason == RESUMED:
                await asyncio.to_thread(self._look_again, view)
            if not self._patience.rests(view.task.name):
                worked |= await self._prove(view)
        return worked

    def _has_work(self) -> bool:
        declared = (task for task, _ in self._registry.tasks().values() if task.trust == "proven")
        return any(self._terms.mode(task) != "observe" for task in (RECOGNISED, *declared))

    def _at_work(self) -> list[TaskView]:
        """The tasks with a card that has to be proven, or watched."""
        snapshot = self._registry.snapshot(self._intake.recognition)
        views = [view for view in snapshot.tasks.values() if view.task.trust == "proven"]
        stages = ("shadowing", "ramping", "live")
        return [
            view
            for view in (*views, *snapshot.adopted.values())
            if view.compiled and view.stage in stages and self._terms.mode(view.task) != "observe"
        ]

    async def _prove(self, view: TaskView) -> bool:
        card = view.compiled
        assert card
        name = view.task.name
        try:
            proof = await asyncio.to_thread(self._proof, view.task, card)
            if proof is None:
                return False
            if proof.sight is None and proof.pairs >= PROMISING and not proof.evidence.futility.futile:
                await self._calibrate(view.task, card, proof)
            batch = await asyncio.to_thread(self._next, name, proof.position)
            if batch:
                await self._run(view.task, card, proof, batch)
            return bool(batch)
        except (BudgetExceeded, ModelBusy) as error:
            self._patience.rest(name, error.retry_after if isinstance(error, ModelBusy) else 0.0)
            log.info("%s: its proof rests: %s", name, error)
        except (ModelFailed, CalibrationFailed) as error:
            self._patience.rest(name)
            log.warning("%s: its proof waits: %s", name, error)
        return False

    def _proof(self, task: Task, card: Card) -> Proof | None:
        """Of this card by these rules; begun where there is none. None where the task is gone, or nothing may be
        spent."""
        if self._registry.is_off():
            return None
        scoring = scoring_of(card.contract, judge_for(self._llm, card.model, task.incumbent))
        proof = self._proofs.get(task.name)
        if proof is None or (proof.card, proof.scoring) != (card.label, scoring) or proof.is_over(STRANGE):
            with self._store.transact():
                if self._registry.task(task.name) != task:
                    return None
                proof = self._begun(task, card, scoring)
            log.info("%s: proof %d begins", card.label, self._proofs.begun(task.name))
        return proof

    def _look_again(self, view: TaskView) -> None:
        """By what is proven already, also where no pair comes or its proof rests."""
        with self._store.transact():
            proof, card = self._proofs.get(view.task.name), view.compiled
            if proof and card and proof.card == card.label and not proof.is_over(STRANGE):
                self._stand(view.task, proof.card, standing(proof, self._terms.control))

    def _begun(self, task: Task, card: Card, scoring: Scoring) -> Proof:
        """From what is recorded from now on: what came before may be in the card."""
        margin = self._terms.margin_text if card.contract.kind == "text" else self._terms.margin
        number = self._proofs.begun(task.name) + 1
        proof = Proof(
            card.label,
            scoring,
            Evidence(margin, number),
            self._recorded.position(),
            kappa=None if scoring.judge else 1.0,
            since=time.time(),
        )
        if scoring == card.scoring:
            proof.open_with(card.sealed)
        self._proofs.begin(task.name, proof)
        self._stand(task, proof.card, Standing("shadowing", 0.0, "its proof begins"))
        return proof

    def _judge(self, task: Task, card: Card) -> Judge | None:
        """None where none can be had: then every difference is a loss."""
        model = judge_for(self._llm, card.model, task.incumbent)
        arms = [arm for arm in (card.model, task.incumbent) if arm]
        return Judge(self._llm, model, self._nonces, arms=arms) if model else None

    @cached_property
    def _nonces(self) -> bytes:
        """Read once: a batch is no time for a transaction."""
        return secret(self._store)

    async def _calibrate(self, task: Task, card: Card, proof: Proof) -> None:
        """κ, once the pairs are worth it: a candidate that is clearly worse needs none."""
        judge = self._judge(task, card)
        if judge is None:
            return
        scope = f"calibrate:{task.name}:{task.definition()}:{judge.model}"
        purpose = replace(self._purpose(task, "judge", scope), patient=True)
        observed = await asyncio.to_thread(self._recorded.sample, scope, task.name, RECENT)  # the same at each try
        try:
            found = await sight_of(
                judge, self._llm, task, card.contract, observed, purpose, concurrency=self._terms.concurrency
            )
        except CalibrationFailed:
            self._recorded.drop_sample(scope)  # of newer requests there may be enough
            raise
        self._recorded.drop_sample(scope)
        proof.kappa = found.kappa
        log.info("%s: the judge sees %.2f of a loss at least (%d questions)", task.name, found.kappa, found.planted)
        await asyncio.to_thread(self._enter, task, proof, [])

    def _purpose(self, task: Task, role: Role, scope: str) -> Purpose:
        """All that a task's proofs cost in a day is of one account, its variants' among them: calibrations too, and the
        proofs of cards that came after one another. What all tasks' cost is of another."""
        name, day = task.name, f"{datetime.now(UTC):%Y-%m-%d}"
        account, shared = f"proof:{of_variant(name)}:{day}", {f"{PROOFS}:{day}": self._terms.usd_of_all(name)}
        return Purpose(name, role, scope, self._terms.usd_per_day(name), account=account, shared=shared)

    def _next(self, name: str, position: int) -> list[tuple[int, Observation]]:
        waiting = self._recorded.since(name, position)
        found = [*islice(waiting, self._terms.concurrency)]
        return [*found, *islice(waiting, self._patience.more(name, found[0][0]) if found else 0)]

    async def _run(self, task: Task, card: Card, proof: Proof, batch: Sequence[tuple[int, Observation]]) -> None:
        """Those that came through, up to the first that did not: the order is kept."""
        shadow = Shadow(self._llm, task, card, self._judge(task, card))
        purpose = self._purpose(task, "shadow", f"proof:{card.label}:{datetime.now(UTC):%Y-%m-%d}")

        async def one(position: int, observation: Observation) -> Ran:
            patient = proof.timed and position % TIMED_IN != 0
            last = self._patience.is_last(task.name, position)
            return await shadow.run(position, observation, replace(purpose, patient=patient), last=last)

        before = self._llm.answered.copy()
        found = await asyncio.gather(*(one(*pair) for pair in batch), return_exceptions=True)
        outages = [
            result
            for (position, _), result in zip(batch, found, strict=True)
            if isinstance(result, BaseException) and not self._own_fault(task, position, result, before)
        ]
        first = next((i for i, result in enumerate(found) if not isinstance(result, Ran)), len(found))
        in_order = [ran for ran in found[:first] if isinstance(ran, Ran)]
        if not await asyncio.to_thread(self._enter, task, proof, in_order):
            await asyncio.to_thread(self._llm.forget, purpose.scope)
            return
        if first < len(found) and found[first] in outages:
            raise outages[0]

    def _own_fault(self, task: Task, position: int, problem: BaseException, before: Counter[str]) -> bool:
        """The pair's: whoever failed it answers others."""
        if not isinstance(problem, ModelFailed) or isinstance(problem, ModelBusy):
            return False
        model = problem.model
        return self._patience.failed(task.name, position, answered=self._llm.answered[model], before=before[model])

    def _enter(self, task: Task, proof: Proof, found: Sequence[Ran]) -> bool:
        """Evidence, position and what follows from it: one transaction. False: the proof is gone, for its task was
        forgotten or has another name."""
        with self._store.transact():
            kept = self._proofs.get(task.name)
            if kept is None or (kept.card, kept.position) != (proof.card, proof.position):
                return False
            counted = [ran for ran in found if proof.add(ran)]
            self._proofs.put(task.name, proof)
            differing = [ran for ran in counted if ran.differs and self._recorded.has(ran.position)]
            self._diffs.add(task.name, [ran.as_diff(time.time()) for ran in differing])
            seen = standing(proof, self._terms.control, pairs_per_call=self._pairs_per_call(task.name, proof))
            self._stand(task, proof.card, seen)
        self._patience.through(task.name, (ran.position for ran in found))
        for ran in found:
            self._on_pair(task.name, ran)
        return True

    def _pairs_per_call(self, name: str, proof: Proof) -> float:
        """At least so many calls of the task are compared as have been since the proof began, at its usual traffic."""
        days = max(time.time() - proof.since, 1.0) / DAY
        calls = self._terms.calls_per_day(name) * days
        return min(1.0, proof.pairs / calls) if calls else 1.0

    def _stand(self, task: Task, card: str, found: Standing) -> None:
        name, state = task.name, self._registry.state(task.name)
        if state.stage == "compiling":  # a new card is on its way
            return
        found = allowed(found, self._rollout.said(name), card, self._terms.mode(task))
        new = replace(state, stage=found.stage, traffic=found.traffic, reason=found.reason)
        if found.stage == "kept":
            new = replace(new, retry_at=time.time() + self._terms.retry_kept_after)
        if new == state:
            return
        if new.stage != state.stage:
            log.info("%s: %s → %s, %s", name, state.stage, new.stage, new.reason)
        moved = new.stage != state.stage or new.traffic < state.traffic or new.traffic - state.traffic >= NOTICED
        self._registry.set_state(name, new if moved else replace(new, traffic=state.traffic), quietly=not moved)
