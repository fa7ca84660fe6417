import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compiler.errors import StoreError
from compiler.journal import FOLDER, RING, Journal
from compiler.ledger import Ledger
from compiler.registry import Registry, Snapshot
from compiler.store import Store
from proxy.books import recover
from proxy.entry import Entry
from proxy.logs import RequestLog
from proxy.metrics import Metrics
from proxy.sync import Sync
from tests.proxy.test_books import calls, entry, shown

SECONDS = 10  # that anything here may take


class Fragile(Store):
    """A store whose disk is full while `full` is set."""

    full = False

    def put(self, *args: object, **more: object) -> None:
        if self.full:
            raise StoreError("full")
        super().put(*args, **more)


class Worker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.usable = True
        self.opened: list[Fragile] = []
        self.refused = 0
        self.adopted: list[Snapshot] = []
        self.metrics = Metrics()
        self.sync = Sync(self._open, self.adopted.append, self.metrics, RequestLog(enabled=False))

    def _open(self) -> Store:
        if not self.usable:
            self.refused += 1
            raise StoreError("no such disk")
        self.opened.append(Fragile(self.folder))
        return self.opened[-1]

    @property
    def journals(self) -> list[Path]:
        return list((self.folder / FOLDER).glob("*.journal"))

    def start(self, *, journal: bool = False) -> None:
        self.sync.start()
        if journal:
            until(lambda: self.sync._journal is not None)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def worker(store: Store) -> Iterator[Worker]:
    worker = Worker(store.folder)
    yield worker
    if worker.sync.is_alive():
        worker.sync.stop()


def test_what_is_kept_is_shown_at_once_and_booked_when_the_worker_stops(store, worker):
    worker.sync.keep(entry())
    worker.sync.keep(entry())
    worker.sync.show()
    assert shown(worker.metrics) == 2
    assert calls(store) == 0
    worker.start()
    worker.sync.keep(entry())
    worker.sync.stop()
    assert (calls(store), shown(worker.metrics)) == (3, 3)


def test_what_is_kept_is_booked_while_the_worker_runs(store, worker):
    worker.start(journal=True)
    worker.sync.keep(entry())
    until(lambda: calls(store) == 1)
    assert shown(worker.metrics) == 1
    (row,) = Ledger(store).rows()
    assert (row[0], row[1].model, row[2].requests, row[2].cost) == ("mood", "gpt-big", 1, 0.5)


def test_what_is_kept_is_in_the_journal_at_once(worker):
    worker.start(journal=True)
    worker.sync.keep(entry())
    (path,) = worker.journals
    journal = Journal(path, os.open(path, os.O_RDWR), RING)
    assert [Entry(*record)._replace(tried=("compiled",)) for record in journal.rest(0)] == [entry()]
    journal.close(delete=False)


def test_a_store_that_cannot_be_opened_keeps_what_is_noted_waiting(store, worker, caplog):
    worker.usable = False
    worker.sync.keep(entry())
    worker.start()
    until(lambda: worker.refused >= 2)
    worker.sync.keep(entry())
    until(lambda: shown(worker.metrics) == 2)
    assert calls(store) == 0
    worker.usable = True
    until(lambda: calls(store) == 2)
    until(lambda: "the store can be used again" in caplog.messages)
    worker.sync.stop()
    assert (calls(store), shown(worker.metrics), len(worker.opened)) == (2, 2, 1)
    assert sum("the store can't be used" in message for message in caplog.messages) == 1


def test_a_store_that_refuses_a_flush_gets_it_with_the_next(store, worker, caplog):
    worker.start(journal=True)
    worker.opened[0].full = True
    worker.sync.keep(entry())
    until(lambda: any("the store can't be used" in message for message in caplog.messages))
    worker.sync.keep(entry())
    assert calls(store) == 0
    worker.opened[0].full = False
    worker.sync.stop()
    assert (calls(store), shown(worker.metrics), worker.journals) == (2, 2, [])


def test_what_the_store_refused_to_the_end_is_left_in_the_journal_and_brought_in_later(store, worker):
    worker.start(journal=True)
    worker.opened[0].full = True
    worker.sync.keep(entry())
    worker.sync.stop()
    assert (calls(store), len(worker.journals)) == (0, 1)
    assert recover(store, worker.metrics) == 1
    assert (calls(store), shown(worker.metrics), worker.journals) == (1, 1, [])


def test_a_new_generation_is_adopted_once(store, worker):
    worker.start()
    until(lambda: len(worker.adopted) == 1)
    assert (worker.adopted[0].generation, worker.adopted[0].off) == (0, False)
    Registry(store).set_off(True)
    until(lambda: len(worker.adopted) == 2)
    worker.sync.stop()
    assert [(snapshot.generation, snapshot.off) for snapshot in worker.adopted] == [(0, False), (1, True)]


def test_a_wish_to_compile_reaches_the_learner(store, worker):
    worker.start()
    worker.sync.want_compile("mood")
    worker.sync.want_compile("mood")
    until(lambda: Registry(store).wanted() == ["mood"])


def test_a_worker_that_stops_leaves_no_journal(store, worker):
    worker.start(journal=True)
    assert len(worker.journals) == 1
    worker.sync.keep(entry())
    worker.sync.stop()
    assert worker.journals == []
    assert recover(store, worker.metrics) == 0
    assert (calls(store), shown(worker.metrics)) == (1, 1)


def test_a_request_without_a_charge_is_shown_and_makes_no_row(store, worker):
    worker.start(journal=True)
    worker.sync.keep(entry(booked=False))
    worker.sync.stop()
    assert list(Ledger(store).rows()) == []
    assert (shown(worker.metrics), worker.journals) == (1, [])


def test_more_than_the_journal_holds_is_booked_from_memory(store, worker, monkeypatch):
    create = Journal.create
    monkeypatch.setattr(Journal, "create", lambda folder: create(folder, 2_000))
    worker.start(journal=True)
    for _ in range(100):
        worker.sync.keep(entry())
    worker.sync.stop()
    assert (calls(store), shown(worker.metrics), worker.journals) == (100, 100, [])


def test_where_no_journal_can_be_kept_requests_are_booked_all_the_same_and_it_is_said_once(
    store, worker, monkeypatch, caplog
):
    tries = []

    def refuse(folder: Path) -> Journal:
        tries.append(folder)
        raise StoreError("no journal can be kept")

    monkeypatch.setattr(Journal, "create", refuse)
    worker.start()
    worker.sync.keep(entry())
    until(lambda: len(tries) >= 2)
    worker.sync.stop()
    assert (calls(store), shown(worker.metrics)) == (1, 1)
    assert sum("a kill may lose" in message for message in caplog.messages) == 1
