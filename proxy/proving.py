"""The learner's proving, as configured: what a task is worth, and what its proof may cost, come from the books."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from compiler.card import Card
from compiler.ledger import Ledger
from compiler.llm import Llm
from compiler.observation import Observations
from compiler.proof import Ran
from compiler.prover import Prover
from compiler.registry import Registry, TaskState
from compiler.store import Store
from compiler.task import Mode, Task, of_variant
from compiler.terms import Terms
from compiler.worth import Range
from proxy.keeping_on import keep_on
from proxy.metrics import Metrics
from proxy.observing import open_observations
from proxy.savings import Possible, possible_savings, terms_of
from proxy.settings import Settings

log = logging.getLogger("cuecard.proving")

FRESH = 5.0  # seconds: how old an estimate may be
REST = 0.5  # seconds, where there is nothing to compare
TINY = 1e-9  # USD
HALF = 0.5  # of a task's calls: to serve the rest takes several times the pairs that it took to serve so many
GOOD_ENOUGH = ("worth it", "perhaps")


class Estimates:
    """What each task could save, reckoned anew from time to time. Raises StoreError."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._terms = terms_of(settings)
        self._found: dict[str, Possible] = {}
        self._expected = 0.0  # USD a day, of all
        self._ahead: set[str] = set()
        self._due = 0.0

    def worth(self, task: str) -> str | None:
        """Why it is not worth a compile; None if it is."""
        found = self._of(task)
        if found is None or found.worth is None:
            return found.why_not if found else "nothing is known of its traffic yet"
        verdict = found.worth.verdict
        return None if verdict in GOOD_ENOUGH else verdict

    def usd_per_day(self, task: str) -> float:
        """What proving it may cost in a day: a share of what it is expected to save. One that serves, but less
        than half, and the most promising of those that don't, may have what the others leave: what saves soon pays for
        the rest."""
        found = self._of(task)
        if found is None or found.worth is None or of_variant(task) in self._ahead:
            return self.usd_of_all(task)
        return min(
            self.usd_of_all(task), self._settings.background.max_share_of_saving * _middle(found.worth.saving_per_day)
        )

    def usd_of_all(self, task: str) -> float:
        """What all proofs together may cost in a day: the same share of what all tasks are expected to save, the middle
        of the range. Of a task that nothing is known of, what the background may."""
        found, background = self._of(task), self._settings.background
        if found is None or found.worth is None:
            return background.usd_per_day
        return min(background.usd_per_day, background.max_share_of_saving * self._expected)

    def calls_per_day(self, task: str) -> float:
        found = self._of(task)
        return found.worth.seen.calls_per_day if found and found.worth else 0.0

    def _of(self, task: str) -> Possible | None:
        if time.monotonic() >= self._due:
            cards = self._cards()
            kinds = {of_variant(card.task): card.contract.kind for card, _ in cards}
            found = possible_savings(Ledger(self._store), {}, self._terms, kinds=kinds)
            self._found = {possible.task: possible for possible in found}
            taken = [one for one in found if one.task in kinds or (one.worth and one.worth.verdict in GOOD_ENOUGH)]
            worths = [one.worth for one in taken if one.worth]
            self._expected = sum(_middle(worth.saving_per_day) for worth in worths)
            self._ahead = self._go_ahead(cards)
            self._due = time.monotonic() + FRESH
        return self._found.get(of_variant(task))

    def _cards(self) -> list[tuple[Card, TaskState]]:
        """Those that have to be proven."""
        registry = Registry(self._store)
        declared = [name for name, (task, _) in registry.tasks().items() if task.trust == "proven"]
        states = [(name, registry.state(name)) for name in (*registry.adopted(), *declared)]
        return [(card, state) for name, state in states if (card := registry.card(name, state.version))]

    def _go_ahead(self, cards: Sequence[tuple[Card, TaskState]]) -> set[str]:
        serving = {of_variant(card.task): state.traffic for card, state in cards if state.stage in ("ramping", "live")}
        waiting = {of_variant(card.task) for card, state in cards if state.stage == "shadowing"}
        little = (task for task, traffic in serving.items() if traffic < HALF)
        return {*little, *sorted(waiting - serving.keys(), key=self._promise)[-1:]}

    def _promise(self, task: str) -> float:
        """What it may save in a day, for each dollar of its proof."""
        worth = found.worth if (found := self._found.get(task)) else None
        return _middle(worth.saving_per_day) / max(_middle(worth.proof_usd), TINY) if worth else 0.0


def _middle(ends: Range) -> float:
    return (ends.low + ends.high) / 2


def mode_of(settings: Settings, task: Task) -> Mode:
    return task.mode or settings.mode


def terms_for(settings: Settings, store: Store) -> Terms:
    estimates = Estimates(settings, store)
    return Terms(
        margin=settings.margin.default,
        margin_text=settings.margin.text,
        control=settings.control,
        min_examples=settings.compile.min_examples,
        worth=estimates.worth,
        usd_per_day=estimates.usd_per_day,
        usd_of_all=estimates.usd_of_all,
        calls_per_day=estimates.calls_per_day,
        retry_kept_after=settings.compile.retry_kept_after,
        concurrency=settings.compile.concurrency,
        mode=partial(mode_of, settings),
    )


class _Proving:
    """Opens what is compared once it is there, and anew once it is another."""

    def __init__(self, settings: Settings, prover_of: Callable[[Observations], Prover]) -> None:
        self._settings = settings
        self._prover_of = prover_of
        self._observations: Observations | None = None
        self._prover: Prover | None = None

    async def step(self) -> float:
        """How long to rest, in seconds. Raises StoreError."""
        if self._observations and self._observations.replaced():
            await self.close()
        if self._prover is None:
            if not Observations.exist(self._settings.store.folder):
                return REST
            self._observations = open_observations(self._settings)
            self._prover = self._prover_of(self._observations)
        return 0.0 if await self._prover.step() else REST

    async def close(self) -> None:
        if self._observations:
            self._observations.close()
        self._observations = self._prover = None


async def prove(settings: Settings, store: Store, llm: Llm, metrics: Metrics) -> None:
    """Until cancelled."""
    terms = terms_for(settings, store)

    def count(task: str, ran: Ran) -> None:
        metrics.count(metrics.pairs, metrics.task(task), ran.scored.outcome)

    proving = _Proving(settings, lambda observations: Prover(store, observations, llm, terms, on_pair=count))
    try:
        await keep_on(proving.step, proving.close, log, "proving")
    finally:
        await proving.close()
