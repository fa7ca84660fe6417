"""Files as they come: packed, cut off, broken in the middle, in another encoding, too large to be held."""

import gzip
import io
import json
from itertools import islice

import pytest

from proxy.replay import records as module
from proxy.replay.files import LogError, found
from proxy.replay.forms import Logs, Reading
from tests.proxy.replay.samples import REQUEST, RESPONSE, lines

CALL = {"request": REQUEST, "response": RESPONSE}


def test_broken_lines_are_counted_and_the_first_three_said(read):
    content = lines(CALL) + "{broken\n" * 5 + lines(CALL) + "[1, 2]\n7\n" + "\n" + lines(CALL)
    calls, reading = read("log.jsonl", content)
    assert [call.place.rpartition(":")[2] for call in calls] == ["1", "7", "11"]
    assert (reading.calls, reading.unreadable, len(reading.problems)) == (3, 7, 3)
    assert "log.jsonl:2: not JSON (" in reading.problems[0]


def test_a_line_that_is_not_utf_8_is_one_broken_line(read):
    latin = json.dumps(CALL, ensure_ascii=False).replace("parcel", "pärcel").encode("latin-1")
    calls, reading = read("log.jsonl", lines(CALL).encode() + latin + b"\n" + lines(CALL).encode())
    assert (len(calls), reading.problems[0].rpartition(": ")[2]) == (2, "not UTF-8")


def test_a_byte_order_mark_is_no_part_of_the_first_line(read):
    for name, content in (("log.jsonl", lines(CALL)), ("log.json", json.dumps([CALL]))):
        calls, _ = read(name, b"\xef\xbb\xbf" + content.encode())
        assert len(calls) == 1


def test_what_only_pythons_json_takes_is_taken(read):
    odd = json.dumps({**CALL, "cost": float("nan")}).replace("parcel", "parcel \\ud83d")
    (call,), _ = read("log.jsonl", odd + "\n")
    assert call.cost is None
    call.request["messages"][1]["content"].encode()  # half a surrogate pair could not be printed


def test_a_line_longer_than_a_request_can_be_is_skipped_whole(read, monkeypatch):
    monkeypatch.setattr(module, "MAX_RECORD", 2_000)
    long = {"request": {**REQUEST, "user": "x" * 200_000}, "response": RESPONSE}
    calls, reading = read("log.jsonl", lines(CALL, long, CALL))
    assert [call.place.rpartition(":")[2] for call in calls] == ["1", "3"]
    assert "log.jsonl:2: longer than" in reading.problems[0]


def test_a_last_line_needs_no_newline(read):
    calls, _ = read("log.jsonl", lines(CALL, CALL).rstrip("\n"))
    assert len(calls) == 2


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_read_element_by_element(read, indent):
    large = {"request": {**REQUEST, "user": "x" * 300_000}, "response": RESPONSE}
    calls, reading = read("log.json", json.dumps([CALL, large, CALL], indent=indent))
    assert (len(calls), reading.unreadable) == (3, 0)
    if indent:
        text = json.dumps([CALL, large, CALL], indent=indent).split("\n")
        starts = [str(i + 1) for i, line in enumerate(text) if line == "  {"]
        assert [call.place.rpartition(":")[2] for call in calls] == starts


def test_an_array_that_is_cut_off_gives_what_was_whole(read):
    text = json.dumps([CALL, CALL, CALL])
    calls, reading = read("log.json", text[: len(text) - 20])
    assert (len(calls), reading.unreadable) == (2, 1)
    assert "the rest can't be read" in reading.problems[0]


def test_an_array_that_is_broken_in_the_middle_ends_there_without_reading_on(read, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 50)
    text = json.dumps([CALL, CALL, CALL]).replace('"request"', "request", 2).replace("request", '"request"', 1)
    calls, reading = read("log.json", text)
    assert (len(calls), reading.unreadable) == (1, 1)


def test_json_lines_in_a_file_called_json_are_lines(read):
    calls, reading = read("log.json", lines(CALL) + "{broken\n" + lines(CALL))
    assert (len(calls), reading.unreadable) == (2, 1)


def test_objects_over_many_lines_one_after_the_other_are_read(read):
    calls, _ = read("log.json", json.dumps(CALL, indent=2) + "\n" + json.dumps(CALL, indent=2))
    assert len(calls) == 2


def test_a_row_of_a_csv_that_is_wrong_is_one_broken_row(read):
    sides = [json.dumps(side).replace('"', '""') for side in (REQUEST, RESPONSE)]
    row = f'"{sides[0]}","{sides[1]}"\n'
    content = ("request,response\n" + row + "a,b,c\n" + row).encode() + b'"\xff",1\n' + row.encode()
    calls, reading = read("log.csv", content)
    assert [call.place.rpartition(":")[2] for call in calls] == ["2", "4", "6"]
    assert [problem.partition("log.csv:")[2] for problem in reading.problems] == [
        *("3: more cells than the header has columns", "5: not UTF-8")
    ]


def test_cells_with_newlines_keep_the_line_they_begin_on(read):
    sides = [json.dumps(side, indent=1).replace('"', '""') for side in (REQUEST, RESPONSE)]
    row = f'"{sides[0]}","{sides[1]}"\n'
    calls, _ = read("log.csv", "request,response\n" + row + row)
    assert [call.place.rpartition(":")[2] for call in calls] == ["2", str(2 + row.count("\n"))]


def test_packed_files_are_unpacked_whatever_their_name(read):
    for name in ("log.jsonl.gz", "log.jsonl"):
        calls, reading = read(name, gzip.compress(lines(CALL, CALL).encode()))
        assert len(calls) == 2
    assert list(reading.forms.values()) == ["plain"]


def test_a_packed_file_that_is_cut_off_gives_what_was_whole(read):
    content = gzip.compress("".join(lines({**CALL, "n": i}) for i in range(3_000)).encode())
    calls, reading = read("log.jsonl.gz", content[: len(content) // 2])
    assert 0 < len(calls) < 3_000
    assert any("gzip" in problem for problem in reading.problems)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x28\xb5\x2f\xfd....", "zstd: unpack it first"),
        (b"PAR1....", "Parquet: export it as JSONL"),
        ("{}".encode("utf-16"), "UTF-16: save it as UTF-8"),
    ],
)
def test_what_can_t_be_read_says_what_to_do(read, content, why):
    with pytest.raises(LogError, match=why):
        read("log.jsonl", content)


def test_reading_is_lazy_so_that_memory_stays_flat(tmp_path, monkeypatch):
    """The file never ends; a reader that held more than it needs would never give its first call."""

    def endless():
        number = 0
        while True:
            number += 1
            yield lines({**CALL, "number": number}).encode()

    class Endless(io.RawIOBase):
        given, source, left = 0, endless(), b""

        def readable(self):
            return True

        def seek(self, *_):
            return 0

        def tell(self):
            return self.given

        def readinto(self, buffer):
            while len(self.left) < len(buffer):
                self.left += next(self.source)
            part, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
            buffer[: len(part)] = part
            Endless.given += len(part)
            return len(part)

    (tmp_path / "log.jsonl").write_text("{}")
    with found([str(tmp_path / "log.jsonl")], io.BytesIO()) as files:
        monkeypatch.setattr("pathlib.Path.open", lambda *_, **__: Endless())
        calls = Logs(files).calls(Reading())
        assert len(list(islice(calls, 1_000))) == 1_000
        calls.close()
    assert Endless.given < 3 * 2**20


def test_how_far_it_has_read_is_told_in_bytes_of_all_files(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(lines(CALL) * 30)
    told: list[int] = []
    with found([str(tmp_path)], io.BytesIO()) as files:
        logs = Logs(files)
        assert len(list(logs.calls(Reading(), told.append))) == 60
        assert told == sorted(told)
        assert told[-1] == logs.size == 2 * 30 * len(lines(CALL))
