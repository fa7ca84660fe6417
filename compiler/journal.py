"""What happened and is not in the books yet, kept so that a killed process loses none of it.

A journal is a memory-mapped ring of records in the store's folder, one for each process that serves. Writing a record
is a copy in memory; the pages outlive the process, whatever killed it. Its owner holds a lock on the file; whoever can
take the lock knows that the owner is dead, and brings in the rest.

Layout: three little-endian 64-bit offsets (written, booked, shown), counted from the first byte ever written; then the
ring. A record is a 32-bit length and that many bytes of JSON; a length of SKIP: the next record is at the ring's start.
"""

import fcntl
import logging
import mmap
import os
import struct
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import orjson

from compiler.errors import StoreError

log = logging.getLogger("cuecard.journal")

FOLDER = "journal"
RING = 2**23  # bytes: some 20,000 records; it has to hold those of two seconds, the time between two bookings
OFFSET = struct.Struct("<Q")
LENGTH = struct.Struct("<I")
SKIP = 0xFFFF_FFFF
WRITTEN, BOOKED, SHOWN, HEAD = 0, 8, 16, 24  # bytes from the start of the file


class Journal:
    """One writer (`append`) and one reader (`mark`), which may be two threads."""

    def __init__(self, path: Path, handle: int, ring: int) -> None:
        self.id = path.stem
        self._path = path
        self._handle = handle
        self._ring = ring
        self._map = mmap.mmap(handle, HEAD + ring)
        self.written: int = OFFSET.unpack_from(self._map, WRITTEN)[0]
        self.booked: int = OFFSET.unpack_from(self._map, BOOKED)[0]
        self.shown: int = OFFSET.unpack_from(self._map, SHOWN)[0]
        oldest, newest = sorted((self.booked, self.shown))
        if ring <= 0 or newest > self.written or self.written - oldest > ring:
            raise ValueError("its offsets can't be")

    @classmethod
    def create(cls, store: Path, ring: int = RING) -> Self:
        """A new one in the store's folder, its space allocated: a full disk is found out here, not at a write.

        Raises StoreError.
        """
        path = store / FOLDER / f"{uuid.uuid4().hex}.journal"
        made = path.with_suffix(".new")  # takes its name when it is locked: before, it would look abandoned
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                os.posix_fallocate(handle, 0, HEAD + ring)
                made.rename(path)
                return cls(path, handle, ring)
            except OSError:
                os.close(handle)
                made.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StoreError(f"no journal can be kept in {path.parent}: {error}") from error

    def append(self, record: Sequence[Any]) -> int:
        """The offset behind it; where the ring is full, as before: the record is then safe from anything but a kill."""
        data = orjson.dumps(record)
        size = LENGTH.size + len(data)
        written, ring = self.written, self._ring
        at = written % ring
        skipped = ring - at if at + size > ring else 0
        if written + skipped + size - min(self.booked, self.shown) > ring:
            return written
        if skipped:
            if skipped >= LENGTH.size:
                LENGTH.pack_into(self._map, HEAD + at, SKIP)
            at = 0
        start = HEAD + at + LENGTH.size
        LENGTH.pack_into(self._map, HEAD + at, len(data))
        self._map[start : start + len(data)] = data
        self.written = written + skipped + size
        OFFSET.pack_into(self._map, WRITTEN, self.written)  # last: a record counts once it is whole
        return self.written

    def mark_booked(self, offset: int) -> None:
        """Everything before `offset` is in the ledger."""
        self.booked = offset
        OFFSET.pack_into(self._map, BOOKED, offset)

    def mark_shown(self, offset: int) -> None:
        """Everything before `offset` is in the metrics."""
        self.shown = offset
        OFFSET.pack_into(self._map, SHOWN, offset)

    def rest(self, offset: int) -> Iterator[Any]:
        """The records from `offset` on."""
        while offset < self.written:
            at = offset % self._ring
            room = self._ring - at
            length = LENGTH.unpack_from(self._map, HEAD + at)[0] if room >= LENGTH.size else SKIP
            if length == SKIP:
                offset += room
                continue
            start = HEAD + at + LENGTH.size
            if length > room - LENGTH.size:
                raise ValueError("a record is longer than its room")
            yield orjson.loads(self._map[start : start + length])
            offset += LENGTH.size + length

    def put_aside(self) -> None:
        put_aside(self._path)

    def close(self, *, delete: bool) -> None:
        if delete:
            self._path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._handle)


def put_aside(path: Path) -> None:
    """Under another name: it can't be read, and a person may want to."""
    path.rename(path.with_suffix(".broken"))


def abandoned(store: Path) -> Iterator[Journal]:
    """The journals of processes that died; the caller closes each. One that can't be read is put aside."""
    for path in sorted((store / FOLDER).glob("*.journal")):
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError as error:
            log.warning("%s can't be opened: %s", path.name, error)
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Journal(path, handle, os.fstat(handle).st_size - HEAD)
        except BlockingIOError:  # its owner lives
            os.close(handle)
        except (ValueError, struct.error) as error:
            log.error("%s is no journal, and is put aside: %s", path.name, error)
            put_aside(path)
            os.close(handle)
