"""What is kept of a call that is over: never that it was free when nobody knows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compiler.frame import Frame
from compiler.pricing import PriceBook, Usage
from compiler.task import Task
from proxy.decide import Decision
from proxy.entry import Entry
from proxy.exchange import Exchange
from proxy.meter import Ended, Meter
from proxy.metrics import Metrics
from proxy.uncounted import Waiting

PRICES = {"gpt-big": {"input": 1.0, "output": 2.0}}


class Counter:
    """Counts at once: what it was told to."""

    def __init__(self) -> None:
        self.counts = Usage(counted=True)

    def count(self, waiting: Waiting, then: Callable[[Usage], None]) -> None:
        then(self.counts)


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def kept() -> list[Entry]:
    return []


@pytest.fixture
def meter(counter: Counter, kept: list[Entry]) -> Meter:
    return Meter(Metrics(), PriceBook(PRICES), counter, kept.append)  # type: ignore[arg-type]


@pytest.fixture
def finish(meter: Meter, call_of, exchange_of) -> Callable[..., None]:
    def finish(decision: Decision, *, usage: Usage | None = None, **more: Any) -> None:
        exchange: Exchange = exchange_of()
        exchange.leaves()
        exchange.usage = usage
        for name, value in more.pop("exchange", {}).items():
            setattr(exchange, name, value)
        meter.finish(call_of(**more), decision, exchange, answered=True, ended=Ended(200, 0.0))

    return finish


def test_a_call_with_usage_is_whole(finish, kept):
    finish(Decision(reason="tools"), usage=Usage(input=100, output=10))
    (entry,) = kept
    assert (entry.part, entry.reason, entry.input, entry.booked) == ("whole", "tools", 100, True)
    assert entry.cost == pytest.approx(120e-6)


def test_a_call_without_usage_is_kept_at_once_and_its_tokens_with_the_same_reason(finish, kept, counter):
    counter.counts = Usage(input=100, output=10, counted=True)
    finish(Decision(reason="multi_turn"), unrecorded="bypass")
    call, tokens = kept
    assert [(e.part, e.reason, e.path, e.unrecorded) for e in kept] == [
        ("call", "multi_turn", "/v1/chat/completions", "bypass"),
        ("tokens", "multi_turn", "/v1/chat/completions", "bypass"),
    ]
    assert (call.cost, tokens.cost) == (0.0, pytest.approx(120e-6))
    assert (call.charge.unrecorded, call.charge.endpoint) == (True, "/v1/chat/completions")


def test_tokens_that_could_not_be_counted_are_unpriced_and_not_free(finish, kept):
    finish(Decision(reason="multi_turn"))
    assert [(entry.part, entry.cost) for entry in kept] == [("call", 0.0), ("tokens", None)]


def test_with_a_card_in_hand_an_original_lacked_a_key(finish, kept, view_of):
    view = view_of(Task("mood", "Tell the mood."), model="fake-nano")
    finish(Decision(view, view.card), usage=Usage(input=1))
    (entry,) = kept
    assert (entry.reason, entry.route, entry.task) == ("no_upstream_key", "original", "mood")


def test_what_the_upstream_refused_is_a_call_that_cost_nothing(finish, kept):
    finish(Decision(reason="unrecognised"), exchange={"status": 500})
    (entry,) = kept
    assert (entry.part, entry.booked, entry.cost) == ("whole", True, 0.0)
    assert entry.charge.failed


@pytest.mark.parametrize(("frame", "inputs"), [(None, 100 - 20), (Frame.of(("Mood of: ", "")), 100 - 20 + 9)])
def test_the_baseline_has_the_apps_own_words_that_a_card_stands_for(
    meter, call_of, exchange_of, view_of, frame, inputs
):
    """Where only the data is sent, they are no part of what was sent."""
    view = view_of(Task("mood", "user: Mood of: {text1}", incumbent="gpt-big", recognised=True), model="fake-nano")
    card = replace(view.card, program=replace(view.card.program, frame=frame), static_tokens=20, original_tokens=9)
    exchange = exchange_of()
    exchange.attempt = exchange.attempt._replace(incumbent=False)
    _, baseline = meter.price(call_of(), Decision(view, card), exchange, Usage(input=100, output=10))
    assert baseline == pytest.approx((inputs * 1.0 + 10 * 2.0) / 1e6)
