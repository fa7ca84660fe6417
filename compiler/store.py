"""The store: a folder, one SQLite file in it (diskcache), JSON values only.

Every value a process would miss after a crash goes through here, and nothing else knows where it is kept: the same
few methods are what another backend has to offer. Never used on the request path; workers have a thread for it.
"""

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import diskcache
from diskcache.core import MODE_RAW

from compiler.errors import StoreError

INLINE = 2**30  # bytes: values stay in SQLite, so that one transaction covers all of them

LOCK_SECONDS = 10.0  # that a writer waits for another
DELETED_AT_ONCE = 100
LAST = "\U0010ffff"  # no key has it
BEHIND_ALL = b"\xff"  # for SQLite, bytes come behind all text: so are keys that Cuecard did not write


class JsonDisk(diskcache.Disk):  # type: ignore[misc]
    """JSON text in, JSON text out. Anything else on disk is refused: unpickling a planted file would run its code."""

    def put(self, key: Any) -> tuple[str, bool]:
        if not isinstance(key, str):
            raise StoreError(f"a key is text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: bool) -> str:
        if not raw or not isinstance(key, str):
            raise StoreError("the store holds a key that Cuecard did not write")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, str]:
        return 0, MODE_RAW, None, json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode != MODE_RAW or not isinstance(value, str):
            raise StoreError("the store holds a value that Cuecard did not write")
        try:
            return json.loads(value)
        except ValueError as error:
            raise StoreError(f"the store holds a value that is not JSON: {error}") from None


class Store:
    """Methods raise StoreError when the folder can't be read or written. Safe for many processes and threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _translated(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (database := folder / diskcache.core.DBNAME).exists():
                database.touch(mode=0o600)  # SQLite gives the log beside it the same
            self._cache = diskcache.Cache(
                str(folder),
                disk=JsonDisk,
                disk_min_file_size=INLINE,
                eviction_policy="none",
                cull_limit=0,
                timeout=LOCK_SECONDS,
                sqlite_secure_delete=1,
            )
            self._file = _identity(folder)

    @classmethod
    @contextmanager
    def temporary(cls) -> Iterator[Self]:
        """In a folder that is gone afterwards, and with it all that was kept."""
        with tempfile.TemporaryDirectory(prefix="cuecard-") as folder, cls(Path(folder)) as store:
            yield store

    def get(self, key: str, default: Any = None) -> Any:
        with _translated(self.folder):
            return self._cache.get(key, default)

    def put(self, key: str, value: Any, *, expire: float | None = None) -> None:
        """`expire`: seconds after which the value is gone."""
        with _translated(self.folder):
            self._cache.set(key, value, expire=expire)

    def delete(self, key: str) -> bool:
        with _translated(self.folder):
            return bool(self._cache.delete(key))

    def delete_all(self, keys: Sequence[str]) -> None:
        """In transactions of a few: others may write in between."""
        for start in range(0, len(keys), DELETED_AT_ONCE):
            with self.transact():
                for key in keys[start : start + DELETED_AT_ONCE]:
                    self.delete(key)

    def keys(self, prefix: str) -> list[str]:
        """In their order, those of expired values too; read off the index. For reports and the learner."""
        last = prefix + LAST if prefix else BEHIND_ALL
        with _translated(self.folder):
            rows = self._cache._sql(
                "SELECT key, raw FROM Cache WHERE key >= ? AND key < ? ORDER BY key", (prefix, last)
            )
            return [self._cache.disk.get(key, raw) for key, raw in rows]

    def page(self, prefix: str, after: str, at_most: int) -> list[tuple[str, Any]]:
        """The next values whose keys go on from `prefix`, behind the key `after`, in their order: read off the index,
        however much lies before them."""
        with _translated(self.folder):
            rows = self._cache._sql(
                "SELECT key, mode, filename, value FROM Cache WHERE raw = 1 AND key > ? AND key < ?"
                " AND (expire_time IS NULL OR expire_time > ?) ORDER BY key LIMIT ?",
                (max(prefix, after), prefix + LAST, time.time(), at_most),
            ).fetchall()
            return [(key, self._cache.disk.fetch(*value, False)) for key, *value in rows]

    @contextmanager
    def transact(self) -> Iterator[None]:
        """All or nothing, and no other writer in between. Keep it short: everyone else waits."""
        with _translated(self.folder), self._cache.transact():
            yield

    def replaced(self) -> bool:
        """Whether the folder holds another store by now, or none: SQLite goes on with the deleted file as if nothing
        had happened, and all that is written is lost."""
        try:
            return _identity(self.folder) != self._file
        except OSError:
            return True

    def shorten(self, at_most: int) -> int:
        """Where more is kept than so many values, those that would expire first go; how many did. One that does not
        expire stays."""
        with self.transact():
            over = len(self._cache) - at_most
            if over > 0:
                self._cache._sql(
                    "DELETE FROM Cache WHERE rowid IN (SELECT rowid FROM Cache WHERE expire_time IS NOT NULL"
                    " ORDER BY expire_time LIMIT ?)",
                    (over,),
                )
        return max(0, over)

    def purge_expired(self) -> int:
        with _translated(self.folder):
            return int(self._cache.expire())

    def scrub(self) -> None:
        """Nothing of what was deleted is readable in the files afterwards. SQLite overwrites a row that is deleted, but
        not what was left behind where it moved that row to another page.

        Writes all that is kept once more: 500 MB take seconds, in which others can only read. Raises StoreError, like
        `checkpoint`.
        """
        with _translated(self.folder):
            self._cache._sql("VACUUM")
        self.checkpoint()

    def checkpoint(self) -> None:
        """What was deleted leaves SQLite's log, which is beside the file.

        Raises StoreError where someone reads on for longer than LOCK_SECONDS.
        """
        with _translated(self.folder):
            ((busy, _, _),) = self._cache._sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if busy:
            raise StoreError(f"the store in {self.folder} is being read: what was deleted is still in its log")

    def close(self) -> None:
        self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _identity(folder: Path) -> tuple[int, int]:
    found = (folder / diskcache.core.DBNAME).stat()
    return found.st_dev, found.st_ino


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, diskcache.Timeout) as error:
        raise StoreError(f"the store in {folder} can't be used: {error or type(error).__name__}") from error
