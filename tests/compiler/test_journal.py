import errno
import fcntl
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compiler.errors import StoreError
from compiler.journal import FOLDER, Journal, abandoned

OWNER = """
import sys
from pathlib import Path
from compiler.journal import Journal
journal = Journal.create(Path(sys.argv[1]))
for number in range(5):
    journal.append([number, "é"])
print(journal.id, flush=True)
sys.stdin.read()
"""
LENGTH = 4  # bytes before each record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@contextmanager
def opened(folder: Path, ring: int) -> Iterator[Journal]:
    journal = Journal.create(folder, ring)
    yield journal
    journal.close(delete=True)


@contextmanager
def owned(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process with a journal of five records, and the journal's id."""
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        try:
            yield owner, owner.stdout.readline().strip()
        finally:
            owner.kill()


def left(folder: Path, *records: list) -> str:
    """A journal whose owner is gone; its id."""
    journal = Journal.create(folder, 1_024)
    for record in records:
        journal.append(record)
    journal.close(delete=False)
    return journal.id


def found(folder: Path) -> dict[str, list]:
    all = {}
    for journal in abandoned(folder):
        all[journal.id] = list(journal.rest(0))
        journal.close(delete=False)
    return all


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / FOLDER).iterdir())


def filled(journal: Journal) -> list[list]:
    """Records appended until one was refused."""
    records: list[list] = []
    while True:
        record, before = [len(records), "abc"], journal.written
        if journal.append(record) == before:
            return records
        records.append(record)


def test_records_come_back_in_order_from_any_offset(folder):
    records = [[1, "a"], [None, True, 0.1], [], ["ü", ["nested"]], [2**53]]
    with opened(folder, 1_024) as journal:
        offsets = [0, *(journal.append(record) for record in records)]
        assert offsets == sorted(set(offsets))
        for number, offset in enumerate(offsets):
            assert list(journal.rest(offset)) == records[number:]


@pytest.mark.parametrize("ring", [48, 61, 64, 67])
def test_what_was_appended_and_not_marked_is_the_rest_at_every_alignment_of_the_ring(folder, ring):
    dice = random.Random(ring)
    rooms, refusals = set(), 0
    model: list[tuple[list, int]] = []  # records and the offset behind each
    with opened(folder, ring) as journal:
        for number in range(3_000):
            action = dice.random()
            if action < 0.6:
                record = [number % 10, "x" * dice.randrange(ring // 2 - LENGTH - 6)]
                size = LENGTH + len(record[1]) + 6
                before, used = journal.written, journal.written - min(journal.booked, journal.shown)
                rooms.add(ring - before % ring)
                offset = journal.append(record)
                if offset == before:
                    refusals += 1
                    assert used + 2 * size > ring
                else:
                    model.append((record, offset))
            elif action < 0.8:
                journal.mark_booked(dice.choice([journal.booked, *(o for _, o in model if o > journal.booked)]))
            else:
                journal.mark_shown(dice.choice([journal.shown, *(o for _, o in model if o > journal.shown)]))
            for offset in (journal.booked, journal.shown):
                assert list(journal.rest(offset)) == [record for record, end in model if end > offset]
            model = [(record, end) for record, end in model if end > min(journal.booked, journal.shown)]
    assert refusals
    assert journal.written > 100 * ring
    assert set(range(1, 12)) <= rooms


def test_a_full_ring_refuses_and_overwrites_nothing(folder):
    with opened(folder, 100) as journal:
        records = filled(journal)
        written = journal.written
        assert len(records) == 100 // (LENGTH + len('[0,"abc"]'))
        assert journal.append(["more, and longer"]) == written
        assert journal.written == written
        assert list(journal.rest(0)) == records


def test_a_record_longer_than_the_ring_is_refused(folder):
    with opened(folder, 100) as journal:
        assert journal.append(["x" * 100]) == 0
        assert list(journal.rest(0)) == []


def test_a_record_may_fill_the_ring_to_its_last_byte(folder):
    with opened(folder, 100) as journal:
        record = ["x" * (100 - LENGTH - 4)]
        for turn in (1, 2):
            assert journal.append(record) == turn * 100
            assert list(journal.rest((turn - 1) * 100)) == [record]
            journal.mark_booked(journal.written)
            journal.mark_shown(journal.written)


@pytest.mark.parametrize("first, second", [("mark_booked", "mark_shown"), ("mark_shown", "mark_booked")])
def test_space_is_free_only_when_both_have_passed_it(folder, first, second):
    with opened(folder, 100) as journal:
        records = filled(journal)
        written = journal.written
        getattr(journal, first)(written)
        assert journal.append([0, "abc"]) == written
        assert list(journal.rest(0)) == records
        getattr(journal, second)(written)
        assert journal.append([0, "abc"]) > written
        assert list(journal.rest(written)) == [[0, "abc"]]


def test_a_journal_opened_again_shows_the_same(folder):
    with opened(folder, 100) as journal:
        first = journal.append([1, "abc"])
        second = journal.append([2, "abc"])
        journal.mark_booked(second)
        journal.mark_shown(first)
        journal.append([3, "abc"])
        path = folder / FOLDER / f"{journal.id}.journal"
        again = Journal(path, os.open(path, os.O_RDWR), 100)
        assert (again.id, again.written, again.booked, again.shown) == (journal.id, journal.written, second, first)
        assert list(again.rest(0)) == [[1, "abc"], [2, "abc"], [3, "abc"]]
        again.close(delete=False)


def test_a_journal_in_its_second_turn_opened_again_shows_the_same(folder):
    journal = Journal.create(folder, 100)
    filled(journal)
    journal.mark_booked(journal.written)
    journal.mark_shown(journal.written)
    start = journal.written
    records = filled(journal)
    journal.close(delete=False)
    (again,) = abandoned(folder)
    assert (again.booked, again.shown) == (start, start)
    assert list(again.rest(start)) == records
    again.close(delete=True)


def test_the_file_belongs_to_its_owner_alone_and_goes_when_it_is_told_to(folder):
    journal = Journal.create(folder, 100)
    (path,) = (folder / FOLDER).iterdir()
    assert path.name == f"{journal.id}.journal"
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    journal.close(delete=True)
    assert names(folder) == []


def test_the_journal_of_a_living_process_is_not_abandoned_and_that_of_a_killed_one_is_with_all_it_noted(folder):
    with owned(folder) as (owner, id):
        assert names(folder) == [f"{id}.journal"]
        assert found(folder) == {}
        owner.send_signal(signal.SIGKILL)
        assert owner.wait(10) == -signal.SIGKILL
        assert found(folder) == {id: [[number, "é"] for number in range(5)]}


def test_ones_own_journal_is_not_abandoned(folder):
    with opened(folder, 100):
        assert found(folder) == {}


def test_an_abandoned_journal_is_handed_to_one_at_a_time(folder):
    left(folder, [1])
    (journal,) = abandoned(folder)
    assert found(folder) == {}
    journal.close(delete=False)
    assert len(found(folder)) == 1


def test_without_a_folder_nothing_is_abandoned(folder):
    assert found(folder / "none") == {}


UNREADABLE = {
    "empty": b"",
    "cut off in its head": bytes(20),
    "garbage": random.Random(1).randbytes(4_096),
    "without a ring": bytes([1]).ljust(24, b"\0"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_file_that_is_no_journal_is_put_aside_and_the_others_are_read(folder, kind, caplog):
    id = left(folder, [1], [2])
    for name in ("-before", "z-after"):  # than any hexadecimal id
        (folder / FOLDER / f"{name}.journal").write_bytes(UNREADABLE[kind])
    assert found(folder) == {id: [[1], [2]]}
    assert names(folder) == sorted(["-before.broken", f"{id}.journal", "z-after.broken"])
    assert sum("is no journal" in message for message in caplog.messages) == 2
    assert found(folder) == {id: [[1], [2]]}


def test_a_journal_that_is_still_being_made_is_nobodys(folder):
    left(folder)
    (folder / FOLDER / "made.new").write_bytes(b"")
    assert len(found(folder)) == 1
    assert "made.new" in names(folder)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    store = tmp_path / "store"
    store.write_text("a file")
    with pytest.raises(StoreError, match="no journal can be kept in"):
        Journal.create(store)
    assert store.read_text() == "a file"


@pytest.mark.parametrize("module, call", [(os, "posix_fallocate"), (fcntl, "flock")])
def test_a_full_disk_is_told_when_the_journal_is_made_and_leaves_nothing(folder, monkeypatch, module, call):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    handles = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(module, call, full)
    with pytest.raises(StoreError, match="No space left"):
        Journal.create(folder)
    assert names(folder) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == handles
