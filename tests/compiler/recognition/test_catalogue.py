from collections.abc import Iterator

import pytest

from compiler.errors import StoreError, UnknownTask
from compiler.generation import generation
from compiler.recognition import catalogue as module
from compiler.recognition.catalogue import NOTHING, Catalogue, Recognition
from compiler.recognition.template import Pattern, Slot, Template
from compiler.store import Store

ANY = Slot("text", 1_000)


@pytest.fixture(scope="module")
def shared() -> Iterator[Store]:
    with Store.temporary() as store:
        yield store


@pytest.fixture
def store(shared: Store) -> Store:
    for key in shared.keys(""):
        shared.delete(key)
    return shared


@pytest.fixture
def catalogue(store: Store) -> Catalogue:
    return Catalogue(store)


def of(id_: str, order: str, *, structure: str = "s", tenant: str = "shop", **more) -> Template:
    return Template(id_, tenant, structure, ("user",), (Pattern((f"{order}: ", ""), (ANY,)),), **more)


LIST, RATE = of("t1", "List the names"), of("t2", "Rate the mood")
TONES = Template(
    "t3",
    "shop",
    "s",
    ("user",),
    (Pattern(("Rewrite the text to be ", ": ", ""), (Slot("enumerated", 9, values=frozenset({"warm", "cool"})), ANY)),),
)


def named(catalogue: Catalogue, text: str, structure: str = "s") -> str | None:
    found = catalogue.recognition().name(structure, [text])
    return found.variant if found and found.task else None


def test_what_is_published_has_a_name_and_is_recognised(catalogue):
    catalogue.publish({"s": [LIST, RATE]})
    assert set(catalogue.tasks()) == {"list-names", "rate-mood"}
    assert named(catalogue, "List the names: Ann") == "list-names"
    assert named(catalogue, "Rate the mood: fine") == "rate-mood"
    assert named(catalogue, "Rate the mood. fine") is None
    assert named(catalogue, "List the names: Ann", "other") is None
    assert {t.id: t for t in catalogue.templates()} == {"t1": LIST, "t2": RATE}
    assert all(task.since > 0 and not task.ignored and not task.merged for task in catalogue.tasks().values())


def test_names_are_neither_anothers_nor_reserved(catalogue):
    catalogue.publish({"s": [LIST]}, reserved=["list-names"])
    catalogue.publish({"u": [of("t4", "List the names", structure="u")]}, reserved=["list-names"])
    assert set(catalogue.tasks()) == {"list-names-2", "list-names-3"}


def test_a_name_stays_when_it_is_published_again(catalogue):
    catalogue.publish({"s": [LIST]})
    since = catalogue.tasks()["list-names"].since
    catalogue.rename("list-names", "names")
    catalogue.publish({"s": [of("t1", "List the towns"), RATE]})
    assert set(catalogue.tasks()) == {"names", "rate-mood"}
    assert catalogue.tasks()["names"].since == since
    assert named(catalogue, "List the towns: Rome") == "names"


def test_a_task_whose_templates_are_all_gone_goes_with_them(catalogue):
    catalogue.publish({"s": [LIST, RATE]})
    catalogue.publish({"s": [RATE]})
    assert set(catalogue.tasks()) == {"rate-mood"}
    catalogue.publish({"u": [of("t5", "Say so", structure="u")]})
    assert set(catalogue.tasks()) == {"rate-mood", "say-so"}, "other structures keep theirs"


def test_free_chat_is_known_and_of_no_task(catalogue):
    catalogue.publish({"s": [of("free", "Hello there", catch_all=True)]})
    assert catalogue.tasks() == {}
    found = catalogue.recognition().name("s", ["Hello there: Ann"])
    assert (found.task, found.variant, found.template.catch_all) == (None, "", True)


def test_each_enumerated_value_is_a_task_of_its_own_until_they_are_merged(catalogue):
    catalogue.publish({"s": [TONES]})
    warm, cool = (named(catalogue, f"Rewrite the text to be {tone}: so") for tone in ("warm", "cool"))
    assert warm != cool
    assert {name.partition("~")[0] for name in (warm, cool)} == set(catalogue.tasks())
    (name,) = catalogue.tasks()
    catalogue.merge([name])
    assert {named(catalogue, f"Rewrite the text to be {tone}: so") for tone in ("warm", "cool")} == {name}
    assert named(catalogue, "Rewrite the text to be rude: so") is None


def test_merged_tasks_are_one_under_the_first_name(catalogue):
    catalogue.publish({"s": [LIST, RATE]})
    merged = catalogue.merge(["rate-mood", "list-names", "list-names"])
    assert catalogue.tasks() == {"rate-mood": merged}
    assert merged.templates == ("t2", "t1")
    assert named(catalogue, "List the names: Ann") == named(catalogue, "Rate the mood: fine") == "rate-mood"
    catalogue.publish({"s": [LIST]})
    assert catalogue.tasks()["rate-mood"].templates == ("t1",)


def test_an_ignored_task_is_recognised_and_says_so(catalogue):
    catalogue.publish({"s": [LIST]})
    catalogue.ignore(["list-names"])
    assert catalogue.recognition().name("s", ["List the names: Ann"]).task.ignored
    catalogue.ignore(["list-names"], False)
    assert not catalogue.tasks()["list-names"].ignored


def test_a_renamed_task_keeps_everything_else(catalogue):
    catalogue.publish({"s": [LIST, RATE]})
    catalogue.ignore(["list-names"])
    catalogue.rename("list-names", "names")
    assert list(catalogue.tasks()) == ["names", "rate-mood"]
    assert catalogue.tasks()["names"].ignored
    assert named(catalogue, "List the names: Ann") == "names"


@pytest.mark.parametrize("taken", ["rate-mood", "declared", "list-names"])
def test_a_name_that_is_taken_is_refused(catalogue, taken):
    catalogue.publish({"s": [LIST, RATE]})
    before = catalogue.tasks()
    with pytest.raises(ValueError, match=taken):
        catalogue.rename("list-names", taken, reserved=["declared"])
    assert catalogue.tasks() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.rename("no-such", "other"),
        lambda c: c.ignore(["no-such"]),
        lambda c: c.merge(["list-names", "no-such"]),
        lambda c: c.merge(["no-such", "list-names"]),
    ],
)
def test_what_was_never_recognised_is_unknown_and_nothing_changes(store, catalogue, change):
    catalogue.publish({"s": [LIST]})
    before, number = catalogue.tasks(), generation(store)
    with pytest.raises(UnknownTask, match="no-such"):
        change(catalogue)
    assert (catalogue.tasks(), generation(store)) == (before, number)


def test_a_tenants_templates_are_forgotten_and_nobody_elses(catalogue):
    other = of("t9", "List the names", structure="u", tenant="bank")
    catalogue.publish({"s": [LIST, RATE]})
    catalogue.publish({"u": [other]})
    assert catalogue.forget("shop") == 2
    assert catalogue.templates() == [other]
    assert [task.templates for task in catalogue.tasks().values()] == [("t9",)]
    assert catalogue.forget("shop") == 0


def test_a_picture_is_the_same_object_while_nothing_changed(catalogue):
    assert catalogue.recognition() is NOTHING
    catalogue.publish({"s": [LIST]})
    first = catalogue.recognition()
    assert catalogue.recognition(first) is first
    for change in (
        lambda: catalogue.publish({"s": [LIST, RATE]}),
        lambda: catalogue.rename("rate-mood", "mood"),
        lambda: catalogue.ignore(["mood"]),
        lambda: catalogue.merge(["mood", "list-names"]),
        lambda: catalogue.forget("shop"),
    ):
        known = catalogue.recognition(first)
        change()
        assert catalogue.recognition(known) is not known
    assert catalogue.forget("nobody") == 0


def test_every_change_tells_those_who_read(store, catalogue):
    numbers = [generation(store)]
    catalogue.publish({"s": [LIST]})
    numbers.append(generation(store))
    catalogue.ignore(["list-names"])
    numbers.append(generation(store))
    assert numbers == sorted(set(numbers))


def test_a_change_that_fails_in_the_middle_is_none(store, catalogue, monkeypatch):
    catalogue.publish({"s": [LIST]})
    before = catalogue.templates(), catalogue.tasks(), generation(store)

    def fail(_: Store) -> None:
        raise StoreError("full")

    monkeypatch.setattr(module, "bump", fail)
    for change in (
        lambda: catalogue.publish({"s": [RATE]}),
        lambda: catalogue.publish({"new": [of("t7", "Say so", structure="new")]}),
        lambda: catalogue.rename("list-names", "names"),
        lambda: catalogue.ignore(["list-names"]),
        lambda: catalogue.merge(["list-names"]),
        lambda: catalogue.forget("shop"),
    ):
        with pytest.raises(StoreError):
            change()
        assert (catalogue.templates(), catalogue.tasks(), generation(store)) == before


def test_nothing_is_recognised_by_nothing():
    assert Recognition().name("s", ["List the names: Ann"]) is None


def test_only_the_index_of_what_changed_is_built_anew(catalogue):
    other = of("t4", "Say so", structure="u")
    catalogue.publish({"s": [LIST], "u": [other]})
    first = catalogue.recognition()
    catalogue.publish({"s": [LIST, RATE]})
    second = catalogue.recognition(first)
    assert second.recogniser.match("u", ["Say so: x"]).template is first.recogniser.match("u", ["Say so: x"]).template
    assert second.recogniser.match("s", ["Rate the mood: x"])
    assert first.recogniser.match("s", ["Rate the mood: x"]) is None, "who holds the picture before goes on with it"
    catalogue.publish({"u": []})
    third = catalogue.recognition(second)
    assert third.recogniser.match("u", ["Say so: x"]) is None
    assert third.recogniser.match("s", ["Rate the mood: x"])
