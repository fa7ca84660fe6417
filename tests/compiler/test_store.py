import json
import multiprocessing
import pickle
import sqlite3
import stat
import subprocess
import sys
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from compiler.errors import StoreError
from compiler.store import Store

MODE_RAW, MODE_BINARY, MODE_TEXT, MODE_PICKLE = 1, 2, 3, 4


class Bomb:
    """Leaves a file where it was unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def plant(store: Store, key: object, raw: int, mode: int, value: object, filename: str | None = None) -> None:
    with sqlite3.connect(store.folder / "cache.db") as database:
        database.execute(
            "INSERT INTO Cache (key, raw, store_time, access_time, access_count, size, mode, filename, value)"
            " VALUES (?, ?, 0, 0, 0, 0, ?, ?, ?)",
            (key, raw, mode, filename, value),
        )
    database.close()


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 1.5, "text", "größe \u2028 🎉", [1, [2]], {"a": {"b": None}}, "x" * 100_000],
    ids=lambda value: type(value).__name__,
)
def test_a_json_value_comes_back_as_it_was(store, value):
    store.put("key", value)
    assert store.get("key", "default") == value
    assert store.get("other", "default") == "default"


def test_what_is_deleted_is_gone(store):
    store.put("key", 1)
    assert store.delete("key")
    assert not store.delete("key")
    assert store.get("key") is None


def test_keys_are_listed_by_prefix(store):
    for key in ("a:1", "a:2", "b:1", "aa"):
        store.put(key, 0)
    assert sorted(store.keys("a:")) == ["a:1", "a:2"]


def test_values_are_read_a_page_at_a_time_in_the_order_of_their_keys(store):
    for key in ("b:2", "a:2", "a:3", "aa", "a:1", "c"):
        store.put(key, key.upper())
    assert store.page("a:", "", 2) == [("a:1", "A:1"), ("a:2", "A:2")]
    assert store.page("a:", "a:2", 2) == [("a:3", "A:3")]
    assert store.page("a:", "a:3", 2) == []
    store.put("a:2", 0, expire=-1)
    assert [key for key, _ in store.page("a:", "", 9)] == ["a:1", "a:3"]


def test_a_page_is_read_off_the_index_however_much_lies_before_it(store):
    for n in range(100):
        store.put(f"{n:03}", n)
    read = []
    store._cache._con.set_trace_callback(read.append)
    store.page("", "090", 5)
    store._cache._con.set_trace_callback(None)
    (plan,) = store._cache._sql(f"EXPLAIN QUERY PLAN {read[-1]}").fetchall()
    assert "SEARCH Cache USING INDEX Cache_key_raw (key>? AND key<?)" in plan[3]


def test_an_expired_value_is_gone_and_can_be_purged(store):
    store.put("key", 1, expire=-1)
    store.put("kept", 1, expire=1_000)
    assert store.get("key") is None
    assert store.purge_expired() == 1
    assert store.keys("") == ["kept"]


def test_everything_stays_in_the_one_database_file(store):
    store.put("key", "x" * 3_000_000)
    assert {path.suffix for path in store.folder.rglob("*") if path.is_file()} <= {".db", ".db-wal", ".db-shm"}


def test_only_its_owner_may_enter_the_folder(store):
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    store.put("key", 1)
    files = [path for path in store.folder.iterdir() if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert len(files) > 1


@pytest.mark.parametrize("mode", [MODE_RAW, MODE_BINARY, MODE_TEXT, MODE_PICKLE])
def test_a_planted_pickle_is_refused_and_never_run(store, tmp_path, mode):
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    (store.folder / "planted.val").write_bytes(bomb)
    plant(store, "inline", 1, mode, bomb)
    plant(store, "in a file", 1, mode, None, "planted.val")
    for key in ("inline", "in a file"):
        with pytest.raises(StoreError, match="did not write"):
            store.get(key)
        with pytest.raises(StoreError, match="did not write"):
            store.page(key[:-1], "", 1)
    assert not (tmp_path / "exploded").exists()


def test_a_planted_pickled_key_is_refused_and_never_run(store, tmp_path):
    plant(store, pickle.dumps(Bomb(tmp_path / "exploded")), 0, MODE_RAW, "1")
    with pytest.raises(StoreError, match="did not write"):
        store.keys("")
    assert not (tmp_path / "exploded").exists()


def test_a_value_that_is_no_json_is_refused(store):
    plant(store, "key", 1, MODE_RAW, "{broken")
    with pytest.raises(StoreError, match="not JSON"):
        store.get("key")


def test_a_key_is_text(store):
    with pytest.raises(StoreError):
        store.put(1, "value")


def test_a_transaction_is_all_or_nothing(store):
    store.put("kept", 1)
    with pytest.raises(KeyError), store.transact():
        store.put("kept", 2)
        store.put("new", 1)
        raise KeyError
    assert store.get("kept") == 1
    assert store.get("new") is None


def test_a_transaction_inside_a_transaction_ends_with_the_outer_one(store):
    with pytest.raises(KeyError), store.transact():
        with store.transact():
            store.put("new", 1)
        raise KeyError
    assert store.get("new") is None


def test_another_reader_sees_a_transaction_only_when_it_is_whole(store):
    other = Store(store.folder)
    with store.transact():
        store.put("a", 1)
        assert other.get("a") is None
        store.put("b", 1)
    assert (other.get("a"), other.get("b")) == (1, 1)
    other.close()


def test_threads_take_turns_in_their_transactions(store):
    def count() -> None:
        for _ in range(25):
            with store.transact():
                store.put("n", store.get("n", 0) + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("n") == 100


def _count(folder: Path, together: Barrier, times: int) -> None:
    store = Store(folder)
    together.wait()
    for _ in range(times):
        with store.transact():
            store.put("n", store.get("n", 0) + 1)
    store.close()


def test_processes_take_turns_in_their_transactions(store):
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [context.Process(target=_count, args=(store.folder, together, 50)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert store.get("n") == 100


KILLED = """
import os, signal, sys
from pathlib import Path
from compiler.store import Store
store = Store(Path(sys.argv[1]))
store.put("before", 1)
with store.transact():
    store.put("before", 2)
    store.put("inside", 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_inside_a_transaction_leaves_nothing_of_it_and_no_lock(store):
    done = subprocess.run([sys.executable, "-c", KILLED, str(store.folder)], cwd=Path.cwd())
    assert done.returncode == -9
    assert store.get("before") == 1
    assert store.get("inside") is None
    store.put("after", 1)
    assert store.get("after") == 1


def test_a_folder_that_is_a_file_is_reported_with_its_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"the store in .*file can't be used"):
        Store(tmp_path / "file")


def test_a_damaged_database_is_reported_and_not_raised_as_it_is(tmp_path):
    store = Store(tmp_path / "damaged")
    store.put("key", 1)
    store.close()
    for path in store.folder.glob("cache.db*"):
        path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StoreError, match="can't be used"):
        Store(tmp_path / "damaged").get("key")


def test_a_store_opened_again_holds_what_was_put(tmp_path):
    first = Store(tmp_path / "store")
    first.put("key", {"a": 1})
    first.close()
    second = Store(tmp_path / "store")
    assert second.get("key") == {"a": 1}
    second.close()


def test_deleted_text_is_overwritten_on_the_disk(store):
    store.put("key", "a secret that nobody may find")
    store.delete("key")
    store.close()
    left = b"".join(Path(path).read_bytes() for path in store.folder.rglob("*") if path.is_file())
    assert b"a secret that nobody may find" not in left


def test_deleted_text_leaves_the_log_beside_the_file_while_the_store_is_open(store):
    def left() -> bytes:
        return b"".join(path.read_bytes() for path in store.folder.iterdir() if path.is_file())

    store.put("key", "a secret that nobody may find")
    store.delete("key")
    assert b"a secret that nobody may find" in left()
    store.scrub()
    assert b"a secret that nobody may find" not in left()


def test_a_temporary_store_is_a_folder_of_its_own_and_gone_afterwards():
    with Store.temporary() as one, Store.temporary() as two:
        one.put("key", 1)
        assert two.get("key") is None
        assert stat.S_IMODE(one.folder.stat().st_mode) == 0o700
    assert not one.folder.exists()
    assert not two.folder.exists()


def test_values_are_readable_json_for_whoever_looks_into_the_file(store):
    store.put("key", {"größe": [1, 2]})
    database = sqlite3.connect(store.folder / "cache.db")
    (value,) = database.execute("SELECT value FROM Cache WHERE key = 'key'").fetchone()
    database.close()
    assert value == '{"größe":[1,2]}'
    assert json.loads(value) == {"größe": [1, 2]}


def test_what_would_expire_first_goes_where_there_is_no_room_and_what_does_not_expire_stays(store):
    store.put("for good", 0)
    for n, seconds in enumerate((300, 100, 400, 200)):
        store.put(f"{n}", n, expire=seconds)
    assert store.shorten(5) == 0
    assert store.shorten(3) == 2
    assert store.keys("") == ["0", "2", "for good"]
    assert store.shorten(3) == 0
