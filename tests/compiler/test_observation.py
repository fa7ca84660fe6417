import dataclasses
import json
import shutil
import sqlite3
import stat
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import compiler.observation
from compiler.errors import StoreError
from compiler.observation import FOLDER, Observation, Observations, Row, Shelf, kept
from tests.learned import TITLE, TOXIC, some

NEVER = 0.0  # older than any row


def observation(text: str = "so happy", **more: Any) -> Observation:
    fields: dict[str, Any] = {
        "time": time.time(),
        "tenant": "default",
        "structure": "s1",
        "model": "gpt-big-2025-01-01",
        "template": "mood",
        "request": {"model": "gpt-big", "messages": [{"role": "user", "content": text}]},
        "answer": "good",
        "tool_calls": [],
        "usage": [10, 5, 3, 0],
        "cost": 0.25,
        "seconds": 1.5,
    }
    return Observation(**{**fields, **more})


def texts(observations: Observations, since: int = 0) -> list[str]:
    return [o.request["messages"][0]["content"] for _, o in observations.since(since)]


def opened(folder: Path, days: float = 14) -> Observations:
    return Observations(folder, retention_days=days)


def content(folder: Path) -> bytes:
    """All that the files hold, the log beside the database included."""
    return b"".join(path.read_bytes() for path in (folder / FOLDER).iterdir())


@pytest.fixture
def observations(tmp_path: Path) -> Iterator[Observations]:
    with opened(tmp_path) as observations:
        yield observations


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"answer": "größe \u2028 🎉", "cost": None},
        {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"id": "t:1", "plain": True, "expected": "bad"},
    ],
)
def test_an_observation_comes_back_as_it_was_also_by_way_of_json(observations, more):
    seen = observation(**more)
    observations.add([seen])
    ((position, found),) = observations.since()
    assert found == seen == observations.get(position)
    assert Observation.from_json(json.loads(json.dumps(seen.to_json()))) == seen


def test_what_is_new_is_read_in_order_from_where_one_was(observations, monkeypatch):
    monkeypatch.setattr(compiler.observation, "PAGE", 3)
    observations.add([observation(f"{n}") for n in range(5)])
    read = list(observations.since())
    assert [o.request["messages"][0]["content"] for _, o in read] == ["0", "1", "2", "3", "4"]
    positions = [position for position, _ in read]
    assert positions == sorted(set(positions))
    assert texts(observations, positions[2]) == ["3", "4"]
    assert texts(observations, observations.position()) == []
    observations.add([observation("5")])
    assert texts(observations, positions[-1]) == ["5"]


def test_what_comes_while_one_reads_is_read_too(observations, monkeypatch):
    monkeypatch.setattr(compiler.observation, "PAGE", 1)
    observations.add([observation("0")])
    reading = observations.since()
    next(reading)
    observations.add([observation("1")])
    assert next(reading)[1] == observations.get(observations.position())


def test_an_unknown_position_has_nothing(observations):
    observations.add([observation()])
    assert observations.get(observations.position() + 1) is None
    assert observations.get(1) is None


def test_two_writers_never_use_a_position_twice(observations, tmp_path):
    with opened(tmp_path) as other:
        for n in range(3):
            observations.add([observation(f"mine {n}")])
            other.add([observation(f"other {n}")])
        assert len(dict(observations.since())) == 6


def test_a_store_begun_anew_goes_on_behind_the_one_before(tmp_path):
    with opened(tmp_path) as first:
        first.add([observation()])
        position = first.position()
    shutil.rmtree(tmp_path / FOLDER)
    with opened(tmp_path) as second:
        second.add([observation("new")])
        assert texts(second, position) == ["new"]


def test_only_its_owner_may_read_it(observations, tmp_path):
    observations.add([observation()])
    assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / FOLDER).iterdir()}
    assert len(modes) >= 2
    assert set(modes.values()) == {0o600}


def test_it_is_found_by_its_answer_and_told_what_was_expected_of_it(observations):
    observations.add([observation("0", id="t:0"), observation("1", id="t:1"), observation("2")])
    position, found = observations.of_answer("t:1")
    assert found == observations.get(position) and found.request["messages"][0]["content"] == "1"
    assert observations.of_answer("t:") is observations.of_answer("t:2") is None
    assert observations.expect(position, "bad") == dataclasses.replace(found, expected="bad")
    assert observations.of_answer("t:1") == (position, dataclasses.replace(found, expected="bad"))
    observations.expect(position, None)
    assert observations.get(position) == found
    assert texts(observations) == ["0", "1", "2"]


def test_it_is_kept_no_longer_for_what_is_said_of_it(observations, tmp_path):
    old = observation("old", id="t:1", time=time.time() - 20 * 86_400)
    observations.add([old])
    position, _ = observations.of_answer("t:1")
    observations.expect(position, "bad")
    assert observations.get(position) is observations.of_answer("t:1") is observations.expect(position, "x") is None


def test_what_was_recorded_by_a_version_that_knew_of_no_feedback_can_still_be_read():
    data = observation().to_json()
    for name in ("id", "plain", "expected"):
        del data[name]
    assert Observation.from_json(data) == observation(time=data["time"])


# What may be kept


def rows(*shelves: tuple[str, str, int], size: int = 1, when: float = 1.0) -> list[Row]:
    """So many rows of each (tenant, template), in turn, oldest first."""
    left = [[tenant, template, number] for tenant, template, number in shelves]
    found: list[Row] = []
    while any(number for *_, number in left):
        for entry in left:
            if entry[2]:
                entry[2] -= 1
                found.append(Row(f"o:{len(found):015d}:", Shelf(entry[0], "s", entry[1]), when, size))
    return found


def census(found: list[Row], stay: set[str]) -> dict[str, int]:
    return dict(Counter(f"{r.shelf.tenant}/{r.shelf.template}" for r in found if r.key in stay))


def test_where_there_is_room_all_stay():
    found = rows(("a", "x", 30), ("b", "y", 20))
    assert kept(found, oldest=NEVER) == {row.key for row in found}


def test_of_one_shelf_the_newest_stay(monkeypatch):
    monkeypatch.setattr(compiler.observation, "AT_MOST_A_SHELF", 3)
    found = rows(("a", "x", 10), ("a", "y", 2))
    stay = kept(found, oldest=NEVER)
    assert census(found, stay) == {"a/x": 3, "a/y": 2}
    assert {row.key for row in found if row.shelf.template == "x"} & stay == {row.key for row in found[-3:]}


def test_a_tenants_abundance_costs_no_other_tenant_anything(monkeypatch):
    monkeypatch.setattr(compiler.observation, "AT_MOST", 50)
    found = [*rows(("small", "x", 20)), *rows(*((("busy", f"t{n}", 40)) for n in range(10)))]
    stay = kept([row._replace(key=f"o:{n:015d}:") for n, row in enumerate(found)], oldest=NEVER)
    assert len(stay) == 50
    assert {f"o:{n:015d}:" for n in range(20)} <= stay  # though they are the oldest


def test_a_busy_task_costs_no_rare_one_anything(monkeypatch):
    monkeypatch.setattr(compiler.observation, "AT_MOST", 50)
    found = [*rows(("a", "rare", 5)), *rows(("a", "busy", 500))]
    found = [row._replace(key=f"o:{n:015d}:") for n, row in enumerate(found)]
    assert census(found, kept(found, oldest=NEVER)) == {"a/rare": 5, "a/busy": 45}


def test_many_shelves_of_one_each_are_kept_by_age(monkeypatch):
    monkeypatch.setattr(compiler.observation, "AT_MOST", 10)
    found = rows(*(("a", f"t{n}", 1) for n in range(30)))
    assert kept(found, oldest=NEVER) == {row.key for row in found[-10:]}


def test_long_ones_take_the_room_of_many(monkeypatch):
    monkeypatch.setattr(compiler.observation, "AT_MOST_BYTES", 1_000)
    found = rows(("a", "x", 30), size=100)
    assert kept(found, oldest=NEVER) == {row.key for row in found[-10:]}


def test_what_is_too_old_goes():
    found = rows(("a", "x", 3), when=10.0)
    assert kept(found, oldest=9.0) == {row.key for row in found}
    assert kept(found, oldest=10.0) == set()


def test_the_bounds_are_kept_while_one_adds(observations, monkeypatch):
    monkeypatch.setattr(compiler.observation, "AT_MOST_A_SHELF", 5)
    monkeypatch.setattr(compiler.observation, "TRIM_EVERY", 4)
    for n in range(40):
        observations.add([observation(f"{n}")])
        assert sum(observations.census().values()) < 5 + 4
    assert texts(observations) == ["35", "36", "37", "38", "39"]


def test_a_shelf_is_a_template_under_a_structure_of_a_tenant(observations, monkeypatch):
    monkeypatch.setattr(compiler.observation, "AT_MOST_A_SHELF", 1)
    kinds = [{}, {"tenant": "shop"}, {"structure": "s2"}, {"template": "other"}]
    observations.add([observation(f"{n}", **kind) for kind in kinds for n in range(2)])
    assert observations.trim() == 4
    assert texts(observations) == ["1"] * 4
    assert observations.census()[Shelf("shop", "s1", "mood")] == 1


def test_the_size_of_a_row_is_what_it_holds(observations):
    observations.add([observation("x" * 5_000)])
    (row,) = observations._rows()
    assert 5_000 < row.size < 6_000


def test_after_its_days_it_is_gone_and_leaves_nothing_in_the_files(tmp_path):
    with opened(tmp_path, days=0) as observations:
        observations.add([observation("a secret long past"), observation("x" * 9_000 + "another")])
        assert texts(observations) == []
        observations.tidy()
        assert observations.census() == {}
        assert b"secret long past" not in content(tmp_path)


def test_fewer_days_hold_for_what_is_there_already(tmp_path):
    with opened(tmp_path) as observations:
        observations.add([observation("old", time=time.time() - 3 * 86_400), observation("new")])
    with opened(tmp_path, days=2) as observations:
        observations.tidy()
        assert texts(observations) == ["new"]


# What is forgotten


def test_a_tenant_is_forgotten_and_no_other(observations):
    observations.add([observation("theirs", tenant="shop"), observation("ours"), observation("too", tenant="shop")])
    assert observations.forget(tenant="shop") == 2
    assert texts(observations) == ["ours"]
    assert observations.forget(tenant="shop") == 0


def test_with_it_goes_what_it_is_found_by(observations):
    observations.add([observation("theirs", id="s:1", tenant="shop"), observation("ours", id="t:1")])
    observations.forget(tenant="shop")
    assert [key.partition(":")[2].rpartition(":")[0] for key in observations._store.keys("i:")] == ["t:1"]
    assert observations.of_answer("t:1")


def test_a_task_is_forgotten_for_all_tenants_or_for_one(observations):
    kinds = [{}, {"tenant": "shop"}, {"template": "other"}, {"template": "", "tenant": "shop"}]
    observations.add([observation(f"{n}", **kind) for n, kind in enumerate(kinds)])
    assert observations.forget(template="mood", tenant="shop") == 1
    assert texts(observations) == ["0", "2", "3"]
    assert observations.forget(template="mood") == 1
    assert texts(observations) == ["2", "3"]


def test_to_forget_nothing_in_particular_is_a_mistake(observations):
    with pytest.raises(ValueError, match="what"):
        observations.forget()


@pytest.mark.parametrize("size", [0, 300, 3_000, 50_000])
def test_nothing_forgotten_is_readable_in_the_files(observations, tmp_path, size):
    for n in range(30):
        for tenant in ("shop", "default"):
            text = f"{'x' * size} the secret of {tenant} {n} {'y' * (n * 37)}"
            observations.add([observation(text, tenant=tenant, answer=f"{text}!")])
    assert b"secret of shop" in content(tmp_path)
    assert observations.forget(tenant="shop") == 30
    left = content(tmp_path)
    assert b"secret of shop" not in left
    assert left.count(b"secret of default") >= 30, "where a page ends, a text may be in two pieces"
    assert [observation.tenant for _, observation in observations.since()] == ["default"] * 30


def test_what_sqlite_left_behind_when_it_moved_a_row_is_not_readable_either(tmp_path):
    """Rows of two tenants that share pages. Which are moved while others are deleted is a matter of their sizes, to the
    byte: of two tries, one leaves something behind."""
    for number in range(16):
        with opened(tmp_path / f"{number}") as observations:
            observations.add([*some(TOXIC), *some(TITLE, tenant="key-0123456789ab")])
            observations.forget(tenant="default")
            assert b"comment is toxic" not in content(tmp_path / f"{number}"), number


def test_another_who_reads_the_store_now_and_then_does_not_keep_it_readable(observations, tmp_path):
    with opened(tmp_path) as other:
        observations.add([observation("a secret")])
        assert texts(other) == ["a secret"]
        assert observations.forget(tenant="default") == 1
        assert b"a secret" not in content(tmp_path)
        assert texts(other) == []


def test_a_reader_that_stays_is_told_of(observations, tmp_path, monkeypatch):
    monkeypatch.setattr("compiler.store.LOCK_SECONDS", 0.05)
    observations.add([observation("a secret")])
    reader = sqlite3.connect(tmp_path / FOLDER / "cache.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM Cache").fetchone()
    with opened(tmp_path) as impatient, pytest.raises(StoreError, match="still in its log"):
        impatient.forget(tenant="default")
    reader.close()
    assert texts(observations) == []


def test_what_was_on_its_way_when_it_was_forgotten_is_not_kept(observations, tmp_path):
    late = [observation("late", tenant="shop"), observation("ours")]
    with opened(tmp_path) as other:
        other.forget(tenant="shop")
    assert observations.add(late) == 1
    assert observations.add([observation("after", tenant="shop")]) == 1
    assert texts(observations) == ["ours", "after"]


def test_what_was_forgotten_stays_so_when_something_else_is_forgotten_behind_it(observations):
    late = observation("late", tenant="shop")
    observations.forget(tenant="shop")
    observations.forget(template="other")
    assert observations.add([late, dataclasses.replace(late, tenant="default", template="other")]) == 0


def test_the_epoch_is_another_whenever_something_was_forgotten(observations, tmp_path):
    epochs = [observations.epoch()]
    observations.add([observation()])
    assert observations.epoch() == epochs[0]
    with opened(tmp_path) as other:
        other.forget(tenant="default")
    epochs.append(observations.epoch())
    observations.forget(template="mood")
    epochs.append(observations.epoch())
    assert len(set(epochs)) == 3


def test_a_folder_that_is_deleted_is_noticed(observations, tmp_path):
    assert not observations.replaced()
    shutil.rmtree(tmp_path / FOLDER)
    assert observations.replaced()
