"""The process that learns, and counts tokens and keeps observations for this server's workers: `python -m
proxy.learning`, started by the supervisor. While its store can't be used it waits, and goes on counting."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from compiler.answers import Answers
from compiler.election import elected
from compiler.errors import CompilerError, StoreError
from compiler.observation import Observations
from compiler.pricing import PriceBook
from compiler.proof import Proofs
from compiler.redaction.redact import redact_values
from compiler.registry import Registry
from compiler.store import Store
from compiler.tokens import TokenCounter
from proxy.answered import SOCKET as FEEDBACK_SOCKET
from proxy.background import open_learner
from proxy.books import recover
from proxy.capture import SOCKET as CAPTURE_SOCKET
from proxy.capture_server import Recorder, recording
from proxy.count_server import serve_counts
from proxy.counting import SOCKET as COUNT_SOCKET
from proxy.declare import configured_tasks
from proxy.discovering import discover
from proxy.feedback_server import Noter, Opened, noting
from proxy.metrics import Metrics
from proxy.observing import open_observations
from proxy.process import Boot, run
from proxy.proving import prove
from proxy.settings import Settings
from proxy.surrogates import Surrogates

log = logging.getLogger("cuecard.learning")

GAUGES_EVERY = 1.0  # seconds
PROOFS_EVERY = 5.0  # a bound moves with every pair, of which nobody is told
LOOK_EVERY = 0.5  # whether the store is still the one in its folder
PURGE_EVERY = 3_600.0  # closed accounts, answers kept for a compile, hours past the ledger's keeping
RECOVER_EVERY = 1.0  # what killed workers had noted
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # for a store that can't be used


async def learn(settings: Settings, boot: Boot, stop: asyncio.Event) -> None:
    """Counting and keeping observations are for this server's own workers; compiling is for whoever holds the store's
    lock."""
    sockets, metrics, counter = Path(boot.sockets), Metrics(), TokenCounter()
    counting = await serve_counts(sockets / COUNT_SOCKET, counter)
    learning = asyncio.create_task(_keep_learning(settings, metrics))
    surrogates = Surrogates(redact_values if settings.capture.redact else None)
    async with (
        recording(sockets / CAPTURE_SOCKET, _recorder(settings, metrics, counter, surrogates)),
        noting(sockets / FEEDBACK_SOCKET, Noter(partial(_opened, settings), metrics, surrogates, settings.margin.of)),
    ):
        await asyncio.wait((learning, asyncio.create_task(stop.wait())), return_when=asyncio.FIRST_COMPLETED)
        learning.cancel()
    counting.close()
    with suppress(asyncio.CancelledError):
        await learning


def _recorder(settings: Settings, metrics: Metrics, counter: TokenCounter, surrogates: Surrogates) -> Recorder:
    prices = PriceBook(settings.own_prices())
    return Recorder(partial(open_observations, settings), metrics, counter, prices, surrogates)


def _opened(settings: Settings) -> Opened:
    """Raises StoreError."""
    folder = settings.store.folder
    captures = settings.capture.enabled or Observations.exist(folder)
    return Opened(Store(folder), Answers(folder), open_observations(settings) if captures else None)


def _purge(store: Store) -> None:
    store.purge_expired()
    store.checkpoint()


def _tidy(settings: Settings) -> None:
    """Also where nothing is captured any more: what there is has its time."""
    if Observations.exist(settings.store.folder):
        with open_observations(settings) as observations:
            observations.tidy()
    if Answers.exist(settings.store.folder):
        with Answers(settings.store.folder) as answers:
            answers.tidy()


async def _keep_learning(settings: Settings, metrics: Metrics) -> None:
    """Once more whenever the store was replaced, or could not be used."""
    wait, told = FIRST_WAIT, ""
    while True:
        began = asyncio.get_running_loop().time()
        try:
            await _learn(settings, metrics)
        except* (CompilerError, OSError) as group:
            problem = str(group.exceptions[0])
            if problem != told:
                log.error("nothing is learned until this is mended: %s", problem)
            told = problem
        lasted = asyncio.get_running_loop().time() - began
        wait = FIRST_WAIT if lasted > LONGEST_WAIT else min(2 * wait, LONGEST_WAIT)
        await asyncio.sleep(wait)


async def _learn(settings: Settings, metrics: Metrics) -> None:
    """Until the store in the folder is another one. Raises CompilerError and OSError, also in groups."""
    with Store(settings.store.folder) as store:
        async with elected(settings.store.folder):
            registry = Registry(store)
            if not registry.generation():  # an empty store in the place of one that was deleted
                registry.declare(configured_tasks(settings), "config")

            def outcome(task: str, result: str, seconds: float) -> None:
                metrics.compiles.labels(metrics.task(task), result).inc()
                metrics.compile_duration.observe(seconds)

            async with (
                open_learner(settings, store, observe=metrics.charge, on_outcome=outcome) as learner,
                asyncio.TaskGroup() as group,
            ):
                group.create_task(_end_when_replaced(store))
                group.create_task(learner.run())
                group.create_task(_show_stages(registry, metrics))
                group.create_task(discover(settings, store))
                group.create_task(prove(settings, store, learner.llm, metrics))
                group.create_task(_every(PURGE_EVERY, partial(_purge, store), logging.WARNING))
                group.create_task(_every(PURGE_EVERY, partial(_tidy, settings), logging.WARNING))
                group.create_task(_every(RECOVER_EVERY, partial(recover, store, metrics), logging.DEBUG))


async def _end_when_replaced(store: Store) -> None:
    while True:
        if store.replaced():
            raise StoreError(f"the store in {store.folder} was deleted or replaced; a new one is begun")
        await asyncio.sleep(LOOK_EVERY)


async def _show_stages(registry: Registry, metrics: Metrics) -> None:
    shown, at = -1, 0.0
    while True:
        now = asyncio.get_running_loop().time()
        try:
            if (generation := registry.generation()) != shown or now - at >= PROOFS_EVERY:
                at = now
                snapshot = registry.snapshot()
                metrics.tasks({**snapshot.tasks, **snapshot.adopted}, Proofs(registry.store).bounds())
                shown = generation
        except StoreError as error:
            log.debug("stages are not shown: %s", error)
        await asyncio.sleep(GAUGES_EVERY)


async def _every(seconds: float, work: Callable[[], object], level: int) -> None:
    """`work` in a thread, again and again; a store that can't be used is logged at `level`."""
    while True:
        try:
            await asyncio.to_thread(work)
        except StoreError as error:
            log.log(level, "tried again in %.0f s: %s", seconds, error)
        await asyncio.sleep(seconds)


if __name__ == "__main__":
    run(learn)
