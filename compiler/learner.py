"""The background: takes wanted tasks one by one through a compile and publishes what came of it.

One process at a time on a store: the lock is the kernel's, so that a killed learner leaves nothing behind.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from compiler.card import Card
from compiler.errors import BudgetExceeded, CompileFailed, ModelBusy, NothingWorks, StoreError
from compiler.llm import Llm
from compiler.models import Options
from compiler.proof import Proofs
from compiler.registry import Registry
from compiler.search import compile, scope_of
from compiler.steps import Step
from compiler.task import Task

log = logging.getLogger("cuecard.learner")

POLL_SECONDS = 0.1
FIRST_RETRY = 60.0  # seconds after a first failure; four times as long after each further one


class Learner:
    def __init__(
        self,
        registry: Registry,
        llm: Llm,
        options: Options,
        *,
        retry_kept_after: float,
        on_step: Callable[[Step], None] = lambda step: log.info("%s", step),
        on_outcome: Callable[[str, str, float], None] = lambda task, outcome, seconds: None,
    ) -> None:
        self._registry = registry
        self._llm = llm
        self._options = options
        self._retry_kept_after = retry_kept_after
        self._on_step = on_step
        self._on_outcome = on_outcome
        self._running: dict[str, asyncio.Task[None]] = {}

    @property
    def llm(self) -> Llm:
        """The door that its calls go through, and its budget with it."""
        return self._llm

    async def run(self) -> None:
        """Until cancelled. A compile that a killed learner left behind is wanted again and goes on where it was."""
        declared = {name: task for name, (task, _) in self._registry.tasks().items()}
        known = declared | self._registry.adopted()
        self._registry.want(name for name, task in known.items() if self._left_behind(name, task))
        try:
            while True:
                self._start_wanted()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            for running in self._running.values():
                running.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _left_behind(self, name: str, task: Task) -> bool:
        state = self._registry.state(name)
        return state.stage == "compiling" and state.definition == task.definition()

    def _start_wanted(self) -> None:
        self._running = {name: task for name, task in self._running.items() if not task.done()}
        try:
            for name in self._registry.wanted():
                if name not in self._running:
                    self._running[name] = asyncio.create_task(self._take(name), name=f"compile {name}")
        except StoreError as error:
            log.warning("%s; nothing is compiled until it can", error)

    async def _take(self, name: str) -> None:
        wanted = self._registry.task(name)
        if wanted:
            await self.compile(wanted)
        current = self._registry.task(name)
        ended = current == wanted and self._registry.state(name).stage != "compiling"
        if ended or current is None:  # else it was reworded meanwhile, or the store failed: still wanted
            self._registry.unwant(name)
        if wanted and wanted.recognised and current is None:  # what it learned meanwhile was to be forgotten
            self._registry.clear(name)

    async def compile(self, task: Task, *, again: bool = False) -> bool:
        """Compile if the task still wants it (or `again`), publish the card or remember why there is none."""
        definition, state = task.definition(), self._registry.state(task.name)
        if not (again or state.stage == "compiling" or state.wants_compile(definition, time.time())):
            return True
        started = time.monotonic()
        outcome = "failed"
        try:
            if problem := self._problem():
                self._registry.keep(task.name, definition, problem, self._retry_kept_after)
                return False
            self._registry.compiling(task.name, definition)
            await self._compile(task)
            outcome = "card"
        except BudgetExceeded as error:
            outcome = "budget"
            self._keep(task, str(error), _until_tomorrow() if error.scope == "day" else self._retry_kept_after)
        except NothingWorks as error:
            outcome = "kept"
            Proofs(self._registry.store).looked(task.name, error.looks)
            self._llm.end(scope_of(task, self._registry.next_version(task.name)))
            self._keep(task, str(error), self._retry_kept_after, hopeless=True)
        except CompileFailed as error:
            busy = error.__cause__.retry_after if isinstance(error.__cause__, ModelBusy) else 0.0
            self._keep(task, str(error), max(busy, self._backoff(task)))
        except StoreError as error:
            log.error("compile of %s: %s", task.name, error)
        except Exception as error:  # boundary: a bug in a compile must not end the learner; the original answers
            log.exception("compile of %s", task.name)
            self._keep(task, f"internal error ({type(error).__name__})", self._backoff(task))
        finally:
            self._on_outcome(task.name, outcome, time.monotonic() - started)
        return outcome == "card"

    async def _compile(self, task: Task) -> None:
        version = self._registry.next_version(task.name)
        card = await compile(
            task,
            self._registry.examples(task.name),
            self._llm.models,
            options=self._options,
            version=version,
            llm=self._llm,
            on_step=self._on_step,
            from_traffic=task.recognised or task.name in self._registry.learned(),
        )
        if not self._publish(task, card):
            log.info("%s is no longer known under this name: its card is not kept", task.name)
        self._llm.forget(scope_of(task, version))

    def _publish(self, task: Task, card: Card) -> bool:
        with self._registry.store.transact():
            Proofs(self._registry.store).looked(task.name, card.looks - bool(card.sealed))
            if task.recognised and task.name not in self._registry.adopted():
                return False
            if task.trust == "proven":
                self._registry.publish(card, stage="shadowing", traffic=0.0)
            else:
                self._registry.publish(card)
            return True

    def _problem(self) -> str | None:
        models = self._llm.models
        return self._llm.unusable(models.meta) or self._llm.unusable(models.production[0])

    def _keep(self, task: Task, reason: str, retry_after: float, *, hopeless: bool = False) -> None:
        log.warning("%s stays on the current model: %s (next try in %.0f s)", task.name, reason, retry_after)
        self._registry.keep(task.name, task.definition(), reason, retry_after, hopeless=hopeless)

    def _backoff(self, task: Task) -> float:
        failures = self._registry.state(task.name).failures
        return min(FIRST_RETRY * 4.0**failures, self._retry_kept_after)


def _until_tomorrow() -> float:
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds() + 1
