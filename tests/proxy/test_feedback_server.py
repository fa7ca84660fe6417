"""The learner's side: what is expected of an answer is kept beside its request, redacted alike, and learned from."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiler.answers import Answered, key_of
from compiler.example import Example
from compiler.observation import Observation, Observations
from compiler.redaction.redact import Redactor
from compiler.registry import Registry
from compiler.store import Store
from proxy.answered import Kept, Word
from proxy.feedback_server import Noter
from proxy.metrics import Metrics
from proxy.surrogates import Surrogates
from tests.proven import recognised
from tests.proxy.capturing import MAIL, decoded, keep, recorder, text_of
from tests.proxy.noting import noter
from tests.proxy.test_capture_server import offer

TASK = recognised("mood")
SECRET = "Tr0ub4dor-and-3"


@pytest.fixture
def surrogates() -> Surrogates:
    return Surrogates()


@pytest.fixture
def noted() -> Metrics:
    return Metrics()


@pytest.fixture
def learner(tmp_path: Path, noted: Metrics, surrogates: Surrogates) -> Iterator[Noter]:
    one = noter(tmp_path, noted, surrogates)
    yield one
    one.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Store(tmp_path) as store:
        yield Registry(store)


def kept(id_: str = "cue-1", *, tenant: str = "default", task: str = "mood", body: str = "", **more: Any) -> Kept:
    answered = Answered(time.time(), task, 0, "original", "", "")
    return Kept(tenant, id_, "", answered, False, "", body.encode())._replace(**more)


def expect(learner: Noter, expected: str | None, *, id_: str = "cue-1", score: float | None = None) -> dict[str, Any]:
    (found,) = learner.take([Word("default", id_, score, expected)])
    return found


async def record(folder: Path, surrogates: Surrogates, text: str, answer: str = "good", **more: Any) -> None:
    into = recorder(folder, Metrics())
    into._surrogates = surrogates
    await keep(into, offer(text, answer, **more))
    await into.close()


def observed(folder: Path) -> Observation:
    with Observations(folder, retention_days=14) as observations:
        return [*observations.since()][-1][1]


# What is learned


async def test_what_is_expected_stands_beside_the_request_that_it_is_about(learner, surrogates, tmp_path):
    await record(tmp_path, surrogates, "first", id="cue-0")
    await record(tmp_path, surrogates, "second")
    learner.take([kept("cue-0"), kept()])
    assert expect(learner, "bad")["learned"] is True
    assert (text_of(observed(tmp_path)), observed(tmp_path).expected) == ("second", "bad")


async def test_a_score_alone_teaches_nothing_and_takes_back_what_was_expected(learner, surrogates, tmp_path):
    await record(tmp_path, surrogates, "so happy")
    learner.take([kept()])
    assert expect(learner, None, score=0.0)["learned"] is False
    assert expect(learner, "bad")["learned"] is True
    assert expect(learner, None, score=1.0)["learned"] is False
    assert observed(tmp_path).expected is None


async def test_it_is_an_example_for_the_next_compile(learner, surrogates, tmp_path, registry):
    await record(tmp_path, surrogates, "so happy")
    registry.adopt(TASK, [Example("so happy", "good"), Example("other", "good")])
    learner.take([kept()])
    expect(learner, "bad")
    assert registry.examples("mood") == [Example("so happy", "bad"), Example("other", "good")]
    expect(learner, None, score=1.0)
    assert registry.examples("mood")[0] == Example("so happy", "good")


async def test_what_was_expected_before_it_was_recorded_is_learned_a_moment_later(
    learner, surrogates, tmp_path, registry, monkeypatch
):
    registry.adopt(TASK, [Example("so happy", "good")])
    learner.take([kept()])
    assert expect(learner, "bad")["learned"] is False
    assert learner.waits
    await record(tmp_path, surrogates, "so happy")
    learner.take([])
    assert (observed(tmp_path).expected, learner.waits) == ("bad", False)
    assert registry.examples("mood") == [Example("so happy", "bad")]

    monkeypatch.setattr("proxy.feedback_server.EARLY_SECONDS", 0.0)
    learner.take([kept("cue-2")])
    expect(learner, "bad", id_="cue-2")
    assert not learner.waits, "most answers are not recorded"


def test_no_cards_answer_is_waited_for(learner):
    one = kept()
    learner.take([one._replace(answered=one.answered._replace(route="compiled"))])
    expect(learner, "bad")
    assert not learner.waits


async def test_what_was_expected_early_and_taken_back_is_not_learned(learner, surrogates, tmp_path):
    learner.take([kept()])
    expect(learner, "bad")
    expect(learner, None, score=1.0)
    await record(tmp_path, surrogates, "so happy")
    learner.take([])
    assert observed(tmp_path).expected is None


def test_where_nothing_is_captured_nothing_is_learned(tmp_path, noted, surrogates, learner, monkeypatch):
    opened = learner._open
    monkeypatch.setattr(learner, "_open", lambda: opened()._replace(observations=None))
    learner.take([kept()])
    assert expect(learner, "bad")["learned"] is False


# Redaction


async def test_it_is_redacted_as_the_request_was(learner, surrogates, tmp_path):
    await record(tmp_path, surrogates, f"Who wrote? From: {MAIL}", json.dumps({"mail": MAIL}))
    learner.take([kept()])
    assert expect(learner, json.dumps({"mail": MAIL, "cc": "bob@else.example.org"}))["learned"] is True
    found = observed(tmp_path)
    assert found.expected and json.loads(found.expected)["mail"] == json.loads(found.answer)["mail"] != MAIL
    assert MAIL not in decoded(tmp_path / "observations")
    assert "bob@else" not in decoded(tmp_path / "observations")


async def test_a_password_is_known_again_where_nothing_tells_that_it_is_one(learner, surrogates, tmp_path):
    await record(tmp_path, surrogates, f"password: {SECRET}", "good")
    learner.take([kept()])
    expect(learner, SECRET)
    found = observed(tmp_path)
    assert found.expected and f"password: {found.expected}" == text_of(found) != f"password: {SECRET}"


async def test_once_nobody_knows_how_the_request_was_redacted_nothing_is_kept(learner, surrogates, tmp_path):
    """As after a restart of the learner."""
    await record(tmp_path, Surrogates(), f"password: {SECRET}")
    learner.take([kept()])
    found = expect(learner, SECRET)
    assert (found["learned"], observed(tmp_path).expected) == (False, None)
    for folder in (tmp_path, tmp_path / "observations", tmp_path / "answers"):
        assert SECRET not in decoded(folder)


async def test_where_nothing_had_to_be_redacted_it_can_be_kept_by_any_learner(learner, tmp_path):
    await record(tmp_path, Surrogates(), "so happy")
    learner.take([kept()])
    assert expect(learner, f"bad, says {MAIL}")["learned"] is True
    found = observed(tmp_path).expected
    assert found and found.startswith("bad, says ") and MAIL not in found


async def test_without_redaction_it_is_kept_as_it_was_said(tmp_path, noted):
    surrogates = Surrogates(None)
    learner = noter(tmp_path, noted, surrogates)
    await record(tmp_path, surrogates, f"From: {MAIL}")
    learner.take([kept()])
    expect(learner, MAIL)
    assert observed(tmp_path).expected == MAIL
    learner.close()


def test_of_the_maps_the_newest_are_known(surrogates, monkeypatch, tmp_path):
    monkeypatch.setattr("proxy.surrogates.AT_MOST", 2)
    for n in range(3):
        redactor = Redactor()
        redactor.text(MAIL)
        surrogates.keep(f"{n}", redactor)
    assert list(surrogates._of) == ["1", "2"]


# What breaks


def test_no_tenant_can_teach_anything_of_anothers(learner, tmp_path):
    learner.take([kept(tenant="shop")])
    assert expect(learner, "bad") == {"error": "unknown"}
    assert key_of("shop", "cue-1") != key_of("default", "cue-1")


def test_a_bug_in_noting_is_told_and_the_next_word_is_noted(learner, monkeypatch, caplog):
    learner.take([kept()])
    with monkeypatch.context() as broken:
        broken.setattr("proxy.feedback_server._score", lambda *args: 1 / 0)
        assert expect(learner, "a secret") == {"error": "internal"}
    assert "task" in expect(learner, "bad")
    assert "a secret" not in caplog.text


def test_a_bug_in_reading_an_answer_keeps_the_words_of_others_coming(learner, monkeypatch, noted):
    learner.take([kept()])
    with monkeypatch.context() as broken:
        broken.setattr("proxy.feedback_server._given", lambda kept: 1 / 0)
        assert learner.take([kept("cue-2"), Word("default", "cue-1", 1.0, None)])[1]["score"] == 1.0
    assert noted.dropped.labels("answer_store")._value.get() == 1


async def test_a_bug_in_learning_is_no_end(learner, surrogates, tmp_path, monkeypatch):
    learner.take([kept()])
    expect(learner, "bad")
    await record(tmp_path, surrogates, "so happy")
    monkeypatch.setattr(Surrogates, "redacted", lambda *args: 1 / 0)
    learner.take([])
    assert not learner.waits
    assert learner.take([kept("cue-3")]) == [{}]


@pytest.mark.parametrize("body", ["", "{", "[" * 100_000, '{"choices": 5}', '{"choices": [{"message": 5}]}'])
def test_an_answer_that_can_not_be_read_is_neither_right_nor_wrong(learner, body):
    one = kept(body=body)
    learner.take([one._replace(answered=one.answered._replace(kind="label"))])
    assert expect(learner, "good")["score"] is None
