"""All tasks of a log, one after the other: compiled, then compared, out of one purse."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from compiler.backtest import Backtest, Ended
from compiler.budget import OFFLINE, Budget
from compiler.card import Card
from compiler.errors import BudgetExceeded, CompileFailed, JudgeIsArm, ModelFailed, ModelRefused, NothingWorks, NotNow
from compiler.judge import check
from compiler.llm import Llm, Purpose
from compiler.models import Models
from compiler.proof import Proof, slower
from compiler.search import compile
from compiler.store import Store
from proxy.prove.case import Case, number_of
from proxy.prove.costs import Costs
from proxy.prove.kept import Begun, Kept, digest
from proxy.prove.progress import Shown
from proxy.prove.result import Result, Verdict
from proxy.prove.saving import saving_of
from proxy.settings import Settings

NO_LIMIT = float("inf")


class _NoCard(Exception):
    """Carries why."""


@dataclass
class Proving:
    """`max_usd`: what all runs on the log behind `mark` may cost together. `results` also while it runs."""

    settings: Settings
    store: Store
    kept: Kept
    mark: str
    max_usd: float
    days: float | None
    shown: Callable[[str], AbstractContextManager[Shown]]
    results: list[Result] = field(default_factory=list)
    stopped: str = ""  # by the cap

    @property
    def account(self) -> str:
        return f"{OFFLINE}:{self.mark}"

    @property
    def costs(self) -> Costs:
        return Costs(self.store, self.account)

    async def run(self, cases: Sequence[Case]) -> None:
        """Raises NotNow where no model may be called."""
        if not cases:
            return
        models = self.settings.background_models()
        shared = {self.account: self.max_usd}
        async with Llm(models, self.store, usd_per_day=NO_LIMIT, observe=self.costs.add, shared=shared) as llm:
            for model in (models.meta, *models.production):
                if problem := llm.unusable(model):
                    raise NotNow(problem)
            for case in cases:
                self.results.append(await self._prove(case, llm, models))

    @property
    def spent(self) -> float:
        """USD, with what is still reserved for calls that were cut off."""
        return Budget(self.store, NO_LIMIT).spent(f"budget:{self.account}")

    async def _prove(self, case: Case, llm: Llm, models: Models) -> Result:
        if self.stopped:
            return Result(case, "stopped", self.stopped)
        one = _One(self, case, llm, models)
        with self.shown(case.task.name) as shown:
            try:
                return await one.run(shown)
            except BudgetExceeded as error:
                self.stopped = f"the next call could have passed --max-usd (${self.max_usd:g})"
                return one.result("stopped", self.stopped if error.account == self.account else str(error))
            except ModelFailed as error:
                return one.result("stopped", f"its models don't answer: {error}")


@dataclass
class _One:
    of: Proving
    case: Case
    llm: Llm
    models: Models
    margin: float = 0.0
    number: int = 0
    card: Card | None = None
    test: Backtest | None = None

    async def run(self, shown: Shown) -> Result:
        """Raises BudgetExceeded and ModelFailed where it is to go on another time."""
        task, kept = self.case.task, self.of.kept
        try:
            card = self.card = self.case.begun.card if self.case.begun else await self._compiled(shown)
        except _NoCard as error:
            return self.result("fail", f"not compiled: {error}")
        self.margin = self.of.settings.margin.of(card.contract.kind)
        looks = 0 if self.case.begun else card.looks - bool(card.sealed)
        self.number = number_of(self.case, kept, self.margin, looks)
        kept.begin(task, Begun(self.number, card, self.case.first, digest(self.case.compiled_from), self.margin))
        pairs = self.case.pairs + len(card.sealed)
        test = self.test = Backtest(
            self.llm,
            self.of.store,
            task,
            card,
            self.case.observed,
            self.case.first,
            self.margin,
            self.number,
            Purpose(task.name, "shadow", f"{self.of.account}:{task.name}", self.of.max_usd, account=self.of.account),
            self.of.settings.compile.concurrency,
            on_pairs=lambda proof: shown.pairs(proof, pairs),
        )
        shown.say(f"{card.label} on {card.model}: comparing up to {pairs:,} pairs")
        return self._decided(await test.run())

    async def _compiled(self, shown: Shown) -> Card:
        """Raises _NoCard; BudgetExceeded too where the cap cut it short, whatever came of it: that measures nothing but
        the cap."""
        task, kept, seen = self.case.task, self.of.kept, self.case.compiled_from
        if reason := kept.failure(task, seen):
            raise _NoCard(reason)
        refused = self.llm.budget.refused[self.of.account]
        try:
            card = await compile(
                task,
                self.case.examples,
                self.models,
                options=self.of.settings.compile_options(),
                version=kept.begun(task) + 1,
                llm=self.llm,
                on_step=lambda step: shown.say(str(step)),
            )
        except (CompileFailed, BudgetExceeded) as error:
            self._require_uncut(refused)
            if isinstance(error.__cause__, ModelFailed) and not isinstance(error.__cause__, ModelRefused):
                raise error.__cause__ from error
            if isinstance(error, NothingWorks):
                kept.fail(task, seen, str(error), error.looks)
            raise _NoCard(str(error)) from error
        self._require_uncut(refused)
        return card

    def _require_uncut(self, refused: int) -> None:
        """`refused`: how many calls the cap had refused before."""
        if self.llm.budget.refused[self.of.account] > refused:
            raise BudgetExceeded("the cap cut its compile short", scope="compile", account=self.of.account)

    def _decided(self, ended: Ended) -> Result:
        verdict: Verdict = "pass" if ended.end == "proven" else "fail"
        return replace(self.result(verdict, ended.reason), wanted=ended.wanted)

    def result(self, verdict: Verdict, reason: str) -> Result:
        """As far as it has come."""
        name, proof = self.case.task.name, self.test.proof if self.test else None
        requests, costs = self.case.requests, self.of.costs
        saving = None
        if proof:
            control, proving = self.of.settings.control, costs.of(name, "shadow", "judge")
            saving = saving_of(
                proof, calls=requests.calls, usd=requests.usd, days=self.of.days, control=control, proof_usd=proving
            )
        return Result(
            case=self.case,
            verdict=verdict,
            reason=reason,
            margin=self.margin,
            card=self.card,
            proof=proof,
            number=self.number,
            worst=self.test.worst if self.test else (),
            saving=saving,
            usd=costs.of(name),
            notes=self._notes(verdict, proof),
        )

    def _notes(self, verdict: Verdict, proof: Proof | None) -> list[str]:
        notes = [f"of its variants, the one in which {slot} is {value!r}" for slot, value in self.case.chosen.items()]
        if self.case.others:
            notes.append(f"{self.case.others:,} requests that another model answered are left out")
        if proof and (slow := slower(proof)):
            notes.append(f"{slow}; timed from here, and no card serves while it is so much slower")
        if proof and proof.scoring.judge is None and proof.outcomes["different"]:
            notes.append(f"nobody judges ({self._unjudged()}): every answer that differs counts as worse")
        covered = proof is None or proof.scoring.kind != "label" or proof.evidence.segments.covered
        if verdict == "pass" and not covered:
            notes.append("some answers are rare in it: half of the calls at most are served until they are covered")
        if self.number > 1:
            notes.append(f"proof {self.number} of this task: each one begun makes the next one's bar higher")
        return notes

    def _unjudged(self) -> str:
        judge = self.llm.models.judge
        if judge is None:
            return "`models.judge` is not set"
        try:
            check(judge, [arm for arm in (self.card and self.card.model, self.case.task.incumbent) if arm])
        except JudgeIsArm as error:
            return str(error)
        return self.llm.unusable(judge) or ""
