"""What proofs may cost in a day: a share of what all tasks are expected to save, spent first where it saves soon."""

from dataclasses import replace

import pytest

from compiler.ledger import Charge, Ledger, Tally
from compiler.pricing import Usage
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import Contract
from proxy.proving import Estimates
from proxy.settings import Settings
from tests.proven import compiled, recognised

SHARE = 0.15
SETTINGS = {
    "upstreams": {"x": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
    "models": {"meta": "strong", "judge": "strong", "production": ["cheap"]},
    "prices": {"dear": {"input": 10, "output": 30}, "cheap": {"input": 0.1, "output": 0.4}}
    | {"strong": {"input": 1, "output": 4}},
    "background": {"usd_per_day": 1_000, "max_share_of_saving": SHARE},
}
CALLS = {"labels": 5_000, "texts": 4_000, "few": 3_000, "rare": 3}
KINDS = {"labels": Contract("label", ("no", "yes")), "texts": Contract("text"), "few": Contract("label", ("no", "yes"))}


@pytest.fixture
def store(store: Store) -> Store:
    """A day's traffic of four tasks, three of which have cards that wait for their proof; the texts are long."""
    tally = Tally()
    for name, calls in CALLS.items():
        usage = Usage(input=1_000, output=400 if name == "texts" else 5)
        for _ in range(calls):
            tally.add(Charge(name, "dear", "serve", "original", usage, 0.01, ends_request=True, reason="unproven"))
    Ledger(store).add(tally)
    for name, contract in KINDS.items():
        card = compiled(store, recognised(name))
        Registry(store).publish(replace(card, contract=contract), stage="shadowing", traffic=0.0)
    return store


def estimates(store: Store, **background: float) -> Estimates:
    return Estimates(
        Settings.model_validate({**SETTINGS, "background": {**SETTINGS["background"], **background}}), store
    )


def serves(store: Store, name: str, traffic: float = 0.3) -> None:
    registry = Registry(store)
    registry.set_state(name, replace(registry.state(name), stage="ramping", traffic=traffic))


def all_may_cost(found: Estimates) -> list[str]:
    """Those that may use what the others leave."""
    return [name for name in KINDS if found.usd_per_day(name) == found.usd_of_all(name)]


def test_all_proofs_together_may_cost_a_share_of_what_all_tasks_worth_it_save(store: Store):
    found = estimates(store)
    ahead = all_may_cost(found)
    others = sum(found.usd_per_day(name) for name in KINDS if name not in ahead)
    assert 0 < others < found.usd_of_all("labels") == found.usd_of_all("texts")
    assert found.usd_of_all("labels") == pytest.approx(
        2 * estimates(store, max_share_of_saving=SHARE / 2).usd_of_all("few")
    )
    assert found.worth("rare"), "what is not worth it adds nothing"


def test_what_saves_most_for_a_dollar_of_proof_may_use_what_the_others_leave(store: Store):
    assert all_may_cost(estimates(store)) == ["labels"], "each pair of texts is judged"
    serves(store, "labels")
    assert all_may_cost(estimates(store)) == ["labels", "few"], "what serves goes on, and the next one begins"
    serves(store, "few")
    assert all_may_cost(estimates(store)) == ["labels", "texts", "few"]


def test_what_serves_half_of_its_calls_goes_on_with_its_own_share(store: Store):
    serves(store, "labels", traffic=0.6)
    assert all_may_cost(estimates(store)) == ["few"], "the rest would take several times the pairs"


def test_what_is_kept_leaves_its_place_to_the_next(store: Store):
    registry = Registry(store)
    registry.set_state("labels", replace(registry.state("labels"), stage="kept"))
    assert all_may_cost(estimates(store)) == ["few"]


def test_nothing_may_cost_more_than_the_background(store: Store):
    found = estimates(store, usd_per_day=0.5)
    assert found.usd_of_all("labels") == found.usd_per_day("labels") == 0.5
    assert found.usd_per_day("texts") <= 0.5
    assert found.usd_per_day("a task that nobody called") == 0.5


def test_a_card_that_is_not_worth_it_any_more_is_still_paid_for_out_of_what_it_saves(store: Store):
    """A task that a person declared, for instance."""
    alone = estimates(store)
    before = alone.usd_of_all("rare")
    Registry(store).publish(compiled(store, recognised("rare")), stage="shadowing", traffic=0.0)
    assert estimates(store).usd_of_all("rare") == pytest.approx(before + estimates(store).usd_per_day("rare"))
