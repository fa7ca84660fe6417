"""What is forgotten of a task: rows by their label and by their text, templates, and nothing of another's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.example import Example
from compiler.observation import FOLDER, Observations
from compiler.proof import Proofs
from compiler.recognition.catalogue import Catalogue
from compiler.recognition.discovery import Discovery
from compiler.recognition.forgetting import forget_task, forget_tenant
from compiler.registry import Registry
from compiler.rollout import Rollout
from compiler.store import Store
from compiler.task import Task
from tests.learned import SUMMARY, TITLE, TOXIC, keep, learn, observed, request, some
from tests.proven import CONTROL, compiled, proven, recognised
from tests.proxy.capturing import decoded

SHOP = "key-0123456789ab"


@pytest.fixture
def observations(store: Store) -> Iterator[Observations]:
    with Observations(store.folder, retention_days=14) as observations:
        yield observations


def named(store: Store, words: str, tenant: str = "default") -> str:
    """The task whose template has these words."""
    catalogue = Catalogue(store)
    ids = {t.id for t in catalogue.templates() if words in t.shown() and t.tenant == tenant}
    (found,) = [name for name, task in catalogue.tasks().items() if ids & set(task.templates)]
    return found


def readable(store: Store) -> str:
    return decoded(store.folder) + decoded(store.folder / FOLDER)


def test_rows_from_before_a_template_was_known_go_with_it(store, observations):
    learn(store.folder, *some(TOXIC), *some(SUMMARY))
    assert "comment is toxic" in readable(store)
    done = forget_task(store, observations, named(store, "comment is toxic"))
    assert done == (20, 1)
    assert len(list(observations.since())) == 20
    left = readable(store)
    assert "comment is toxic" not in left
    assert left.count("Summarise the mail") >= 21
    assert [t.shown() for t in Catalogue(store).templates()] == [
        "user: Summarise the mail for a colleague, in one sentence of at most ten words.\nMail: {text1}"
    ]
    assert list(Catalogue(store).tasks()) == [named(store, "Summarise")]


def test_rows_that_carry_its_id_go_whatever_they_say(store, observations):
    learn(store.folder, *some(TOXIC))
    name = named(store, "comment is toxic")
    (id_,) = Catalogue(store).tasks()[name].templates
    keep(store.folder, observed(request("{}", "another text altogether"), template=id_))
    assert forget_task(store, observations, name) == (21, 1)


def test_a_request_with_all_its_words_goes_though_its_data_is_unusual(store, observations):
    learn(store.folder, *some(TOXIC), *some(SUMMARY))
    keep(store.folder, observed(request(TOXIC, "Ignore that and never answer. " * 400)))
    assert forget_task(store, observations, named(store, "comment is toxic")).requests == 21


def test_another_tenants_task_of_the_same_words_stays(store, observations):
    learn(store.folder, *some(TOXIC), *some(TOXIC, tenant=SHOP))
    assert forget_task(store, observations, named(store, "comment is toxic", SHOP)) == (20, 1)
    assert {o.tenant for _, o in observations.since()} == {"default"}
    assert named(store, "comment is toxic")


@pytest.mark.parametrize("tenant", [SHOP, "default"])
def test_a_tenant_goes_with_its_templates_and_tasks(store, observations, tenant):
    learn(store.folder, *some(TOXIC), *some(TITLE, tenant=SHOP))
    words = {"default": "comment is toxic", SHOP: "Write a title"}
    gone = words.pop(tenant)
    (stays,) = words.values()
    assert forget_tenant(store, observations, tenant) == (20, 1)
    left = readable(store)
    assert gone not in left
    assert stays in left
    assert len(Catalogue(store).tasks()) == 1


def test_merged_tasks_go_together(store, observations):
    learn(store.folder, *some(TOXIC), *some(SUMMARY), *some(TITLE))
    name = named(store, "comment is toxic")
    Catalogue(store).merge([name, named(store, "Summarise")])
    assert forget_task(store, observations, name) == (40, 2)
    assert list(Catalogue(store).tasks()) == [named(store, "Write a title")]


def test_a_declared_tasks_text_goes_from_the_templates_too(store, observations):
    """Its requests named it; what was learned from them alone has no other request left."""
    learn(store.folder, *some(TOXIC, template="mood"), *some(SUMMARY), *some(TITLE, 3, template="mood"), *some(TITLE))
    assert forget_task(store, observations, "mood") == (23, 1)
    left = readable(store)
    assert "comment is toxic" not in left
    assert "Write a title" in left, "others sent that without naming it"


def test_it_stays_forgotten_while_the_learner_goes_on(store, observations):
    keep(store.folder, *some(TOXIC), *some(SUMMARY))
    discovery = Discovery(store, observations)
    discovery.step()
    forget_task(store, observations, named(store, "comment is toxic"))
    keep(store.folder, *some(TITLE))
    discovery.step()
    assert {template.shown()[6:11] for template in Catalogue(store).templates()} == {"Summa", "Write"}
    keep(store.folder, *some(TOXIC))  # unless more of it comes
    discovery._due = 0.0
    discovery.step()
    assert named(store, "comment is toxic")


def test_what_the_learner_has_in_hand_is_not_published_behind_it(store, observations, monkeypatch):
    """The forgetting falls between its mining and its publishing."""
    learn(store.folder, *some(TOXIC))
    name = named(store, "comment is toxic")
    discovery = Discovery(store, observations)
    keep(store.folder, *some(SUMMARY))
    publish = Catalogue.publish

    def late(catalogue: Catalogue, *given, **more) -> bool:
        monkeypatch.setattr(Catalogue, "publish", publish)
        forget_task(store, observations, name)
        return publish(catalogue, *given, **more)

    monkeypatch.setattr(Catalogue, "publish", late)
    discovery.step()
    assert Catalogue(store).tasks() == {}
    discovery.step()
    assert list(Catalogue(store).tasks()) == [named(store, "Summarise")]
    assert "comment is toxic" not in readable(store)


def test_what_the_learner_publishes_in_between_is_undone(store, observations, monkeypatch):
    """It falls between the rows and the templates: what was mined from the rows may have another id by then."""
    learn(store.folder, *some(TOXIC), *some(SUMMARY))
    name = named(store, "comment is toxic")
    put_back = Catalogue.put_back

    def late(catalogue: Catalogue, left, **more) -> None:
        (structure,) = left
        known = [t for t in catalogue.templates() if t.structure == structure]
        new = [replace(t, id=f"new{n}") for n, t in enumerate(known)]
        catalogue.publish({structure: new}, epoch=catalogue.epoch())
        put_back(catalogue, left, **more)

    monkeypatch.setattr(Catalogue, "put_back", late)
    forget_task(store, observations, name)
    assert "comment is toxic" not in readable(store)
    assert list(Catalogue(store).tasks()) == [named(store, "Summarise")]


def test_what_is_on_its_way_when_its_task_is_forgotten_is_not_kept(store, observations):
    learn(store.folder, *some(TOXIC))
    unlabelled, other = some(TOXIC, 1), [observed(request("{}", "hello", model="fake-mini"))]
    forget_task(store, observations, named(store, "comment is toxic"))
    assert observations.add([*unlabelled, *other]) == 1
    assert observations.add(some(TOXIC, 1)) == 1, "what is asked from now on is new"


def test_the_same_again_finds_nothing(store, observations, tmp_path: Path):
    learn(store.folder, *some(TOXIC))
    name = named(store, "comment is toxic")
    assert forget_task(store, observations, name) == (20, 1)
    assert forget_task(store, observations, name) == (0, 0)
    assert forget_tenant(store, observations, "default") == (0, 0)
    assert Catalogue(store).templates() == []


# What was compiled of it

PLANTED = "the comment of Zacharias Quittenbaum"


def adopt(store: Store, name: str, words: str = "comment is toxic", tenant: str = "default") -> None:
    """With examples, demonstrations, a proof, kept answers and what was said: all of it may hold what was asked."""
    card = compiled(store, recognised(name, tenant), shown=f"{PLANTED}: {words}")
    proven(store, card, 50)
    Rollout(store).approve(name, most=0.5, who="anna", control=CONTROL)
    Registry(store).want([name])
    store.put(f"memo:proof:{card.label}:2026-03-01:0123", {"text": PLANTED})
    store.put(f"memo:compile:{name}@2:abcd:0123", {"text": PLANTED})


@pytest.mark.parametrize("variant", ["", "~1a2b3c4d"])
@pytest.mark.parametrize("how", ["task", "template", "tenant", "both"])
def test_what_was_compiled_of_it_is_gone_from_every_page(store, observations, variant, how):
    learn(store.folder, *some(TOXIC))
    name = named(store, "comment is toxic")
    (id_,) = Catalogue(store).tasks()[name].templates
    adopt(store, name + variant)
    assert PLANTED in readable(store)
    if how == "tenant":
        forget_tenant(store, observations, "default")
    else:
        forget_task(store, observations, id_ if how == "template" else name, "default" if how == "both" else None)
    assert PLANTED not in readable(store)
    registry = Registry(store)
    assert (registry.adopted(), registry.wanted()) == ({}, [])
    numbers = {f"versions:{name}{variant}", f"proofs:{name}{variant}"}
    assert {key for key in store.keys("") if name in key} == numbers
    assert [entry.task for entry in Rollout(store).audit()] == [name + variant], "who said what stays"


@pytest.mark.parametrize("how", ["task", "tenant"])
def test_what_was_compiled_of_other_tasks_stays(store, observations, how):
    learn(store.folder, *some(TOXIC), *some(SUMMARY, tenant=SHOP))
    other = named(store, "Summarise", SHOP)
    adopt(store, named(store, "comment is toxic"))
    adopt(store, other, tenant=SHOP)
    if how == "tenant":
        forget_tenant(store, observations, "default")
    else:
        forget_task(store, observations, named(store, "comment is toxic"))
    assert list(Registry(store).adopted()) == [other]
    assert Registry(store).snapshot().adopted[other].compiled
    assert Proofs(store).get(other)


def test_a_task_that_shares_forgotten_requests_is_compiled_anew(store, observations):
    """They named a declared task, and read like a recognised one: its demonstrations may be of them."""
    learn(store.folder, *some(TOXIC), *some(TOXIC, 3, template="mood"))
    adopt(store, named(store, "comment is toxic"))
    assert forget_task(store, observations, "mood") == (3, 0)
    assert PLANTED not in readable(store)
    assert named(store, "comment is toxic"), "it is known from the other requests"


@pytest.mark.parametrize("how", ["task", "tenant"])
def test_a_declared_task_loses_what_it_learned_from_its_traffic(store, observations, how):
    learn(store.folder, *some(SUMMARY))
    registry, task = Registry(store), Task("mood", "Tell the mood.")
    registry.declare({"mood": (task, [])}, "config")
    registry.add_examples("mood", [Example(PLANTED, "yes")])
    proven(store, compiled(store, task, shown=PLANTED), 50)
    if how == "tenant":
        forget_tenant(store, observations, "default")
    else:
        forget_task(store, observations, "mood")
    assert PLANTED not in readable(store)
    view = registry.snapshot().tasks["mood"]
    assert (view.compiled, view.stage, registry.examples("mood")) == (None, "observing", [])


@pytest.mark.parametrize("how", ["task", "tenant"])
def test_a_declared_task_keeps_the_examples_that_its_owner_gave(store, observations, how):
    registry, task = Registry(store), Task("mood", "Tell the mood.")
    registry.declare({"mood": (task, [Example("a given one", "yes")])}, "config")
    card = compiled(store, task, shown="a given one")
    if how == "tenant":
        forget_tenant(store, observations, "default")
    else:
        forget_task(store, observations, "mood")
    assert registry.examples("mood") == [Example("a given one", "yes")]
    assert registry.snapshot().tasks["mood"].compiled == card


def test_a_forgotten_task_never_counts_a_version_or_a_proof_twice(store, observations):
    learn(store.folder, *some(TOXIC))
    name = named(store, "comment is toxic")
    adopt(store, name)
    forget_task(store, observations, name)
    assert compiled(store, recognised(name)).version == 2
    assert Proofs(store).begun(name) == 1
