"""The learner's looking for tasks: in a thread of low priority, for as long as there is something to look at."""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from compiler.observation import Observations
from compiler.recognition.discovery import Discovery
from compiler.store import Store
from proxy.keeping_on import keep_on
from proxy.observing import open_observations
from proxy.settings import Settings

log = logging.getLogger("cuecard.discovering")

EVERY = 0.5  # seconds
NICE = 19  # it takes what the workers leave; Linux gives each thread a priority of its own


class _Looking:
    """Opens what is to be looked at once it is there, and anew once it is another."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._observations: Observations | None = None
        self._discovery: Discovery | None = None

    def look(self) -> None:
        """Raises StoreError."""
        if self._observations and self._observations.replaced():
            self.close()
        if self._discovery is None:
            if not Observations.exist(self._settings.store.folder):
                return
            self._observations = open_observations(self._settings)
            self._discovery = Discovery(self._store, self._observations)
        self._discovery.step()

    def close(self) -> None:
        if self._observations:
            self._observations.close()
        self._observations = self._discovery = None


async def discover(settings: Settings, store: Store) -> None:
    """Until cancelled."""
    looking, run = _Looking(settings, store), asyncio.get_running_loop().run_in_executor
    with ThreadPoolExecutor(1, "discovery", initializer=partial(os.nice, NICE)) as thread:

        async def look() -> float:
            await run(thread, looking.look)
            return EVERY

        try:
            await keep_on(look, partial(run, thread, looking.close), log, "looking for tasks")
        finally:
            thread.submit(looking.close).result()
