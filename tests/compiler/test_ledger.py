import multiprocessing
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

import compiler.ledger
from compiler.errors import StoreError
from compiler.ledger import UNDECLARED, Charge, Incumbent, Ledger, Row, Sums, Tally
from compiler.pricing import Usage
from compiler.store import Store

USAGE = Usage(input=100, output=20, cached_input=40, reasoning=5)
CALL = Charge("mood", "fake-nano", "serve", "compiled", USAGE, cost=0.5, baseline=2.0, ends_request=True)


def add(ledger: Ledger, *charges: Charge) -> None:
    tally = Tally()
    for charge in charges:
        tally.add(charge)
    ledger.add(tally)


def totals(ledger: Ledger) -> dict[tuple[str, Row], Sums]:
    return {(task, row): sums for task, row, sums in ledger.rows()}


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return moment

    monkeypatch.setattr(compiler.ledger, "datetime", Clock)


def test_a_call_is_booked_with_all_it_cost(store):
    ledger = Ledger(store)
    add(ledger, CALL)
    assert totals(ledger) == {
        ("mood", Row("fake-nano", "serve", "compiled")): Sums(
            calls=1, requests=1, input=60, cached_input=40, output=15, reasoning=5, cost=0.5, baseline=2.0, baselined=1
        )
    }


def test_calls_are_summed_by_task_model_role_and_route(store):
    ledger = Ledger(store)
    others = [
        CALL._replace(task="other"),
        CALL._replace(model="m"),
        CALL._replace(role="judge"),
        CALL._replace(route="o"),
    ]
    add(ledger, CALL, CALL, *others)
    add(ledger, CALL)
    found = totals(ledger)
    assert found["mood", Row("fake-nano", "serve", "compiled")].calls == 3
    assert found["mood", Row("fake-nano", "serve", "compiled")].cost == pytest.approx(1.5)
    assert sorted(sums.calls for sums in found.values()) == [1, 1, 1, 1, 3]


def test_failed_counted_and_unpriced_calls_are_told_apart(store):
    ledger = Ledger(store)
    add(
        ledger,
        CALL._replace(failed=True),
        CALL._replace(usage=Usage(input=1, counted=True)),
        CALL._replace(cost=None, baseline=None, ends_request=False),
    )
    (sums,) = totals(ledger).values()
    assert (sums.calls, sums.requests, sums.failed, sums.counted, sums.unpriced, sums.baselined) == (3, 2, 1, 1, 1, 2)


def test_calls_are_told_apart_by_why_they_were_left_alone_and_where_they_arrived(store):
    ledger = Ledger(store)
    left = CALL._replace(route="original", reason="tools", endpoint="/v1/chat/completions")
    add(ledger, left, left._replace(reason="n"), left._replace(reason="not_chat", endpoint="/v1/responses"), left)
    assert {(row.reason, row.endpoint): sums.calls for _, row, sums in ledger.rows()} == {
        ("tools", "/v1/chat/completions"): 2,
        ("n", "/v1/chat/completions"): 1,
        ("not_chat", "/v1/responses"): 1,
    }


def test_a_call_that_told_no_usage_is_counted_apart(store):
    ledger = Ledger(store)
    add(ledger, CALL, CALL._replace(part="unmetered", cost=None, incumbent=True, unrecorded=True))
    (sums,) = totals(ledger).values()
    assert (sums.calls, sums.requests, sums.unmetered, sums.unpriced, sums.unrecorded) == (1, 1, 1, 0, 1)
    assert (sums.cost, sums.input) == (0.5, 60)
    assert ledger.incumbent("mood") == Incumbent()


def test_who_asked_not_to_be_recorded_is_counted_once_a_request(store):
    ledger = Ledger(store)
    hidden = CALL._replace(unrecorded=True, part="call", cost=0.0)
    add(ledger, hidden, hidden._replace(part="tokens", cost=0.25), CALL)
    (sums,) = totals(ledger).values()
    assert (sums.unrecorded, sums.calls, sums.cost) == (1, 2, 0.75)


OLD_SUMS = {
    "calls": 2,
    "requests": 2,
    "failed": 0,
    "counted": 0,
    "unpriced": 0,
    "input": 120,
    "cached_input": 80,
    "cache_write": 0,
    "output": 30,
    "reasoning": 10,
    "cost": 1.0,
    "baseline": 4.0,
    "baselined": 2,
}


def test_rows_of_the_version_before_are_read_and_added_to(store):
    """They had three names, and every sum."""
    store.put("totals:default:mood", [["fake-nano", "serve", "compiled", OLD_SUMS]])
    ledger = Ledger(store)
    assert totals(ledger) == {("mood", Row("fake-nano", "serve", "compiled")): Sums(**OLD_SUMS)}
    add(ledger, CALL, CALL._replace(route="original", reason="kept", endpoint="/v1/chat/completions"))
    found = totals(ledger)
    assert found["mood", Row("fake-nano", "serve", "compiled")].calls == 3
    assert found["mood", Row("fake-nano", "serve", "original", "kept", "/v1/chat/completions")].calls == 1


def test_an_empty_tally_writes_nothing(store):
    Ledger(store).add(Tally())
    assert store.keys("") == []


def test_tenants_have_rows_of_their_own_and_one_sum_in_the_report(store):
    ledger = Ledger(store)
    add(ledger, CALL, CALL._replace(tenant="shop"))
    assert len(store.keys("totals:")) == 2
    assert [sums.calls for _, _, sums in ledger.rows()] == [1, 1]


def test_a_window_holds_its_hours_and_no_older_ones(store, monkeypatch):
    ledger = Ledger(store)
    noon = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    for hours, model in ((-30, "old"), (-2, "recent"), (0, "now")):
        at(monkeypatch, noon + timedelta(hours=hours))
        add(ledger, CALL._replace(model=model))
    at(monkeypatch, noon)
    assert {row.model for _, row, _ in ledger.rows(timedelta(hours=24))} == {"recent", "now"}
    assert {row.model for _, row, _ in ledger.rows(timedelta(0))} == {"now"}
    assert {row.model for _, row, _ in ledger.rows()} == {"old", "recent", "now"}


def test_the_incumbents_habits_are_learned_from_its_good_answers_alone(store):
    ledger = Ledger(store)
    own = CALL._replace(incumbent=True)
    assert ledger.incumbent("mood") == Incumbent()
    add(ledger, own, own, CALL, own._replace(failed=True), own._replace(task=UNDECLARED))
    add(ledger, own)
    assert ledger.incumbent("mood") == Incumbent(calls=3, input=300, cached_input=120, output=60, output_squares=1_200)
    assert ledger.incumbent(UNDECLARED) == Incumbent()


def test_what_the_store_refuses_is_added_nowhere(store):
    ledger = Ledger(store)
    add(ledger, CALL._replace(task="a"))
    with pytest.raises(StoreError), store.transact():
        add(ledger, CALL._replace(task="a", incumbent=True))
        raise StoreError("full")
    assert [sums.calls for _, _, sums in ledger.rows()] == [1]
    assert ledger.incumbent("a") == Incumbent()


def _book(folder: Path, together: Barrier, model: str) -> None:
    store = Store(folder)
    together.wait()
    for _ in range(30):
        add(Ledger(store), CALL._replace(model=model), CALL._replace(model="shared", incumbent=True))
    store.close()


def test_two_processes_adding_at_once_lose_nothing(store):
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [context.Process(target=_book, args=(store.folder, together, name)) for name in ("one", "two")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    calls = {row.model: sums.calls for _, row, sums in Ledger(store).rows()}
    assert calls == {"one": 30, "two": 30, "shared": 60}
    assert Ledger(store).incumbent("mood").calls == 60
    hourly: dict[str, int] = {}
    for _, row, sums in Ledger(store).rows(timedelta(hours=2)):
        hourly[row.model] = hourly.get(row.model, 0) + sums.calls
    assert hourly == calls
