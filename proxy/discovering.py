"""The learner's looking for tasks: in a thread of low priority, for as long as there is something to look at."""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from compiler.errors import StoreError
from compiler.observation import Observations
from compiler.recognition.discovery import Discovery
from compiler.store import Store
from proxy.observing import open_observations
from proxy.settings import Settings

log = logging.getLogger("cuecard.discovering")

EVERY = 0.5  # seconds
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # after a failure
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
    """Until cancelled; from the beginning again, and soon, where a store failed."""
    wait, told, looking = FIRST_WAIT, False, _Looking(settings, store)
    run = asyncio.get_running_loop().run_in_executor
    with ThreadPoolExecutor(1, "discovery", initializer=partial(os.nice, NICE)) as thread:
        try:
            while True:
                try:
                    await run(thread, looking.look)
                    if told:
                        log.warning("tasks are looked for again")
                    wait, told = FIRST_WAIT, False
                    await asyncio.sleep(EVERY)
                    continue
                except StoreError as error:
                    if not told:
                        log.warning("no tasks are looked for until this is mended: %s", error)
                    told = True
                except Exception:  # boundary: a bug in mining must not end what else the learner does
                    log.exception("looking for tasks")
                    wait = LONGEST_WAIT
                await run(thread, looking.close)
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        finally:
            thread.submit(looking.close).result()
