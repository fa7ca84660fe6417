"""The background's second half: takes recognised tasks up, and proves every card pair by pair, until it serves all that
it may, or none. Each pair is in the evidence once, whatever is killed in between: evidence and position are one record.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from compiler.adopt import adopted, examples_of, unfit
from compiler.calibrate import ENOUGH, Asked, Twice, answered_twice, ask_again, calibrate
from compiler.card import Card
from compiler.degrade import Recorded as Answered
from compiler.errors import BudgetExceeded, CalibrationFailed, JudgeIsArm, ModelBusy, ModelFailed
from compiler.evidence import Evidence, kappa_lower_bound
from compiler.example import Example
from compiler.judge import Judge, scoring_of, secret
from compiler.ledger import Role
from compiler.llm import Llm, Purpose
from compiler.observation import Observation, Observations
from compiler.proof import Proof, Proofs, Ran, Standing, standing
from compiler.recognition.catalogue import NOTHING, Catalogue
from compiler.recorded import Recorded
from compiler.registry import RESUMED, Registry, TaskView
from compiler.rollout import Rollout, allowed
from compiler.score import Answer, Scoring
from compiler.shadow import Shadow, input_of, most_tokens
from compiler.store import Store
from compiler.task import Mode, Task, of_variant

log = logging.getLogger("cuecard.prover")

LOOK = 5.0  # between looks for tasks to take up
CONVERSATIONS = 3  # requests that go on where one of the task ended: it is left alone
TRIES = 3  # of one pair, while others go through
TIMED_IN = 10  # pairs: one is asked so that its time counts, also where there are enough times
STRANGE = 20  # pairs in a row of another model: it has been replaced
REST = 30.0  # seconds, after a cap was reached or an upstream wanted rest
DAY = 86_400.0
RECENT = 200  # examples of a task, the newest
NOTICED = 0.01  # more traffic than before, for which workers read the tasks anew; less is told at once
PROMISING = 50  # pairs before a judge is calibrated
RECOGNISED = Task("any", "", recognised=True)  # all recognised ones have one mode


@dataclass(frozen=True)
class Terms:
    """`worth`: why a recognised task is not worth a compile; None if it is. `usd_per_day`: what a task's proof may cost
    in a UTC day. `mode` of a task. `concurrency`: calls under way at once."""

    margin: float
    margin_text: float
    control: float
    min_examples: int
    worth: Callable[[str], str | None]
    usd_per_day: Callable[[str], float]
    calls_per_day: Callable[[str], float]
    retry_kept_after: float
    concurrency: int
    mode: Callable[[Task], Mode]


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
        self._catalogue = Catalogue(store)
        self._proofs = Proofs(store)
        self._rollout = Rollout(store)
        self._recorded = Recorded(observations)
        self._recognition = NOTHING
        self._llm = llm
        self._terms = terms
        self._on_pair = on_pair
        self._tries: dict[tuple[str, int], int] = {}
        self._resting: dict[str, float] = {}
        self._looked = 0.0
        self._learned = (0, 0)  # what was known of the traffic when this step began

    async def step(self) -> bool:
        """A batch of every task's pairs; whether there were any. Nothing is spent while Cuecard is off, nor is anything
        read where no task's mode lets it be proven. Raises StoreError."""
        if not await asyncio.to_thread(self._has_work):
            return False
        await asyncio.to_thread(self._read)
        if await asyncio.to_thread(self._registry.is_off):
            return False
        if time.monotonic() - self._looked >= LOOK:
            self._looked = time.monotonic()
            await asyncio.to_thread(self._take_up)
        worked = False
        for view in await asyncio.to_thread(self._at_work):
            if view.state.reason == RESUMED:
                await asyncio.to_thread(self._look_again, view)
            if self._resting.get(view.task.name, 0.0) <= time.monotonic():
                worked |= await self._prove(view)
        return worked

    def _has_work(self) -> bool:
        declared = (task for task, _ in self._registry.tasks().values() if task.trust == "proven")
        return any(self._terms.mode(task) != "observe" for task in (RECOGNISED, *declared))

    def _read(self) -> None:
        self._learned = self._catalogue.learned_at()
        known = self._catalogue.recognition(self._recognition)
        if known is not self._recognition:
            if known.tasks != self._recognition.tasks:
                self._recorded.again()
            self._recognition = known
        declared = self._registry.tasks()
        while self._recorded.read(known, declared):
            pass

    def _take_up(self) -> None:
        """Recognised tasks that are worth it become tasks to compile; so do those whose wording changed."""
        templates = {template.id: template for template in self._catalogue.templates()}
        by_name = {task.name: task for task in self._recognition.tasks.values()}
        with self._store.transact():
            own, known = self._registry.adopted(), self._catalogue.tasks()
            gone = [name for name in own if of_variant(name) not in known]
            self._registry.drop([*gone, *filter(self._is_conversation, own)])
        for name in self._recorded.names():
            found = by_name.get(of_variant(name))
            its = [templates[id_] for id_ in found.templates if id_ in templates] if found else []
            if found and its and not found.ignored and unfit(its) is None and not self._is_conversation(name):
                self._take_up_one(adopted(name, its), own.get(name))
        for task, _ in self._registry.tasks().values():
            if task.trust == "proven" and self._may_compile(task) and not self._is_conversation(task.name):
                with self._store.transact():
                    if self._catalogue.learned_at() == self._learned:
                        self._want(task)

    def _is_conversation(self, name: str) -> bool:
        """Its first turn served by a card, the next by the app's own model: that would be a change midway."""
        return self._recorded.continued(name) >= CONVERSATIONS

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

    def _at_work(self) -> list[TaskView]:
        """The tasks with a card that has to be proven, or watched."""
        snapshot = self._registry.snapshot(self._recognition)
        views = [view for view in snapshot.tasks.values() if view.task.trust == "proven"]
        stages = ("shadowing", "ramping", "live")
        return [
            view
            for view in (*views, *snapshot.adopted.values())
            if view.compiled
            and view.stage in stages
            and self._terms.mode(view.task) != "observe"
            and not self._is_conversation(view.task.name)
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
            rest = max(REST, error.retry_after if isinstance(error, ModelBusy) else 0.0)
            self._resting[name] = time.monotonic() + rest
            log.info("%s: its proof rests: %s", name, error)
        except (ModelFailed, CalibrationFailed) as error:
            self._resting[name] = time.monotonic() + REST
            log.warning("%s: its proof waits: %s", name, error)
        return False

    def _proof(self, task: Task, card: Card) -> Proof | None:
        """Of this card by these rules; begun where there is none. None where the task is gone, or nothing may be
        spent."""
        if self._registry.is_off():
            return None
        scoring = self._scoring(task, card)
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
        self._proofs.begin(task.name, proof)
        self._stand(task, proof.card, Standing("shadowing", 0.0, "its proof begins"))
        return proof

    def _scoring(self, task: Task, card: Card) -> Scoring:
        judge = self._judge(task, card)
        return scoring_of(card.contract, judge.model if judge else None)

    def _judge(self, task: Task, card: Card) -> Judge | None:
        """None where none can be had: then every difference is a loss."""
        arms = [model for model in (card.model, task.incumbent) if model]
        try:
            return Judge(self._llm, model, self._nonces, arms=arms) if (model := self._llm.models.judge) else None
        except (JudgeIsArm, ModelFailed):
            return None

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
        recorded = [Answered(input_of(one), Answer(one.answer, tuple(one.tool_calls), "stop")) for one in observed]
        try:
            itself = await self._itself(task, observed, recorded, purpose)
            found = await calibrate(
                judge,
                card.contract,
                task.system or task.description,
                recorded,
                itself,
                bound=kappa_lower_bound,
                purpose=purpose,
                concurrency=self._terms.concurrency,
            )
        except CalibrationFailed:
            self._recorded.drop_sample(scope)  # of newer requests there may be enough
            raise
        self._recorded.drop_sample(scope)
        proof.kappa = found.kappa
        log.info("%s: the judge sees %.2f of a loss at least (%d questions)", task.name, found.kappa, found.planted)
        await asyncio.to_thread(self._enter, task, proof, [])

    async def _itself(
        self, task: Task, observed: Sequence[Observation], recorded: Sequence[Answered], purpose: Purpose
    ) -> list[Twice]:
        """The incumbent against itself; its second answers are paid for where no input came twice. Raises
        CalibrationFailed before anything is paid that would not be enough."""
        if len(observed) < ENOUGH:
            raise CalibrationFailed(f"{len(observed)} requests are recorded, {ENOUGH} are needed")
        itself = answered_twice(recorded)[:ENOUGH]
        if task.incumbent and len(itself) < ENOUGH:
            wanted = zip(recorded[: ENOUGH - len(itself)], observed, strict=False)
            again = [Asked(one, observation.request["messages"]) for one, observation in wanted]
            room = max(map(most_tokens, observed), default=0)
            itself += await ask_again(
                self._llm, task.incumbent, again, purpose, max_tokens=room, concurrency=self._terms.concurrency
            )
        return itself

    def _purpose(self, task: Task, role: Role, scope: str) -> Purpose:
        """All that a task's proofs cost in a day is of one account, its variants' among them: calibrations too, and the
        proofs of cards that came after one another."""
        name = task.name
        account = f"proof:{of_variant(name)}:{datetime.now(UTC):%Y-%m-%d}"
        return Purpose(name, role, scope, self._terms.usd_per_day(name), account=account)

    def _next(self, name: str, position: int) -> list[tuple[int, Observation]]:
        found = []
        for at, observation in self._recorded.since(name, position):
            found.append((at, observation))
            if len(found) == self._terms.concurrency:
                break
        return found

    async def _run(self, task: Task, card: Card, proof: Proof, batch: Sequence[tuple[int, Observation]]) -> None:
        """Those that came through, up to the first that did not: the order is kept."""
        shadow = Shadow(self._llm, task, card, self._judge(task, card))
        purpose = self._purpose(task, "shadow", f"proof:{card.label}:{datetime.now(UTC):%Y-%m-%d}")

        async def one(position: int, observation: Observation) -> Ran:
            last = self._tries.get((task.name, position), 0) >= TRIES
            patient = proof.timed and position % TIMED_IN != 0
            return await shadow.run(position, observation, replace(purpose, patient=patient), last=last)

        found = await asyncio.gather(*(one(*pair) for pair in batch), return_exceptions=True)
        through = any(isinstance(result, Ran) for result in found)

        def own_fault(result: Ran | BaseException) -> bool:
            """Others came through: it is no outage."""
            return through and isinstance(result, ModelFailed) and not isinstance(result, ModelBusy)

        for (position, _), result in zip(batch, found, strict=True):
            if own_fault(result):
                key = task.name, position
                self._tries[key] = self._tries.get(key, 0) + 1
        first = next((i for i, result in enumerate(found) if not isinstance(result, Ran)), len(found))
        in_order = [ran for ran in found[:first] if isinstance(ran, Ran)]
        if not await asyncio.to_thread(self._enter, task, proof, in_order):
            await asyncio.to_thread(self._llm.forget, purpose.scope)
            return
        if first < len(found) and isinstance(problem := found[first], BaseException) and not own_fault(problem):
            raise problem

    def _enter(self, task: Task, proof: Proof, found: Sequence[Ran]) -> bool:
        """Evidence, position and what follows from it: one transaction. False: the proof is gone, for its task was
        forgotten or has another name."""
        with self._store.transact():
            kept = self._proofs.get(task.name)
            if kept is None or (kept.card, kept.position) != (proof.card, proof.position):
                return False
            for ran in found:
                proof.add(ran)
            self._proofs.put(task.name, proof)
            seen = standing(proof, self._terms.control, pairs_per_call=self._pairs_per_call(task.name, proof))
            self._stand(task, proof.card, seen)
        for ran in found:
            self._tries.pop((task.name, ran.position), None)
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
