"""The worker's thread for the store: writes what was charged, brings in new snapshots. The request path never waits
for it; with the store gone, requests go on by the last snapshot and the sums wait in memory."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from compiler.errors import StoreError
from compiler.journal import Journal
from compiler.ledger import Ledger, Tally
from compiler.pauses import Pauses
from compiler.recognition.catalogue import NOTHING
from compiler.registry import Registry, Snapshot
from compiler.store import Store
from proxy.books import tallied
from proxy.call import now
from proxy.entry import Entry
from proxy.logs import RequestLog
from proxy.metrics import Metrics

log = logging.getLogger("cuecard.sync")

EVERY_SECONDS = 0.1
LOOK_SECONDS = 0.25  # between looks for a new snapshot
NEVER, OF_ANOTHER = -1, -2  # generations of the snapshot at hand: there is none; it is of a store that was left
AT_ONCE = 32  # entries
FLUSH_SECONDS = 0.5  # between flushes at the least; the journal has what waits for one
FLUSH_SHARE = 0.02  # of a core that flushing may take: with a hundred tasks a flush is 20 ms
LONGEST_SECONDS = 2.0  # between flushes: the journal has room for some 20,000 records


class Sync(threading.Thread):
    def __init__(
        self,
        open_store: Callable[[], Store],
        adopt: Callable[[Snapshot], None],
        metrics: Metrics,
        request_log: RequestLog,
        first_look: Callable[[], None] = lambda: None,
    ) -> None:
        """`adopt` is called, in the thread, with every new snapshot; `first_look` when the store was looked at once,
        also where it can't be used."""
        super().__init__(name="store", daemon=True)
        self._open_store = open_store
        self._adopt = adopt
        self._metrics = metrics
        self._log = request_log
        self._first_look = first_look
        self._entries: deque[tuple[Entry, Journal | None, int]] = deque()  # with the offset behind it in that journal
        self._wanted: deque[str] = deque()
        self._busy: set[str] = set()  # upstreams that answered 429
        self._tally = Tally()
        self._generation = NEVER
        self._recognition = NOTHING
        self._stopping = threading.Event()
        self._showing = threading.Lock()
        self._store: Store | None = None
        self._journal: Journal | None = None
        self._left: list[Journal] = []  # of stores that were deleted: a request may be writing to one just now
        self._offset = 0
        self._flush_next = self._looked = 0.0
        self._failing = False
        self._told = False  # that there is no journal

    def keep(self, entry: Entry) -> None:
        """On the request path: into the journal, a copy in memory, and left for the thread to add up."""
        journal = self._journal
        self._entries.append((entry, journal, journal.append([*entry]) if journal else 0))

    def want_compile(self, task: str) -> None:
        self._wanted.append(task)

    def stop(self) -> None:
        """Flush once more and end. Blocks until that is done."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        pause, first = 0.0, True
        while True:
            last = self._stopping.wait(pause)
            pause = EVERY_SECONDS
            try:
                self.show()
                self._exchange()
                if self._failing:
                    log.warning("the store can be used again")
                self._failing = False
            except Exception as error:  # noqa: BLE001 - boundary: a broken store must not end the thread, nor reach a request
                if not self._failing:
                    log.error("the store can't be used, requests go on without it: %s", error)
                self._failing = True
            self._metrics.store_up.set(not self._failing)
            if first:
                self._first_look()
                first = False
            if last:
                break
        for journal in self._left:
            journal.close(delete=not self._tally.rows)
        if self._journal:
            self._journal.close(delete=not self._tally.rows)
        if self._store:
            self._store.close()

    def show(self) -> None:
        """To metrics and log, and into the tally: none of these needs the store. Any thread may ask for it."""
        with self._showing:
            while self._entries:
                self._show_some()
            self._metrics.show_inflight()

    def _show_some(self) -> None:
        """A kill may fall between the mark and what it stands for: few at a time, no more than are in flight anyway."""
        batch: list[Entry] = []
        while self._entries and len(batch) < AT_ONCE:
            entry, journal, offset = self._entries.popleft()
            batch.append(entry)
            if journal is self._journal:
                self._offset = offset
        self._busy.update(entry.upstream for entry in batch if entry.status == 429)
        tally = tallied(batch)
        self._tally.merge(tally)
        if self._journal:
            self._journal.mark_shown(self._offset)
        self._metrics.spend(tally)
        self._metrics.enter(batch)
        self._log.note(batch)

    def _exchange(self) -> None:
        if self._store is None:
            self._store = self._open_store()
        if self._store.replaced():
            self._store = self._leave(self._store)
        if self._stopping.is_set() or now() >= self._flush_next:
            began = time.thread_time()
            self._flush(self._store)
            took = time.thread_time() - began
            self._flush_next = now() + min(LONGEST_SECONDS, max(FLUSH_SECONDS, took / FLUSH_SHARE))
        with self._showing:
            busy, self._busy = self._busy, set()
        Pauses(self._store).busy(busy)
        if now() - self._looked < LOOK_SECONDS and not self._wanted:
            return
        self._looked = now()
        registry = Registry(self._store)
        if self._wanted:
            registry.want(set(self._wanted))
            self._wanted.clear()
        generation = registry.generation()
        empty = not generation and self._generation == OF_ANOTHER  # the learner has yet to declare the tasks in it
        if generation != self._generation and not empty:
            snapshot = registry.snapshot(self._recognition)
            self._generation, self._recognition = snapshot.generation, snapshot.recognition
            self._adopt(snapshot)
        if self._journal is None:
            self._open_journal(self._store)

    def _leave(self, store: Store) -> Store:
        """For the one that took its place; what is kept from now on goes there, and what is tallied too."""
        log.error("the store in %s was deleted or replaced; requests go on by what was known", store.folder)
        store.close()
        with self._showing:
            self._store = None
            if self._journal:
                self._left.append(self._journal)
            self._journal, self._offset = None, 0
            self._generation = OF_ANOTHER
            self._recognition = NOTHING
        return self._open_store()

    def _flush(self, store: Store) -> None:
        """One transaction; where it fails, the tally waits for the next."""
        journal = self._journal
        with self._showing:
            tally, offset, self._tally = self._tally, self._offset, Tally()
        try:
            Ledger(store).add(tally, journal=(journal.id, offset) if journal else None)
        except BaseException:
            with self._showing:
                self._tally.merge(tally)
            raise
        if journal:
            journal.mark_booked(offset)

    def _open_journal(self, store: Store) -> None:
        try:
            self._journal = Journal.create(store.folder)
        except StoreError as error:
            if not self._told:
                self._told = True
                log.warning("%s; a kill may lose the last two seconds of the ledger", error)
