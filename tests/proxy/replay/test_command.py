"""`cuecard replay` as a person or a script meets it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.replay import command
from proxy.replay.recogniser import Match
from tests.proxy.replay.samples import REQUEST, RESPONSE, lines

CALL = {"request": REQUEST, "response": {**RESPONSE, "model": "gpt-4.1"}, "time": 1_790_000_000}
TOOLS = {**CALL, "request": {**REQUEST, "tools": [{"type": "function"}]}, "time": 1_790_000_000 + 2 * 86_400}
HOSTILE = "<script>alert('x')</script> & {text1} \" onload=x"


class Everything:
    """Recognises one task, with a name and a template that are markup."""

    def add(self, tenant: str, endpoint: str, body: Any) -> None:
        pass

    def finish(self) -> None:
        pass

    def match(self, tenant: str, endpoint: str, body: Any) -> Match:
        return Match("t1", "feel<b>ing</b>", f"system: {HOSTILE}")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a configuration, and an environment without a key."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "CUECARD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def replay(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["replay", *arguments], input=stdin)


def test_it_says_where_the_money_goes_without_configuration_or_key():
    Path("log.jsonl").write_text(lines(CALL, CALL, TOOLS))
    done = replay("log.jsonl")
    assert done.exit_code == 0, done.output
    assert "log.jsonl (plain): 3 calls, 2026-09-21 to 2026-09-23" in done.stdout
    assert "1 call, $0.000064, offered tools: not yet optimisable" in done.stdout
    assert "2 calls, $0.000128, belonged to no known task" in done.stdout
    assert "learning the tasks" in done.stderr
    assert "learning" not in done.stdout


def test_recognised_tasks_are_listed_with_their_share(monkeypatch):
    monkeypatch.setattr(command, "_recogniser", Everything)
    Path("log.jsonl").write_text(lines(*[CALL] * 3, TOOLS))
    done = replay("log.jsonl")
    assert re.search(r"feel<b>ing</b>.*gpt-4.1.*\b3\b.*1\.5.*75\.0%", done.stdout)


def test_the_machine_readable_form_holds_the_same_and_adds_up(monkeypatch):
    monkeypatch.setattr(command, "_recogniser", Everything)
    Path("log.jsonl").write_text(lines(*[CALL] * 3, TOOLS) + "{broken\n")
    found = json.loads(replay("log.jsonl", "--json").stdout)
    assert (found["partial"], found["calls"], found["unreadable"], found["forms"]) == (
        False,
        4,
        1,
        {"log.jsonl": "plain"},
    )
    assert found["problems"][0].startswith("log.jsonl:5: not JSON")
    assert found["days"] == pytest.approx(2)
    steps = {step["name"]: step for step in found["funnel"]["steps"]}
    assert steps["bill"]["usd"] == pytest.approx(sum(t["cost_usd"] for t in found["tasks"]) + 0.000064)
    assert [g["reason"] for g in steps["eligible"]["excluded"]] == ["tools"]
    (task,) = found["tasks"]
    assert (task["calls"], task["calls_a_day"], task["share"]) == (3, pytest.approx(1.5), pytest.approx(0.75))


def test_prices_come_from_a_configuration_that_is_there_whose_keys_may_be_unset():
    Path("cuecard.yaml").write_text(
        "upstreams: {x: {base_url: 'http://127.0.0.1:9/v1', api_key: '${OPENAI_API_KEY}'}}\n"
        "prices: {gpt-4.1: {input: 1000000, output: 0}}\n"
    )
    Path("log.jsonl").write_text(lines(CALL))
    assert "1 call, $24.00" in replay("log.jsonl").stdout
    assert not Path(".cuecard").exists()


def test_a_broken_configuration_is_said():
    Path("other.yaml").write_text("prises: {}\n")
    Path("log.jsonl").write_text(lines(CALL))
    done = replay("log.jsonl", "--config", "other.yaml")
    assert done.exit_code == 2
    assert "prises" in done.stderr


def test_standard_input_is_a_log_too():
    done = replay("-", stdin=lines(CALL).encode())
    assert done.exit_code == 0, done.output
    assert "standard input (plain): 1 call" in done.stdout


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "there is nothing in it"),
        ('{"weather": "fine"}\n', "log.jsonl:1: is no call in a known form (keys: weather)"),
        ("not a log at all\n", "log.jsonl:1: not JSON"),
        (
            lines({"type": "SPAN", "input": "x", "startTime": "2026-10-01", "model": None}),
            "none of 1 records is a call",
        ),
    ],
)
def test_a_log_of_which_nothing_can_be_read_names_the_forms_that_can(content, why):
    Path("log.jsonl").write_text(content)
    done = replay("log.jsonl")
    assert (done.exit_code, done.stdout) == (2, "")
    assert why in done.stderr
    for form in ("plain", "openai", "litellm", "langfuse", "helicone"):
        assert f"\n  {form}" in done.stderr


def test_a_log_without_times_can_be_told_how_many_days_it_covers(monkeypatch):
    monkeypatch.setattr(command, "_recogniser", Everything)
    Path("log.jsonl").write_text(lines(*[{"request": REQUEST, "response": {**RESPONSE, "created": None}}] * 6))
    (task,) = json.loads(replay("log.jsonl", "--json").stdout)["tasks"]
    assert (task["calls_a_day"], task["saving_usd_30_days"]) == (None, None)
    assert "--spans" in task["possible_savings"]["why_not"]
    (task,) = json.loads(replay("log.jsonl", "--json", "--spans", "3").stdout)["tasks"]
    assert task["calls_a_day"] == 2
    assert task["possible_savings"]["verdict"] == "not worth it"
    assert replay("log.jsonl", "--spans", "0").exit_code == 2


def test_tasks_are_found_as_the_proxy_finds_them_and_their_savings_are_estimated():
    """60 tickets of one task over three days, and 3 questions of free chat."""
    words = "parcel invoice refund login colour delivery password broken late missing".split()  # noqa: SIM905
    tickets = [
        {
            "request": {
                "model": "gpt-4.1",
                "messages": [
                    {"role": "system", "content": "Classify the customer's ticket. Answer with one label only."},
                    {
                        "role": "user",
                        "content": f"Ticket {i}: my {words[i % 10]} is {words[(i * 7 + 3) % 10]} since {i}",
                    },
                ],
            },
            "response": {
                "model": "gpt-4.1",
                "choices": [{"message": {"role": "assistant", "content": ("billing", "delivery")[i % 2]}}],
                "usage": {"prompt_tokens": 2_000, "completion_tokens": 4},
            },
            "time": 1_790_000_000 + i * 4_392,
        }
        for i in range(60)
    ]
    Path("log.jsonl").write_text(lines(*tickets))
    done = replay("log.jsonl", "--html", "report.html")
    assert done.exit_code == 0, done.output
    found = json.loads(replay("log.jsonl", "--json").stdout)
    (task,) = found["tasks"]
    assert task["name"] == "classify-customers-ticket"
    assert task["template"].startswith("system: Classify the customer's ticket. Answer with one label only.\nuser: ")
    assert (task["calls"], task["calls_a_day"]) == (60, pytest.approx(20, rel=0.01))
    worth = task["possible_savings"]
    assert (worth["incumbent"], worth["mean_input_tokens"], worth["mean_output_tokens"]) == ("gpt-4.1", 2_000, 4)
    assert worth["saving_usd_per_day"]["high"] > 0
    assert "classify-customers-ticket" in done.stdout
    page = Path("report.html").read_text()
    assert "<b>classify-customers-ticket</b>" in page
    assert re.search(r"<mark>\{\w+\}</mark>", page)


def test_a_format_that_is_given_is_used_and_one_that_is_unknown_is_refused():
    Path("log.jsonl").write_text(lines(CALL))
    assert replay("log.jsonl", "--format", "plain").exit_code == 0
    assert replay("log.jsonl", "--format", "langfuse").exit_code == 2
    assert replay("log.jsonl", "--format", "parquet").exit_code == 2


@pytest.mark.parametrize("arguments", [["gone.jsonl"], [], ["log.jsonl", "--html", "nowhere/report.html"]])
def test_what_a_person_got_wrong_ends_with_2(arguments):
    Path("log.jsonl").write_text(lines(CALL))
    assert replay(*arguments).exit_code == 2


def test_a_page_that_can_t_be_written_is_said_before_a_long_log_is_read():
    Path("log.jsonl").write_text(lines(CALL))
    done = replay("log.jsonl", "--html", "nowhere/report.html")
    assert done.exit_code == 2
    assert "learning" not in done.stderr


def test_the_page_is_whole_and_what_a_log_holds_is_text_in_it(monkeypatch):
    monkeypatch.setattr(command, "_recogniser", Everything)
    Path("<i>.jsonl").write_text(lines(CALL, TOOLS) + "{<img src=x>\n")
    done = replay("<i>.jsonl", "--html", "report.html")
    assert done.exit_code == 0, done.output
    page = Path("report.html").read_text("utf-8")
    assert not re.search(r"<(script|img|link|i>\.jsonl|b>ing)", page)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; <mark>{text1}</mark> &#34; onload=x" in page
    assert "feel&lt;b&gt;ing&lt;/b&gt;" in page
    assert "http://" not in page
    assert "https://" not in page
    assert sorted(path.name for path in Path().iterdir()) == ["<i>.jsonl", "report.html"]


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_page_that_can_t_be_written_leaves_the_old_one_and_nothing_else(monkeypatch, step):
    Path("log.jsonl").write_text(lines(CALL))
    Path("report.html").write_text("the old one")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, step, full)
    done = replay("log.jsonl", "--html", "report.html")
    assert done.exit_code == 2
    assert "report.html: can't be written: No space left on device" in done.stderr
    assert Path("report.html").read_text() == "the old one"
    assert sorted(path.name for path in Path().iterdir()) == ["log.jsonl", "report.html"]


def test_no_socket_is_opened(monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    Path("log.jsonl").write_text(lines(CALL, {"request": REQUEST, "response": "upset"}))
    assert replay("log.jsonl", "--html", "report.html").exit_code == 0


def interrupted_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Ctrl-C when so many calls have been read, in both passes together."""
    left = [calls]
    original = command.Logs.calls

    def counting(self: Any, *arguments: Any) -> Any:
        for call in original(self, *arguments):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            yield call

    monkeypatch.setattr(command.Logs, "calls", counting)


def test_ctrl_c_shows_what_was_added_up_so_far(monkeypatch):
    Path("log.jsonl").write_text(lines(*[CALL] * 10))
    interrupted_after(monkeypatch, 14)
    done = replay("log.jsonl", "--html", "report.html")
    assert done.exit_code == 130
    assert "partial" in done.stdout
    assert "log.jsonl (plain): 4 calls" in done.stdout
    assert re.search(r"your app +4 calls", done.stdout)
    assert "Partial:" in Path("report.html").read_text()


def test_ctrl_c_before_anything_was_added_up_ends_at_once(monkeypatch):
    Path("log.jsonl").write_text(lines(*[CALL] * 10))
    interrupted_after(monkeypatch, 5)
    done = replay("log.jsonl")
    assert (done.exit_code, done.stdout) == (130, "")
    assert "stopped before anything could be said" in done.stderr


def test_a_real_ctrl_c_ends_it_cleanly_while_it_waits_for_standard_input(tmp_path):
    heeding = ["env", "--default-signal=INT"]  # tests that run in the background were told to ignore it
    process = subprocess.Popen(
        [*heeding, sys.executable, "-m", "proxy.cli", "replay", "-"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(lines(CALL).encode())
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("cuecard-replay-*/log")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert list(tmp_path.iterdir()) == []
