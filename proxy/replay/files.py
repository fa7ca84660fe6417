"""The files of a log: found by name, in folders or on standard input, packed or not, and open to be read twice."""

import gzip
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv")
STDIN = "-"
PACKED, ZSTD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
BUFFER = 2**20
Bytes: TypeAlias = "BufferedReader[Any] | gzip.GzipFile"


class LogError(Exception):
    """A log that can't be read at all; carries what to do instead."""


@dataclass(frozen=True)
class LogFile:
    name: str  # as the person wrote it
    path: Path
    size: int  # bytes on the disk

    @property
    def suffix(self) -> str:
        return Path(self.name.removesuffix(".gz")).suffix.lower()


@contextmanager
def found(names: Sequence[str], stdin: BinaryIO) -> Iterator[list[LogFile]]:
    """The files behind some names, in a folder's whole depth. What can be read once only is copied to a temporary
    file first, which is gone afterwards. Raises LogError."""
    with ExitStack() as stack:
        yield [file for name in names for file in _behind(name, stdin, stack)]


def _behind(name: str, stdin: BinaryIO, stack: ExitStack) -> list[LogFile]:
    if name == STDIN:
        return [_spooled("standard input", stdin, stack)]
    path = Path(name)
    try:
        if path.is_dir():
            return _in_folder(path)
        about = path.stat()
        if stat.S_ISREG(about.st_mode):
            return [LogFile(name, path, about.st_size)]
        with path.open("rb") as pipe:
            return [_spooled(name, pipe, stack)]
    except FileNotFoundError:
        raise LogError(f"{name}: no such file") from None
    except OSError as error:
        raise LogError(f"{name}: can't be read: {error.strerror}") from error


def _in_folder(folder: Path) -> list[LogFile]:
    files = [
        LogFile(str(path), path, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name.lower().removesuffix(".gz").endswith(SUFFIXES)
    ]
    if not files:
        raise LogError(f"{folder}: holds no log: no {', '.join(SUFFIXES)} file, packed with gzip or not")
    return files


def _spooled(name: str, source: BinaryIO, stack: ExitStack) -> LogFile:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cuecard-replay-"))) / "log"
    with path.open("wb") as copy:
        shutil.copyfileobj(source, copy, BUFFER)
    return LogFile(name, path, path.stat().st_size)


class Opened:
    """A file's bytes, unpacked. `position`: how many bytes of the file on the disk were read for them."""

    def __init__(self, file: LogFile, stack: ExitStack) -> None:
        raw = stack.enter_context(file.path.open("rb", buffering=0))
        start = raw.read(4)
        raw.seek(0)
        if start.startswith((ZSTD, PARQUET)):
            kind = "zstd: unpack it first" if start == ZSTD else "Parquet: export it as JSONL, JSON or CSV"
            raise LogError(f"{file.name}: can't read {kind}")
        if start.startswith(UTF_16):
            raise LogError(f"{file.name}: is UTF-16: save it as UTF-8")
        self._raw = raw
        self.stream: Bytes = stack.enter_context(BufferedReader(raw, BUFFER))
        if start.startswith(PACKED):  # unbuffered: of a packed file that is cut off, all that came before is read
            self.stream = stack.enter_context(gzip.GzipFile(fileobj=self.stream))

    @property
    def position(self) -> int:
        return self._raw.tell()
