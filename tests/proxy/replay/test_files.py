import gzip
import io
import json
import os
import threading

import pytest

from proxy.replay.files import LogError, found
from proxy.replay.forms import Logs, Reading, detect
from tests.proxy.replay.samples import REQUEST, RESPONSE, lines

CALL = {"request": REQUEST, "response": RESPONSE}


def calls(names, stdin=b"", form=None, twice=False):
    reading = Reading()
    with found([str(name) for name in names], io.BytesIO(stdin)) as files:
        logs = Logs(files, form)
        read = list(logs.calls(reading))
        if twice:
            assert list(logs.calls(Reading())) == read
        return read, reading


def test_a_folder_gives_all_its_logs_in_its_whole_depth(tmp_path):
    (tmp_path / "2026-10-01").mkdir()
    (tmp_path / "2026-10-01" / "a.json").write_text(lines(CALL))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines(CALL, CALL).encode()))
    (tmp_path / "c.csv").write_text("request\n")
    (tmp_path / "notes.txt").write_text("not a log")
    read, reading = calls([tmp_path])
    assert len(read) == 3
    assert [name.rpartition("/")[2] for name in reading.forms] == ["a.json", "b.jsonl.gz", "c.csv"]


def test_a_folder_without_logs_says_what_it_looked_for(tmp_path):
    with pytest.raises(LogError, match=r"\.jsonl, \.ndjson, \.json, \.csv"):
        calls([tmp_path])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LogError, match=r"gone\.jsonl: no such file"):
        calls([tmp_path / "gone.jsonl"])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input_is_read_as_often_as_it_is_needed(pack):
    read, _ = calls(["-"], pack(lines(CALL, CALL).encode()), twice=True)
    assert [call.place for call in read] == ["standard input:1", "standard input:2"]


def test_a_csv_on_standard_input_is_known_by_its_header():
    read, _ = calls(["-"], b'request_body,request_created_at\n"{""messages"": [], ""model"": ""m""}",2026-10-01\n')
    assert read[0].request == {"messages": [], "model": "m"}


def test_an_array_on_standard_input_is_read():
    read, _ = calls(["-"], b"[" + lines(CALL).encode() + b"]", twice=True)
    assert len(read) == 1


def test_an_object_over_many_lines_on_standard_input_is_read():
    read, _ = calls(["-"], json.dumps(CALL, indent=2).encode())
    assert len(read) == 1


def test_a_pipe_is_read_as_often_as_it_is_needed(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(lines(CALL, CALL)))
    writer.start()
    read, _ = calls([pipe], twice=True)
    writer.join()
    assert len(read) == 2


def test_each_file_has_a_form_of_its_own(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines(CALL))
    (tmp_path / "b.jsonl").write_text(lines({"input": REQUEST["messages"], "output": "upset"}))
    (tmp_path / "c.jsonl").write_text(lines({"weather": "fine"}))
    _, reading = calls([tmp_path])
    assert list(reading.forms.values()) == ["plain", "openai", "unknown"]
    assert "c.jsonl:1: is no call in a known form (keys: weather)" in reading.problems[0]


def test_a_form_that_is_given_is_not_guessed(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines(CALL))
    read, reading = calls([tmp_path / "a.jsonl"], form="langfuse")
    assert read == []
    assert "is no call of the form langfuse" in reading.problems[0]


def test_the_form_is_that_of_most_of_the_first_records():
    stray = {"input": [], "output": "x"}
    form = detect([{"weather": 1}, stray, CALL, CALL, None])
    assert form is not None
    assert form.name == "plain"
    assert detect([]) is None
