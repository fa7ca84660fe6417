import random
from typing import Any

import pytest

from compiler.errors import StoreError
from compiler.journal import FOLDER, Journal
from compiler.ledger import Ledger
from compiler.store import Store
from proxy.books import recover, tallied
from proxy.entry import Entry
from proxy.metrics import Metrics


def entry(**more: Any) -> Entry:
    fields = {
        "time": 1_770_000_000.0,
        "tenant": "default",
        "task": "mood",
        "upstream": "openai",
        "model": "gpt-big",
        "route": "compiled",
        "status": 200,
        "failed": "",
        "booked": True,
        "input": 100,
        "cached_input": 40,
        "cache_write": 0,
        "output": 20,
        "reasoning": 5,
        "counted": False,
        "cost": 0.5,
        "baseline": 2.0,
        "answered": True,
        "incumbent": False,
        "ends": True,
        "id": "cue-1",
        "path": "/v1/chat/completions",
        "code": 200,
        "served": "compiled",
        "reason": "",
        "card": "mood@1",
        "asked": "gpt-big",
        "answered_by": "gpt-big",
        "upstream_id": "chatcmpl-1",
        "stream": False,
        "tried": ("compiled",),
        "seconds": 0.3,
        "upstream_seconds": 0.29,
        "overhead": 0.01,
        "first_byte": None,
        "part": "whole",
        "unrecorded": "",
    }
    return Entry(**{**fields, **more})


def left(store: Store, *entries: Entry, booked: int = 0, shown: int = 0) -> Journal:
    """The journal of a killed worker, of which so many entries were booked and shown."""
    journal = Journal.create(store.folder)
    offsets = [0, *(journal.append([*entry]) for entry in entries)]
    journal.mark_booked(offsets[booked])
    journal.mark_shown(offsets[shown])
    journal.close(delete=False)
    return journal


def files(store: Store) -> list[str]:
    return [path.name for path in (store.folder / FOLDER).iterdir()]


def calls(store: Store) -> int:
    return sum(sums.calls for _, _, sums in Ledger(store).rows())


def shown(metrics: Metrics, name: str = "cuecard_requests_total") -> float:
    families = metrics.registry.collect()
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_what_a_killed_worker_had_noted_is_booked_and_shown_once(store, metrics):
    left(store, entry(), entry(task="other"), entry())
    assert recover(store, metrics) == 3
    assert files(store) == []
    assert recover(store, metrics) == 0
    assert {task: (sums.calls, sums.requests, sums.cost) for task, _, sums in Ledger(store).rows()} == {
        "mood": (2, 2, 1.0),
        "other": (1, 1, 0.5),
    }
    assert shown(metrics) == 3
    assert shown(metrics, "cuecard_cost_usd_total") == 1.5
    assert shown(metrics, "cuecard_tokens_total") == 3 * 120


def test_many_journals_are_brought_in_at_once(store, metrics):
    left(store, entry(), entry())
    left(store)
    left(store, entry())
    assert recover(store, metrics) == 3
    assert (calls(store), shown(metrics), files(store)) == (3, 3, [])


def test_the_journal_of_a_living_worker_is_left_to_it(store, metrics):
    journal = Journal.create(store.folder)
    journal.append([*entry()])
    assert recover(store, metrics) == 0
    assert (calls(store), files(store)) == (0, [f"{journal.id}.journal"])
    journal.close(delete=True)


def test_a_kill_after_the_ledgers_transaction_books_nothing_twice(store, metrics):
    entries = [entry(), entry()]
    journal = left(store, *entries)
    Ledger(store).add(tallied(entries), journal=(journal.id, journal.written))
    assert recover(store, metrics) == 0
    assert (calls(store), shown(metrics), files(store)) == (2, 2, [])


def test_what_was_noted_after_the_ledgers_last_transaction_is_booked(store, metrics):
    journal = Journal.create(store.folder)
    offset = journal.append([*entry()])
    Ledger(store).add(tallied([entry()]), journal=(journal.id, offset))
    journal.append([*entry()])
    journal.append([*entry()])
    journal.close(delete=False)
    assert recover(store, metrics) == 2
    assert calls(store) == 3


def test_a_recovery_that_is_itself_killed_books_nothing_twice(store, metrics, monkeypatch):
    left(store, entry(), entry())
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "mark_booked", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recover(store, metrics)
    assert (calls(store), len(files(store))) == (2, 1)
    assert recover(store, metrics) == 0
    assert (calls(store), shown(metrics), files(store)) == (2, 2, [])


def test_what_was_booked_and_not_shown_goes_to_the_metrics_alone(store, metrics):
    left(store, entry(), entry(), entry(), booked=3, shown=1)
    assert recover(store, metrics) == 0
    assert (calls(store), shown(metrics)) == (0, 2)


def test_what_was_shown_and_not_booked_goes_to_the_ledger_alone(store, metrics):
    left(store, entry(), entry(), entry(), booked=1, shown=3)
    assert recover(store, metrics) == 2
    assert (calls(store), shown(metrics)) == (2, 0)


def test_without_metrics_the_ledger_is_brought_up_to_date(store):
    left(store, entry())
    assert recover(store, None) == 1
    assert (calls(store), files(store)) == (1, [])


def test_a_request_without_a_charge_is_shown_and_makes_no_row(store, metrics):
    left(store, entry(booked=False))
    recover(store, metrics)
    assert list(Ledger(store).rows()) == []
    assert (shown(metrics), shown(metrics, "cuecard_tokens_total")) == (1, 0)


@pytest.mark.parametrize("record", [[], [*entry()][:-2], [*entry(), "more"], 1, [*entry()._replace(cost="0.5")]])
def test_a_record_of_another_form_is_left_out_and_the_others_are_booked(store, metrics, caplog, record):
    journal = Journal.create(store.folder)
    for one in ([*entry()], record, [*entry()]):
        journal.append(one)
    journal.close(delete=False)
    assert recover(store, metrics) == 2
    assert (calls(store), shown(metrics), files(store)) == (2, 2, [])
    assert ("ERROR", "an entry of another form is left out") in [(r.levelname, r.message) for r in caplog.records]


def test_a_record_of_the_version_before_is_booked_like_any_other(store, metrics):
    journal = Journal.create(store.folder)
    journal.append([*entry(reason="kept", served="original")][:-1])  # it had no `unrecorded`
    journal.close(delete=False)
    assert recover(store, metrics) == 1
    ((_, row, sums),) = Ledger(store).rows()
    assert (row.reason, row.endpoint, sums.calls, sums.unrecorded) == ("kept", "/v1/chat/completions", 1, 0)


def test_a_call_and_its_tokens_counted_later_are_one_row(store):
    call = entry(part="call", cost=0.0, baseline=None, reason="tools", path="/v1/chat/completions", unrecorded="bypass")
    Ledger(store).add(tallied([call]))
    Ledger(store).add(tallied([call._replace(part="tokens", counted=True, cost=0.25)]))
    ((_, row, sums),) = Ledger(store).rows()
    assert (row.reason, row.endpoint) == ("tools", "/v1/chat/completions")
    assert (sums.calls, sums.counted, sums.cost, sums.unrecorded) == (1, 1, 0.25, 1)


def test_a_call_that_told_no_usage_is_in_the_books_without_a_charge(store):
    gap = entry(part="unmetered", booked=False, cost=None, path="/v1/audio/speech/x", reason="not_chat")
    Ledger(store).add(tallied([gap]))
    ((_, row, sums),) = Ledger(store).rows()
    assert (row.reason, row.endpoint) == ("not_chat", "/v1/audio/speech")
    assert (sums.unmetered, sums.calls, sums.input, sums.cost) == (1, 0, 0, 0.0)


def test_a_file_that_is_no_journal_stands_in_nobodys_way(store, metrics):
    left(store, entry())
    for name in ("-before", "z-after"):  # than any hexadecimal id
        (store.folder / FOLDER / f"{name}.journal").write_bytes(random.Random(1).randbytes(4_096))
    assert recover(store, metrics) == 1
    assert (calls(store), shown(metrics)) == (1, 1)
    assert sorted(files(store)) == ["-before.broken", "z-after.broken"]


def test_a_journal_stays_until_the_store_takes_it(store, metrics, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise StoreError("full")

    left(store, entry())
    with monkeypatch.context() as patched:
        patched.setattr(store, "put", refuse)
        with pytest.raises(StoreError):
            recover(store, metrics)
        assert (calls(store), shown(metrics), len(files(store))) == (0, 0, 1)
    assert recover(store, metrics) == 1
    assert (calls(store), shown(metrics), files(store)) == (1, 1, [])
