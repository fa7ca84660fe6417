"""From entries to the ledger, the metrics and the log: in batches, off the request path, and after a kill."""

import logging
from collections.abc import Iterable

from compiler.journal import Journal, abandoned
from compiler.ledger import Ledger, Tally
from compiler.store import Store
from proxy.entry import Entry
from proxy.metrics import Metrics

log = logging.getLogger("cuecard.books")


def tallied(entries: Iterable[Entry]) -> Tally:
    tally = Tally()
    for entry in entries:
        if entry.booked or entry.part == "unmetered":
            tally.add(entry.charge)
    return tally


def recover(store: Store, metrics: Metrics | None) -> int:
    """Bring in what killed workers had noted, also those of a server that was killed as a whole; how many entries.

    Raises StoreError; what is not brought in then waits for the next time.
    """
    total = 0
    for journal in abandoned(store.folder):
        done = False
        try:
            total += _recover(store, metrics, journal)
            done = True
        except ValueError as error:
            log.error("journal %s can't be read, and is put aside: %s", journal.id, error)
            journal.put_aside()
        finally:
            journal.close(delete=done)
    return total


def _recover(store: Store, metrics: Metrics | None, journal: Journal) -> int:
    ledger = Ledger(store)
    unbooked = _entries(journal, max(journal.booked, ledger.position(journal.id)))
    ledger.add(tallied(unbooked), journal=(journal.id, journal.written))
    journal.mark_booked(journal.written)
    unshown = _entries(journal, journal.shown)
    journal.mark_shown(journal.written)
    if metrics:
        metrics.spend(tallied(unshown))
        metrics.enter(unshown)
    if unbooked or unshown:
        log.warning("what a killed worker had noted is booked: %s entries", max(len(unbooked), len(unshown)))
    return len(unbooked)


def _entries(journal: Journal, offset: int) -> list[Entry]:
    """Those that can be read: a record of another version's form is lost, the others are not."""
    found = []
    for record in journal.rest(offset):
        try:
            entry = Entry(*record)
            tallied([entry])
            found.append(entry)
        except (TypeError, ValueError, AttributeError):
            log.error("an entry of another form is left out")
    return found
