from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.errors import StoreError
from compiler.observation import Observation, Observations
from compiler.recognition import discovery as module
from compiler.recognition.catalogue import Catalogue
from compiler.recognition.discovery import Discovery
from compiler.recognition.structure import CHAT, structure_key
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import Task
from tests.compiler.recognition.traffic import Prose, filled, user

SUMMARY = "Summarise this mail of a customer in one short line for the support desk.\n\n{}"
MOOD = "Say in one word what this customer is angry about.\n\nMessage: {}\n\nOne word:"
LATER = 1e12  # than anything was forgotten


class Clock:
    """Stands in for `time`, so that what is due is a matter of counting."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def observations(tmp_path: Path) -> Iterator[Observations]:
    with Observations(tmp_path, retention_days=14) as observations:
        yield observations


@pytest.fixture
def discovery(store: Store, observations: Observations, clock: Clock) -> Discovery:
    return Discovery(store, observations)


def observed(request: dict, at: float, tenant: str = "shop") -> Observation:
    structure = structure_key(tenant, CHAT, request)
    return Observation(at, tenant, structure, "m", "", request, "ok", [], [1, 0, 1, 0], 0.1, 0.5)


def seen(observations: Observations, order: str, count: int = 20, *, tenant: str = "shop", seed: object = 1) -> None:
    observations.add([observed(request, LATER, tenant) for request in filled(order, Prose(seed).texts(count))])


def named(store: Store, order: str, tenant: str = "shop") -> str | None:
    request = user(order.replace("{}", Prose("new").text()))
    found = (
        Catalogue(store).recognition().name(structure_key(tenant, CHAT, request), [request["messages"][0]["content"]])
    )
    return found.variant if found and found.task else None


def test_what_was_observed_becomes_a_task(store, observations, discovery):
    seen(observations, SUMMARY)
    discovery.step()
    assert named(store, SUMMARY) == "summarise-mail-customer-one-short"


def test_a_name_that_is_declared_is_left_to_it(store, observations, discovery):
    name = "summarise-mail-customer-one-short"
    Registry(store).declare({name: (Task(name, "Summarise."), [])}, "config")
    seen(observations, SUMMARY)
    discovery.step()
    assert named(store, SUMMARY) == "summarise-mail-customer-one-short-2"


def test_without_observations_nothing_is_published(store, discovery):
    discovery.step()
    assert Catalogue(store).templates() == []


def test_it_reads_on_from_where_it_was(observations, discovery, monkeypatch):
    read = []
    since = Observations.since
    monkeypatch.setattr(Observations, "since", lambda self, position: read.append(position) or since(self, position))
    seen(observations, SUMMARY, 5)
    discovery.step()
    seen(observations, SUMMARY, 5, seed=2)
    discovery.step()
    discovery.step()
    assert read[0] == 0
    assert read[1] == read[2] - 5
    assert read[2] == observations.position()


def test_only_so_many_are_read_before_looking_at_the_clock(store, observations, discovery, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 8)
    taken = []
    take = Discovery._take
    monkeypatch.setattr(Discovery, "_take", lambda self, one: taken.append(one) or take(self, one))
    seen(observations, SUMMARY, 20)
    discovery.step()
    assert len(taken) == 8


def test_it_rests_after_mining_and_then_goes_on(store, observations, discovery, clock):
    seen(observations, SUMMARY)
    discovery.step()
    seen(observations, MOOD)
    discovery.step()
    assert named(store, MOOD) is None
    clock.now += module.PAUSE
    discovery.step()
    assert named(store, MOOD)


def test_after_a_restart_it_goes_on_under_the_same_names(store, observations, discovery, clock):
    seen(observations, SUMMARY)
    discovery.step()
    before = Catalogue(store).tasks()
    again = Discovery(store, observations)
    seen(observations, SUMMARY, seed=2)
    again.step()
    assert Catalogue(store).tasks() == before
    observations.forget(tenant="shop")
    last = Discovery(store, observations)
    seen(observations, MOOD)
    last.step()
    assert named(store, MOOD)
    assert Catalogue(store).tasks().items() >= before.items(), "templates outlive the requests they were learned from"


def test_it_starts_again_after_something_was_forgotten(store, observations, discovery, clock):
    seen(observations, SUMMARY)
    seen(observations, MOOD, tenant="bank")
    discovery.step()
    assert named(store, SUMMARY)
    observations.forget(tenant="shop")
    Catalogue(store).forget("shop")
    clock.now += module.PAUSE
    seen(observations, MOOD, seed=2)
    discovery.step()
    assert named(store, SUMMARY) is None
    assert named(store, MOOD)
    assert named(store, MOOD, "bank"), "nobody else's is forgotten"


def test_a_store_that_fails_in_the_middle_leaves_the_old_templates(store, observations, discovery, clock, monkeypatch):
    seen(observations, SUMMARY)
    discovery.step()
    before = Catalogue(store).templates(), Catalogue(store).tasks()
    seen(observations, MOOD)
    clock.now += module.PAUSE
    put = Store.put

    def fail(self: Store, key: str, value: object, **more: object) -> None:
        if key == "recognised":
            raise StoreError("full")
        put(self, key, value, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "put", fail)
        with pytest.raises(StoreError):
            discovery.step()
    assert (Catalogue(store).templates(), Catalogue(store).tasks()) == before
    Discovery(store, observations).step()
    assert named(store, SUMMARY)
    assert named(store, MOOD), "who begins again finds what was not published"


def test_a_structure_is_published_as_one_change(store, observations, discovery):
    seen(observations, SUMMARY)
    seen(observations, MOOD)
    before = Registry(store).generation()
    discovery.step()
    assert len(Catalogue(store).tasks()) == 2
    assert Registry(store).generation() == before + 1


def test_requests_that_are_not_all_text_are_passed_over(store, observations, discovery):
    image = {"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}
    observations.add([observed(image, LATER) for _ in range(5)])
    discovery.step()
    assert Catalogue(store).templates() == []
