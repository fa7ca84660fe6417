"""The worker's thread for the store: writes what was metered, brings in new snapshots. The request path never waits
for it; with the store gone, requests go on by the last snapshot and the sums wait in memory."""

import logging
import threading
from collections import deque
from collections.abc import Callable

from compiler.ledger import Charge, Ledger, Tally
from compiler.registry import Registry, Snapshot
from compiler.store import Store

log = logging.getLogger("cuecard.sync")

EVERY_SECONDS = 0.1


class Sync(threading.Thread):
    def __init__(self, open_store: Callable[[], Store], adopt: Callable[[Snapshot], None]) -> None:
        super().__init__(name="store", daemon=True)
        self._open_store = open_store
        self._adopt = adopt
        self._charges: deque[Charge] = deque()
        self._wanted: deque[str] = deque()
        self._tally = Tally()
        self._generation = -1
        self._stopping = threading.Event()
        self._store: Store | None = None
        self._failing = False

    def book(self, charge: Charge) -> None:
        self._charges.append(charge)

    def want_compile(self, task: str) -> None:
        self._wanted.append(task)

    def stop(self) -> None:
        """Flush once more and end. Blocks until that is done."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        while True:
            last = self._stopping.wait(EVERY_SECONDS)
            try:
                self._exchange()
                if self._failing:
                    log.warning("the store can be used again")
                self._failing = False
            except Exception as error:  # noqa: BLE001 - boundary: a broken store must not end the thread, nor reach a request
                if not self._failing:
                    log.error("the store can't be used, requests go on without it: %s", error)
                self._failing = True
            if last:
                break
        if self._store:
            self._store.close()

    def _exchange(self) -> None:
        while self._charges:
            self._tally.add(self._charges.popleft())
        if self._store is None:
            self._store = self._open_store()
        registry = Registry(self._store)
        if self._tally.rows:
            Ledger(self._store).add(self._tally)
            self._tally = Tally()
        if self._wanted:
            registry.want(set(self._wanted))
            self._wanted.clear()
        if registry.generation() != self._generation:
            snapshot = registry.snapshot()
            self._generation = snapshot.generation
            self._adopt(snapshot)
