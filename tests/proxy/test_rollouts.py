"""`cuecard approve`, `pause`, `resume`, `rollback`, `audit`, at a terminal and in scripts; without a server."""

import json
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import proxy.rollouts
from compiler.proof import Proofs
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.rollout import Rollout, Said
from compiler.store import Store
from proxy.cli import main
from proxy.rollouts import who
from tests.learned import TOXIC, learn, some
from tests.proven import compiled, proven, recognised

CONFIG = """
upstreams:
  x: {base_url: "http://strong.example:9/v1", api_key: none}
  local: {base_url: "http://127.0.0.1:11434/v1", api_key: none}
store: {url: "file:store"}
mode: manual
background: {usd_per_day: 3}
"""
ME = pwd.getpwuid(os.getuid()).pw_name
NAME = "decide-whether-comment-toxic"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cuecard.yaml").write_text(CONFIG)
    learn(tmp_path / "store", *some(TOXIC))
    return tmp_path


@pytest.fixture
def store(folder: Path):
    with Store(folder / "store") as store:
        yield store


@pytest.fixture
def ramping(store):
    """A card with evidence for all of the requests, that nobody has approved."""
    return proven(store, compiled(store, recognised(NAME)), 300, mode="manual")


@pytest.fixture
def cuecard(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def cuecard(*arguments: str, code: int = 0, terminal: str | None = None) -> Result:
        """`terminal`: what is typed at one."""
        if terminal is not None:
            monkeypatch.setattr(proxy.rollouts, "_has_terminal", lambda: True)
        command = [*arguments, "--config", str(folder / "cuecard.yaml")]
        done = CliRunner().invoke(main, command, input=terminal)
        assert done.exit_code == code, done.output
        return done

    return cuecard


def traffic(store) -> float:
    return Registry(store).state(NAME).traffic


# Approving


def test_it_shows_what_that_means_before_it_asks(cuecard, store, ramping):
    text = cuecard("approve", NAME, "--max-traffic", "10%", terminal="n\n", code=1).stdout
    assert max(map(len, text.splitlines())) <= 80
    text = text.replace("\n" + " " * 19, " ")
    said = {line.strip().partition("  ")[0]: line.strip().partition("  ")[2].strip() for line in text.splitlines()}
    assert said["now answered by"] == "fake-strong, at strong.example:9"
    goes = "there go the requests that it answers, and some of the others, to compare"
    assert said["then also by"] == f"fake-nano, at strong.example:9: {goes}"
    assert "judged by" not in said
    assert said["worst loss"] == "at most 1.8 % worse (95 % sure), from 300 pairs; the margin is 2 %"
    assert said["share served"] == "10 % at once, up to 10 % as the evidence grows"
    assert said["background"] == "at most $3.00 a day, for all tasks together"
    assert said["undo"] == f"cuecard pause {NAME} (at once), cuecard rollback {NAME}, cuecard off"
    assert said["mode"].startswith("manual: a card serves once it is approved")
    assert "nothing was changed" in text
    assert (traffic(store), Rollout(store).audit()) == (0.0, [])


def test_a_yes_lets_it_serve_at_once(cuecard, store, ramping):
    assert (
        f"approved: {NAME}@1, at most 10 %" in cuecard("approve", NAME, "--max-traffic", "0.1", terminal="y\n").stdout
    )
    assert traffic(store) == pytest.approx(0.1)
    assert Rollout(store).said(NAME) == Said(f"{NAME}@1", 0.1)
    (entry,) = Rollout(store).audit()
    assert (entry.who, entry.act) == (ME, "approve")


def test_a_script_says_yes_beforehand(cuecard, store, ramping):
    assert "worst loss" in cuecard("approve", NAME, "--yes", "--why", "looks good").stdout
    assert traffic(store) == pytest.approx(0.98)
    assert Rollout(store).audit()[0].why == "looks good"


def test_without_a_terminal_nobody_is_taken_to_agree(cuecard, store, ramping):
    done = cuecard("approve", NAME, code=2)
    assert "nobody can be asked here; --yes approves without" in done.stderr
    assert Rollout(store).audit() == []


def test_a_card_at_another_upstream_is_shown_with_its_host(cuecard, store, folder):
    card = compiled(store, recognised(NAME))
    Registry(store).publish(replace(card, model="local/small"), stage="shadowing", traffic=0.0)
    text = " ".join(cuecard("approve", NAME, "--yes").stdout.split())
    assert "local/small, at 127.0.0.1:11434: there go the requests that it answers" in text


def test_a_judge_is_shown_with_its_host(cuecard, store, ramping):
    ramping.scoring = replace(ramping.scoring, judge="local/judge")
    Proofs(store).put(NAME, ramping)
    text = " ".join(cuecard("approve", NAME, "--yes").stdout.split())
    assert "judged by local/judge, at 127.0.0.1:11434: there go such requests with both answers" in text


def test_an_early_approval_says_that_it_waits_for_evidence(cuecard, store):
    proven(store, compiled(store, recognised(NAME)), 5, mode="manual")
    text = " ".join(cuecard("approve", NAME, "--yes").stdout.split())
    assert "share served nothing yet (at most 100.0% worse, 95 % sure (5 pairs))" in text
    assert "it begins by itself once the evidence carries, up to 100 %" in text
    assert (traffic(store), Rollout(store).said(NAME).approved) == (0.0, f"{NAME}@1")


def test_an_approval_before_any_pair_says_so(cuecard, store):
    compiled(store, recognised(NAME))
    text = cuecard("approve", NAME, "--yes").stdout
    assert "worst loss       nothing is known yet: its proof has not begun" in text


@pytest.mark.parametrize(
    ("mode", "words"),
    [("observe", "nothing is served in it, whatever is approved"), ("auto", "your share is the most that they may")],
)
def test_the_mode_is_said(cuecard, folder, ramping, mode, words):
    (folder / "cuecard.yaml").write_text(CONFIG.replace("manual", mode))
    assert words in " ".join(cuecard("approve", NAME, "--yes").stdout.split())


@pytest.mark.parametrize("share", ["0", "-10%", "150%", "ten", "nan", "1", ""])
def test_what_is_no_share_is_a_mistake(cuecard, store, ramping, share):
    done = cuecard("approve", NAME, f"--max-traffic={share}", "--yes", code=2)
    assert "Invalid value for '--max-traffic'" in done.stderr
    assert "write 1" in done.stderr
    assert Rollout(store).audit() == []


@pytest.mark.parametrize("command", ["approve", "pause", "resume", "rollback"])
def test_without_a_card_it_says_what_is_missing(cuecard, store, command):
    more = ["--yes"] if command == "approve" else []
    assert "no task 'nope' with a card" in cuecard(command, "nope", *more, code=2).stderr
    Registry(store).adopt(recognised(NAME), [])
    done = cuecard(command, NAME, *more, code=2)
    assert done.stderr == f"cuecard: '{NAME}' has no card: it is observing\n"
    assert done.stdout == ""


def test_a_task_that_is_recognised_only_has_no_card(cuecard, store):
    assert "with a card" in cuecard("approve", NAME, "--yes", code=2).stderr


def test_an_ignored_task_is_taken_up_again_first(cuecard, store, ramping):
    Catalogue(store).ignore([NAME])
    done = cuecard("approve", NAME, "--yes", code=2)
    assert f"'{NAME}' is ignored; `cuecard tasks ignore --undo {NAME}` comes first" in done.stderr


# The others


def test_it_is_paused_and_resumed(cuecard, store, ramping):
    cuecard("approve", NAME, "--yes")
    assert "paused, your model answers" in cuecard("pause", NAME, "--why", "a complaint").stdout
    assert traffic(store) == 0.0
    assert Rollout(store).said(NAME).paused == "a complaint"
    assert "resumed" in cuecard("resume", NAME).stdout
    assert Registry(store).state(NAME).stage == "shadowing"


def test_it_is_rolled_back_to_the_card_before_and_to_none(cuecard, store, ramping):
    compiled(store, recognised(NAME))
    assert f"back to {NAME}@1" in cuecard("rollback", NAME).stdout
    assert "no card any more, your model answers" in cuecard("rollback", NAME).stdout
    assert "has no card: it is kept (rolled back)" in cuecard("rollback", NAME, code=2).stderr


def test_the_audit_says_who_did_what_when_and_why(cuecard, store, ramping):
    assert cuecard("audit").stdout == "nobody said anything yet\n"
    cuecard("approve", NAME, "--yes")
    cuecard("pause", NAME, "--why", "a complaint " * 12)
    first, second, *_ = cuecard("audit").stdout.splitlines()
    assert f"UTC  {ME}  approve {NAME}" in first
    assert f"UTC  {ME}  pause {NAME}" in cuecard("audit").stdout
    assert max(map(len, cuecard("audit").stdout.splitlines())) <= 80
    entries = json.loads(cuecard("audit", "--json").stdout)
    assert [(e["who"], e["act"], e["task"]) for e in entries] == [(ME, "approve", NAME), (ME, "pause", NAME)]
    assert entries[0]["what"] == f"{NAME}@1, at most 100 %"
    assert second


def test_who_it_was_is_no_matter_of_the_environment(monkeypatch):
    for name in ("LOGNAME", "USER", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert who() == ME


def test_a_user_without_a_name_has_a_number(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 4_294_900_000)
    assert who() == "uid 4294900000"
