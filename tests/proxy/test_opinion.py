"""What users said, as people and programs read it."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.answers import Answered
from compiler.feedback import Feedback, Tally
from compiler.registry import Registry
from proxy.cli import main
from proxy.opinion import opinion_json, opinion_lines
from proxy.report import build_report
from tests.learned import TOXIC, learn, some
from tests.proven import compiled, proven, recognised

MOOD = recognised("mood")
PAIRS = [("card", 1.0), ("control", 1.0), ("card", 0.5), ("control", 1.0)]


def note(store: Any, said: list[tuple[str, float | None]], task: str = "mood") -> None:
    for n, (arm, score) in enumerate(said):
        route = {"card": "compiled", "control": "original"}.get(arm, arm)
        answered = Answered(0.0, task, 2, route, arm if route != arm else "", "label")  # type: ignore[arg-type]
        Feedback(store).note(f"{task}:{n}", answered, score, lambda kind: 0.02)


def tally(store: Any, task: str = "mood") -> Tally | None:
    return Feedback(store).of(task)


def test_the_means_are_told_by_who_answered_and_where_chance_chose(store):
    note(store, [*PAIRS, ("fallback", 0.0), ("original", None)])
    assert list(opinion_lines(tally(store))) == [
        "feedback, of 1: a card 0.75 (2), your model 1.00 (2 of 3), your model, after a card 0.00 (1)",
        "  where chance chose: card 2 0.75 (2), your model 1.00 (2); against the card 1.2 of 20, from 2 pairs",
    ]


def test_where_nothing_was_compared_or_said_nothing_is_told_of_it(store):
    assert list(opinion_lines(tally(store))) == []
    note(store, [("original", None)])
    assert list(opinion_lines(tally(store))) == ["feedback, of 1: your model - (0 of 1)"]


def test_a_program_gets_numbers(store):
    note(store, [*PAIRS, ("fallback", None)])
    found = opinion_json(tally(store))
    assert found == json.loads(json.dumps(found))
    assert found["routes"]["fallback"] == {"noted": 1, "scored": 0, "mean": None}
    assert found["comparison"]["card"] == {"noted": 2, "scored": 2, "mean": 0.75}
    assert (found["comparison"]["version"], found["comparison"]["pairs"]) == (2, 2)
    assert 1 < found["comparison"]["odds"] < 2
    assert opinion_json(None) is None


@pytest.fixture
def cuecard(store, tmp_path, monkeypatch):
    """As typed in the folder of a server; what it prints."""
    (tmp_path / "cuecard.yaml").write_text("upstreams: {fake: {base_url: 'http://127.0.0.1:9/v1', api_key: none}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    store.folder.rename(tmp_path / ".cuecard")

    def cuecard(*words: str) -> str:
        done = CliRunner().invoke(main, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return cuecard


def test_show_and_report_tell_it(store, cuecard):
    proven(store, compiled(store, MOOD), 10)
    note(store, PAIRS)
    assert "feedback, of 1: a card 0.75 (2), your model 1.00 (2)" in cuecard("show", "mood")
    assert json.loads(cuecard("show", "mood", "--json"))["feedback"]["routes"]["compiled"]["mean"] == 0.75
    assert json.loads(cuecard("report", "--json"))["feedback"]["mood"]["routes"]["original"]["noted"] == 2


def test_of_a_recognised_task_without_a_card_too(store, tmp_path, cuecard):
    learn(tmp_path / ".cuecard", *some(TOXIC))
    (name,) = (one["name"] for one in json.loads(cuecard("tasks", "--json"))["recognised"])
    note(store, [("original", 0.25)], task=name)
    assert "feedback, of 1: your model 0.25 (1)" in cuecard("show", name)
    assert json.loads(cuecard("show", name, "--json"))["feedback"]["routes"]["original"]["mean"] == 0.25


def test_a_report_of_some_days_has_what_was_ever_said(store):
    note(store, PAIRS)
    assert build_report(store).to_json()["feedback"].keys() == {"mood"}
    assert Registry(store).task("mood") is None
