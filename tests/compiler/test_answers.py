"""Which answer an id is of: found again for seven days by its own tenant, and nothing of it readable on the disk."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiler import answers
from compiler.answers import FOLDER, KEEP, Answered, Answers, Given, fingerprint, key_of
from compiler.score import same
from compiler.task import Contract

OURS, THEIRS = "cue-1", "chatcmpl-1"


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(tmp_path: Path, clock: Clock) -> Iterator[Answers]:
    with Answers(tmp_path, clock=clock) as found:
        yield found


def answered(task: str = "mood", **more: Any) -> Answered:
    fields: dict[str, Any] = {"version": 2, "route": "compiled", "arm": "card", "kind": "label"}
    return Answered(**{"time": time.time(), "task": task, **fields, **more})


def given(id_: str = OURS, other: str = THEIRS, text: str | None = "good", tenant: str = "shop", **more: Any) -> Given:
    return Given(tenant, id_, other, answered(**more), text)


@pytest.mark.parametrize("id_", [OURS, THEIRS])
def test_an_answer_is_found_by_its_id_and_by_the_one_in_its_body(kept, id_):
    one = given()
    kept.remember([one])
    found = kept.find("shop", id_)
    assert (found.answered, found.key) == (one.answered, key_of("shop", OURS))
    assert (found.is_right(id_, " good\n"), found.is_right(id_, "bad")) == (True, False)


def test_it_is_found_by_another_process_and_after_a_restart(kept, tmp_path):
    kept.remember([given()])
    with Answers(tmp_path) as other:
        assert other.find("shop", THEIRS)


def test_another_tenants_answer_is_as_unknown_as_none(kept):
    kept.remember([given()])
    assert kept.find("lab", THEIRS) is kept.find("lab", "chatcmpl-2") is None


def test_it_is_kept_for_seven_days(kept, clock):
    kept.remember([given(time=clock.now)])
    clock.now += KEEP - 1
    assert kept.find("shop", THEIRS)
    clock.now += 1
    assert kept.find("shop", THEIRS) is kept.find("shop", OURS) is None


def test_the_disk_forgets_it_then_too(kept, monkeypatch):
    monkeypatch.setattr(answers, "KEEP", 0.0)
    kept.remember([given()])
    kept.tidy()
    assert kept._store.keys("") == []


def test_an_id_that_the_upstream_gave_twice_names_neither(kept):
    """Some local servers draw theirs from a thousand."""
    kept.remember([given("cue-1"), given("cue-2")])
    kept.remember([given("cue-1")])
    assert kept.find("shop", THEIRS) is None
    assert kept.find("shop", "cue-1") and kept.find("shop", "cue-2")


def test_an_answer_that_comes_again_is_the_same(kept):
    kept.remember([given(), given()])
    kept.remember([given()])
    assert kept.find("shop", THEIRS).is_right(THEIRS, "good")


def test_an_answer_without_an_id_of_its_own_is_found_by_ours(kept):
    kept.remember([given(other="")])
    assert kept.find("shop", OURS)
    assert kept.find("shop", "") is None


def test_beyond_the_bound_the_oldest_go_and_are_counted(kept, monkeypatch):
    monkeypatch.setattr(answers, "AT_MOST", 10)
    monkeypatch.setattr(answers, "TRIM_EVERY", 5)
    gone = [kept.remember([given(f"cue-{n}", f"chatcmpl-{n}")]) for n in range(20)]
    assert sum(gone) == 10
    found = [n for n in range(20) if kept.find("shop", f"cue-{n}") and kept.find("shop", f"chatcmpl-{n}")]
    assert found == list(range(10, 20))


# What is on the disk


def test_neither_id_nor_tenant_nor_answer_is_on_the_disk(kept, tmp_path):
    kept.remember([given(text="abominable", tenant="klinik-nord")])
    kept.tidy()
    files = b"".join(path.read_bytes() for path in (tmp_path / FOLDER).iterdir())
    assert b"mood" in files
    assert not [word for word in (b"cue-1", b"chatcmpl-1", b"klinik", b"abominable") if word in files]


def test_a_label_is_not_told_by_its_hash():
    assert len({fingerprint(f"chatcmpl-{n}", "good", "label") for n in range(9)}) == 9


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ('{"a": 1, "b": [true, "x"]}', ' {"b":[true,"x"],"a":1.0}'),
        ('{"a": 1}', '{"a": true}'),
        ('{"a": 1}', '{"a": 1.5}'),
        ('{"a": 100000000000000000000}', '{"a": 1e20}'),
        ('{"a": 1e999}', '{"a": 1e999}'),
        ('{"a": "1"}', '{"a": 1}'),
        ('{"a": null}', "{}"),
        ('{"a": "\\u00e9"}', '{"a": "é"}'),
    ],
)
def test_json_is_held_against_json_as_everywhere_else(left, right):
    hashes = [fingerprint("1", text, "json") for text in (left, right)]
    assert (hashes[0] == hashes[1] != "") == same(left, right, Contract("json"))


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": NaN}', "good"])
def test_what_is_no_json_is_never_right(kept, text):
    kept.remember([given(text='{"a": 1}', kind="json")])
    assert kept.find("shop", OURS).is_right(OURS, text) is None


@pytest.mark.parametrize("kind", ["text", "code", "tool_call", ""])
def test_whether_free_text_is_right_only_a_judge_could_tell(kept, kind):
    kept.remember([given(kind=kind)])
    assert kept.find("shop", OURS).is_right(OURS, "good") is None


def test_an_answer_that_could_not_be_read_is_neither_right_nor_wrong(kept):
    kept.remember([given(text=None)])
    assert kept.find("shop", OURS).is_right(OURS, "good") is None


# Forgetting


def some() -> list[Given]:
    return [
        given("cue-1", "chatcmpl-1"),
        given("cue-2", "chatcmpl-2", task="mood~1a2b"),
        given("cue-3", "chatcmpl-3", task="other"),
        given("cue-4", "chatcmpl-4", tenant="lab"),
    ]


@pytest.mark.parametrize(
    ("scope", "stay"),
    [
        ({"tenant": "shop"}, [4]),
        ({"task": "mood"}, [3]),
        ({"task": "mood", "tenant": "lab"}, [1, 2, 3]),
    ],
)
def test_a_tenants_or_a_tasks_are_forgotten_also_those_on_their_way(kept, clock, scope, stay):
    def left() -> list[int]:
        ids = ((n, prefix) for n in range(1, 5) for prefix in ("cue", "chatcmpl"))
        tenant = {4: "lab"}
        return sorted({n for n, prefix in ids if kept.find(tenant.get(n, "shop"), f"{prefix}-{n}")})

    kept.remember(some())
    clock.now = time.time() + 1
    kept.forget(**scope)
    assert left() == stay
    assert len(kept._store.keys("")) == 2 * len(stay) + 1
    kept.remember(some())
    assert left() == stay
    kept.remember([one._replace(answered=one.answered._replace(time=clock.now + 1)) for one in some()])
    assert left() == [1, 2, 3, 4]
