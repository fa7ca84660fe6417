"""What was saved, how sure that is, and how much worse a task's card is at most."""

import math
import random

import pytest

from compiler.ledger import Charge, Ledger, Tally
from compiler.pricing import PriceBook, Usage
from compiler.store import Store
from compiler.worth import Assumed, Terms
from proxy.report import Report, TaskReport, build_report
from proxy.reporting import task_lines
from tests.proven import compiled, proven, recognised

PRICES = PriceBook({"strong": {"input": 2, "output": 1_000}, "nano": {"input": 0.1, "output": 0.4}})
TERMS = Terms(PRICES, ("nano",), "strong", None, 2.0, Assumed())


def original(output: int) -> Charge:
    usage = Usage(input=100, output=output)
    cost = PRICES.rates("strong").cost(usage)
    return Charge("mood", "strong", "serve", "original", usage, cost, cost, ends_request=True, incumbent=True)


def served(baseline: float) -> Charge:
    return Charge("mood", "nano", "serve", "compiled", Usage(input=300, output=5), 0.001, baseline, ends_request=True)


def report(store: Store, *charges: Charge, terms: Terms = TERMS) -> Report:
    tally = Tally()
    for charge in charges:
        tally.add(charge)
    Ledger(store).add(tally)
    return build_report(store, terms=terms)


def test_where_the_apps_model_always_answers_at_length_ten_the_saving_is_certain(store: Store):
    task = report(store, *[original(10)] * 5, *[served(0.02)] * 3).tasks["mood"]
    assert task.net_saving == pytest.approx(3 * 0.019)
    assert task.saving_range(PRICES) == pytest.approx((task.net_saving, task.net_saving))


def test_the_range_holds_what_the_calls_would_have_cost_in_nineteen_of_twenty_cases():
    """Both what was seen of the model and what it would have answered are draws."""
    draw, inside = random.Random(5), 0
    for _ in range(200):
        tally = Tally()
        for _ in range(40):
            tally.add(original(round(draw.expovariate(1 / 50))))
        seen = tally.incumbents["mood"]
        for _ in range(60):
            tally.add(served(1e-3 * seen.output / seen.calls))
        low, high = TaskReport(tally.rows["default", "mood"], seen).saving_range(PRICES)
        inside += low <= sum(1e-3 * draw.expovariate(1 / 50) - 0.001 for _ in range(60)) <= high
    assert 180 <= inside <= 198


def test_without_a_price_or_an_answer_of_the_apps_model_nobody_can_say_how_sure_it_is(store: Store):
    unpriced = PriceBook({"nano": {"input": 0.1, "output": 0.4}})
    task = report(store, served(0.02), original(10), original(20)).tasks["mood"]
    assert task.saving_range(unpriced) == (-math.inf, math.inf)
    assert task.saving_range(PRICES) != (-math.inf, math.inf)


def test_what_proving_a_variant_costs_is_counted_with_its_task(store: Store):
    proving = Charge("mood~1a2b", "nano", "shadow", "", Usage(input=300, output=5), 0.5)
    found = report(store, served(2.0), proving)
    assert list(found.tasks) == ["mood"]
    assert found.tasks["mood"].net_saving == pytest.approx(2.0 - 0.001 - 0.5)


def test_a_task_says_how_much_worse_its_card_is_at_most_and_how_much_it_may_serve(store: Store):
    proven(store, compiled(store, recognised("mood")), 300)
    found = report(store, original(10), original(10), served(0.02))
    stand, saving = task_lines(found.tasks["mood"], PRICES)
    assert stand == "live, 98 % of the calls on fake-nano; at most 1.8 % worse (95 % sure)"
    assert saving == "net saving +$0.019 (estimated)"
    (card,) = found.to_json()["tasks"]["mood"]["cards"]
    assert (card["stage"], card["traffic"], card["pairs"]) == ("live", 0.98, 300)
