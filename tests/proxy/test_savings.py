"""From the ledger's last days to what a task could save."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import compiler.ledger
import proxy.savings
from compiler.ledger import Charge, Ledger, Tally
from compiler.pricing import Usage
from compiler.registry import TaskView
from compiler.store import Store
from compiler.task import Contract, Task
from compiler.worth import Terms
from proxy.savings import Possible, possible_savings, terms_of
from proxy.settings import Settings

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
SETTINGS = {
    "upstreams": {"x": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
    "models": {"meta": "strong", "judge": "strong", "production": ["cheap"]},
    "prices": {"dear": {"input": 10, "output": 30}, "cheap": {"input": 0.1, "output": 0.4}}
    | {"strong": {"input": 1, "output": 4}},
}
USAGE = Usage(input=1_000, output=50, cached_input=400, reasoning=30)
MOOD = Charge("mood", "dear", "serve", "original", USAGE, 0.01, ends_request=True, reason="unproven")


@pytest.fixture
def terms() -> Terms:
    return terms_of(Settings.model_validate(SETTINGS))


@pytest.fixture
def book(store: Store, monkeypatch: pytest.MonkeyPatch):
    """`book(hours, charge, n)`: so many calls, so many hours ago; the clock is then at NOW again."""

    def book(hours: float, charge: Charge = MOOD, n: int = 1) -> None:
        _at(monkeypatch, NOW - timedelta(hours=hours))
        tally = Tally()
        for _ in range(n):
            tally.add(charge)
        Ledger(store).add(tally)
        _at(monkeypatch, NOW)

    _at(monkeypatch, NOW)
    return book


def _at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return moment

    monkeypatch.setattr(compiler.ledger, "datetime", Clock)
    monkeypatch.setattr(proxy.savings, "datetime", Clock)


def found(store: Store, terms: Terms, views: dict[str, TaskView] | None = None) -> dict[str, Possible]:
    return {one.task: one for one in possible_savings(Ledger(store), views or {}, terms)}


def test_a_task_is_what_its_answers_from_the_apps_own_model_were(store, book, terms):
    book(1, n=200)
    book(60, n=300)
    book(1, MOOD._replace(failed=True, usage=Usage(), ends_request=False), n=10)
    worth = found(store, terms)["mood"].worth
    assert (worth.incumbent, worth.candidate) == ("dear", "cheap")
    assert (worth.seen.input, worth.seen.cached_input, worth.seen.output) == (1_000, 400, 50)
    assert worth.seen.calls_per_day == pytest.approx(500 / (60.5 / 24))


def test_a_rate_is_reckoned_from_the_first_hour_in_whatever_order_they_come(store, book, terms, monkeypatch):
    book(60, n=300)
    book(1, n=200)
    backwards = list(Ledger(store).hours(timedelta(days=7)))[::-1]
    monkeypatch.setattr(Ledger, "hours", lambda *_: iter(backwards))
    assert found(store, terms)["mood"].worth.seen.calls_per_day == pytest.approx(500 / (60.5 / 24))


def test_an_hour_of_traffic_is_not_taken_for_a_rate(store, book, terms):
    book(0, n=100)
    assert found(store, terms)["mood"].worth.seen.calls_per_day == 100


def test_only_the_last_week_counts(store, book, terms):
    book(24 * 9, n=5_000)
    assert found(store, terms) == {}
    book(24, n=100)
    assert found(store, terms)["mood"].worth.seen.calls_per_day == pytest.approx(100 / (24.5 / 24))


@pytest.mark.parametrize(
    "charge",
    [
        MOOD._replace(task="-", reason="unrecognised"),
        MOOD._replace(task="-", reason="off"),
        MOOD._replace(reason="tools"),
        MOOD._replace(reason=""),  # booked before reasons were kept
        MOOD._replace(role="compile", route="-", reason=""),
        MOOD._replace(failed=True, ends_request=False),
    ],
)
def test_what_no_card_could_serve_promises_nothing(store, book, terms, charge):
    book(1, charge, n=50)
    assert found(store, terms) == {}


def test_what_cuecard_asks_itself_is_no_traffic(store, book, terms):
    book(1, n=10)
    book(1, MOOD._replace(role="shadow", route="compiled", reason=""), n=50)
    assert found(store, terms)["mood"].worth.seen.calls_per_day == 10


def test_the_model_that_most_calls_went_to_is_the_current_one(store, book, terms):
    book(1, n=60)
    book(1, MOOD._replace(model="strong", usage=Usage(9, 9)), n=40)
    worth = found(store, terms)["mood"].worth
    assert (worth.incumbent, worth.seen.input, worth.seen.calls_per_day) == ("dear", 1_000, 100)


def test_what_a_card_answers_already_is_a_saving_and_no_possibility(store, book, terms, view_of):
    task = Task("mood", "Tell the mood.")
    book(1)
    assert found(store, terms, {"mood": view_of(task, model="cheap")}) == {}
    stale = replace(view_of(task, model="cheap"), task=replace(task, description="Tell the weather."))
    assert found(store, terms, {"mood": stale}).keys() == {"mood"}


def test_a_tasks_kind_of_output_says_how_it_would_be_proved(store, book, terms, view_of):
    book(1)
    text = view_of(Task("mood", "Tell the mood.", contract=Contract("text")))
    assert found(store, terms, {"mood": text})["mood"].worth.pairs == (285, 1_430)
    assert found(store, terms)["mood"].worth.pairs == (257, 2_400)


def test_without_a_price_it_says_which_one_is_missing(store, book, terms):
    book(1, MOOD._replace(model="home-made", cost=None))
    one = found(store, terms)["mood"]
    assert (one.worth, one.why_not) == (None, "no price is known for home-made")
    assert one.to_json() == {"verdict": "unknown", "why_not": "no price is known for home-made"}


def test_the_greatest_saving_comes_first(store, book, terms):
    book(1, MOOD._replace(task="a", model="home-made"), n=10)
    book(1, MOOD._replace(task="b"), n=10)
    book(1, MOOD._replace(task="c"), n=1_000)
    assert list(found(store, terms)) == ["c", "b", "a"]


def test_the_terms_are_the_configurations():
    settings = Settings.model_validate({**SETTINGS, "control": 0.1, "compile": {"max_usd": 0.5}})
    terms = terms_of(settings)
    assert (terms.meta, terms.judge, terms.production, terms.max_usd) == ("strong", "strong", ("cheap",), 0.5)
    assert (terms.assumed.control, terms.assumed.servable) == (0.1, (0.5, 0.9))
    assert terms.unpriced("dear") == ()
