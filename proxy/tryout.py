"""What `cuecard try` does: a task's card on its newest inputs, paid out of a purse of its own; and what came of it."""

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

from compiler.errors import BudgetExceeded, CompilerError, JudgeIsArm, ModelFailed, NotNow
from compiler.judge import Judge, secret
from compiler.llm import Llm, Purpose
from compiler.observation import input_of
from compiler.proof import Ran
from compiler.registry import Registry
from compiler.rollout import Rollout
from compiler.shadow import Shadow
from compiler.store import Store
from compiler.task import Task
from compiler.trial import Inputs, Trial, Tried, inputs_of
from proxy.observing import open_observations
from proxy.settings import Settings
from proxy.worst import current_answer


class Tryout:
    """Methods raise StoreError; making one UnknownTask, and NotNow where there is nothing to try, or to try it on."""

    def __init__(self, settings: Settings, store: Store, name: str, calls: int, max_usd: float) -> None:
        self._settings = settings
        self._store = store
        view, self.card = Rollout(store).with_card(name)
        self.task, self.max_usd = view.task, max_usd
        self.off = Registry(store).is_off()
        with open_observations(settings) as observations:
            self._epoch = observations.epoch()
            self.inputs: Inputs = inputs_of(Registry(store), observations, self.task, self.card, calls)
        if not self.inputs.chosen:
            raise NotNow(_nothing(self.task, settings))
        self.tried: list[Tried] = []
        self.usd = 0.0  # with what is still reserved for calls that were cut off
        self.unjudged = ""  # why nobody judges
        self.stopped = ""  # why not all was tried
        self.interrupted = False

    @property
    def came_through(self) -> bool:
        return any(one.ran for one in self.tried)

    async def run(self, on_begin: Callable[[], None], on_tried: Callable[[Tried], None]) -> None:
        """Raises NotNow where the card's model can't be called. Cancelled, it leaves what it has."""
        models, usd_per_day = self._settings.background_models(), self._settings.background.usd_per_day
        with open_observations(self._settings) as observations:
            async with Llm(models, self._store, usd_per_day=usd_per_day) as llm:
                await self._run(llm, lambda: observations.epoch() != self._epoch, on_begin, on_tried)

    async def _run(
        self, llm: Llm, forgotten: Callable[[], bool], on_begin: Callable[[], None], on_tried: Callable[[Tried], None]
    ) -> None:
        if problem := llm.unusable(self.card.model):
            raise NotNow(problem)
        judge = self._judge(llm)
        scope = f"try:{self.card.label}:{uuid.uuid4().hex}"
        purpose = Purpose(self.task.name, "shadow", scope, self.max_usd)
        trial = Trial(Shadow(llm, self.task, self.card, judge), purpose, on_tried, self.tried, forgotten)
        on_begin()
        self.stopped = "you stopped it"  # unless it ends by itself
        try:
            self.stopped = self._why(await trial.run(self.inputs.chosen))
        finally:
            self.usd = llm.budget.spent(f"budget:{scope}")

    def in_order(self) -> list[Tried]:
        """Newest first."""
        places = {id(observation): at for at, observation in enumerate(self.inputs.chosen)}
        return sorted(self.tried, key=lambda one: places[id(one.observation)])

    def _judge(self, llm: Llm) -> Judge | None:
        arms = [model for model in (self.card.model, self.task.incumbent) if model]
        if (model := llm.models.judge) is None:
            self.unjudged = "`models.judge` is not set"
            return None
        try:
            return Judge(llm, model, secret(self._store), arms=arms)
        except (JudgeIsArm, ModelFailed) as error:
            self.unjudged = str(error)
            return None

    def _why(self, end: CompilerError | None) -> str:
        if isinstance(end, BudgetExceeded) and end.scope != "day":
            unjudged = "" if self.unjudged else "; what nobody judged any more is called `different`"
            return f"the next call could have passed --max-usd (${self.max_usd:g}){unjudged}"
        if isinstance(end, BudgetExceeded):
            return f"{end} (`background.usd_per_day`)"
        return str(end) if end else ""

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "card": self.card.label,
            "models": {"current": self.task.incumbent, "card": self.card.model, "judge": self._settings.models.judge},
            "unjudged": self.unjudged or None,
            "inputs": {"of": self.inputs.number, "recorded": self.inputs.recorded, "chosen": len(self.inputs.chosen)},
            "pairs": [pair_of(tried, self.inputs.recorded) for tried in self.in_order()],
            "summary": summary(self.tried, self.inputs.recorded),
            "usd": self.usd,
            "max_usd": self.max_usd,
            "stopped": self.stopped or None,
        }


def _nothing(task: Task, settings: Settings) -> str:
    why = "" if settings.capture.enabled else " (`capture.enabled` is false)"
    given = "" if task.recognised else ", and it has no examples that its card does not show"
    return f"nothing of {task.name!r} is recorded{why}{given}: there is no input to try its card on"


def pair_of(tried: Tried, recorded: bool) -> dict[str, Any]:
    """`d` and `outcome` are None where it did not come through; `recorded`: it has a price and took its time."""
    ran, observation = tried.ran, tried.observation
    theirs, ours = (ran and ran.seconds) or (None, None)
    return {
        "time": observation.time or None,
        "outcome": ran.scored.outcome if ran else None,
        "d": ran.scored.d if ran else None,
        "reason": ran.scored.reason if ran else tried.problem,
        "judge": ran.scored.said if ran else "",
        "input": input_of(observation),
        "current": current_answer(observation),
        "candidate": ran.answer if ran else "",
        "seconds": {"current": theirs if recorded else None, "card": ours},
        "usd": {"current": observation.cost, "card": ran.usd[1] if ran else None},
    }


def summary(tried: Sequence[Tried], recorded: bool) -> dict[str, Any]:
    """Of those that came through."""
    ran = [one.ran for one in tried if one.ran]
    outcomes = Counter(one.scored.outcome for one in ran)
    return {
        "tried": len(tried),
        "failed": len(tried) - len(ran),
        "same": outcomes["same"],
        "no_worse": sum(one.scored.d <= 0 for one in ran),
        "mean_d": fmean(one.scored.d for one in ran) if ran else None,
        "outcomes": dict(outcomes),
        "usd": _usd(ran),
        "seconds": _seconds(ran, recorded),
    }


def _usd(ran: Sequence[Ran]) -> dict[str, Any]:
    """Over those where both are known, if there are any. A fallback is two calls, and both are paid."""
    both = [one for one in ran if None not in one.usd]
    ours = sum((one.usd[1] or 0.0) + (one.usd[0] or 0.0) * (one.scored.outcome == "fallback") for one in both or ran)
    theirs = sum(one.usd[0] or 0.0 for one in both)
    return {"pairs": len(both or ran), "current": theirs if both else None, "card": ours}


def _seconds(ran: Sequence[Ran], recorded: bool) -> dict[str, Any]:
    timed = [one.seconds for one in ran if one.seconds]
    theirs, ours = ([pair[arm] for pair in timed] for arm in (0, 1))
    return {"current": _spread(theirs) if recorded else None, "card": _spread(ours)}


def _spread(seconds: list[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    return {"p50": median(seconds), "p95": sorted(seconds)[len(seconds) * 95 // 100]}
