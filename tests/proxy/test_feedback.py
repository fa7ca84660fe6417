"""POST /v1/feedback over real sockets: what is noted, what is refused and how, and that nothing of it goes upstream."""

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from compiler.answers import Answers
from compiler.feedback import Feedback, Tally
from proxy.metrics import Metrics
from tests.fake_upstream import Fault
from tests.proxy.gateway import Proxy
from tests.proxy.noting import ids, learner, say
from tests.proxy.test_broken_store import locked

MOOD = {
    "description": "Tell the mood.",
    "incumbent": "fake-mini",
    "trust": "declared",
    "output": {"kind": "label", "labels": ["good", "bad"]},
}
KEYS = [{"key": "sk-of-shop", "tenant": "shop"}, {"key": "sk-of-lab", "tenant": "lab"}]
SHOP, LAB = ({"X-Cuecard-Key": entry["key"]} for entry in KEYS)
Ask = Callable[..., Awaitable[tuple[str, str]]]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.sync.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("proxy.learner_socket.AGAIN_SECONDS", 0.001)
    monkeypatch.setattr("proxy.feedback.AGAIN", 0.0)


@pytest.fixture
def noted() -> Metrics:
    """The learner's own."""
    return Metrics()


@pytest.fixture
async def proxy(run, fake, tmp_path: Path, noted: Metrics) -> AsyncIterator[Proxy]:
    """With the learner's side of feedback beside it; all answers are good."""
    fake.answers["*"] = "good"
    proxy: Proxy = await run(tasks={"mood": MOOD})
    async with learner(tmp_path, tmp_path / "store", noted):
        yield proxy


@pytest.fixture
def ask(chat) -> Ask:
    async def ask(proxy: Proxy, *, task: str = "mood", headers: Any = None, **more: Any) -> tuple[str, str]:
        """A chat request; the ids of its answer, the one in the body and Cuecard's."""
        named = {"X-Cuecard-Task": task} if task else {}
        async with await proxy.chat(chat(model="fake-mini", **more), **named, **(headers or {})) as answer:
            assert answer.status == 200, await answer.text()
            text = await answer.text()
            body = json.loads(text.partition("data: ")[2].partition("\n")[0] if more.get("stream") else text)
            return ids(answer, body)

    return ask


def tally(proxy: Proxy) -> Tally:
    found = Feedback(proxy.store).of("mood")
    assert found
    return found


def refused(found: tuple[int, dict[str, Any]], status: int, code: str | None, param: str | None = None) -> str:
    """What it says."""
    error = found[1]["error"]
    assert (found[0], error["code"]) == (status, code)
    assert error.keys() == {"message", "type", "param", "code"} and error["param"] == param
    return str(error["message"])


# What is noted


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("which", [0, 1], ids=["the body's id", "ours"])
async def test_an_answer_is_scored_by_either_of_its_ids(proxy, ask, stream, which, fake):
    id_ = (await ask(proxy, stream=stream))[which]
    assert id_.startswith(("chatcmpl-", "cue-")[which])
    asked = len(fake.calls)
    status, found = await say(proxy, {"id": id_, "score": 0.75})
    assert status == 200
    assert found == {
        "object": "feedback",
        "id": id_,
        "task": "mood",
        "route": "original",
        "card": None,
        "score": 0.75,
        "replaced": False,
        "learned": False,
    }
    assert len(fake.calls) == asked, "nothing of it goes upstream"
    assert tally(proxy).routes["original"].mean == 0.75


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("expected", "score"), [("good", 1.0), (" good ", 1.0), ("bad", 0.0), ({"a": 1}, 0.0)])
async def test_a_cards_answer_is_held_against_the_expected_one(proxy, ask, view_of, stream, expected, score, noted):
    card = view_of(proxy.gateway.snapshots.current.tasks["mood"].task, model="fake-nano").card
    await proxy.publish(card)
    theirs, ours = await ask(proxy, stream=stream)
    for id_ in (theirs, ours):
        _, found = await say(proxy, {"id": id_, "expected": expected})
        assert (found["route"], found["card"], found["score"]) == ("compiled", "mood@1", score)
    assert (tally(proxy).routes["compiled"].noted, tally(proxy).routes["compiled"].mean) == (1, score)


async def test_a_word_that_is_said_again_replaces_the_one_before(proxy, ask, noted):
    theirs, ours = await ask(proxy)
    assert not (await say(proxy, {"id": theirs, "score": 0}))[1]["replaced"]
    assert (await say(proxy, {"id": ours, "score": 1}))[1]["replaced"]
    assert tally(proxy).routes["original"].to_json() == [1, 1, 1.0]
    counts = {s.labels["outcome"]: s.value for s in next(iter(noted.feedback.collect())).samples if s.value <= 9}
    assert counts == {"wrong": 1, "again": 1}


async def test_an_expected_free_text_is_noted_and_not_scored(run, ask, fake, tmp_path):
    proxy = await run(tasks={"mood": {**MOOD, "output": None}})
    async with learner(tmp_path, tmp_path / "store", Metrics()):
        status, found = await say(proxy, {"id": (await ask(proxy))[0], "expected": "A long story."})
    assert (status, found["score"]) == (200, None)
    assert tally(proxy).routes["original"].to_json() == [1, 0, 0.0]


async def test_an_answer_that_another_worker_gave_just_now_is_looked_for_twice(proxy, ask, monkeypatch):
    id_, _ = await ask(proxy)
    find, asked = Answers.find, list[str]()

    def late(self: Answers, tenant: str, wanted: str) -> Any:
        asked.append(wanted)
        return find(self, tenant, wanted) if len(asked) > 1 else None

    monkeypatch.setattr(Answers, "find", late)
    assert (await say(proxy, {"id": id_, "score": 1}))[0] == 200
    assert len(asked) == 2


# What is refused


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"id": None}, "id"),
        ({"id": ""}, "id"),
        ({"id": 5}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": "\ud800"}, "id"),
        ({}, "score"),
        ({"score": 1, "expected": "good"}, "score"),
        ({"score": 1.01}, "score"),
        ({"score": -0.01}, "score"),
        ({"score": True}, "score"),
        ({"score": "1"}, "score"),
        ({"score": float("nan")}, "score"),
        ({"score": float("inf")}, "score"),
        ({"score": 10**400}, "score"),
        ({"expected": " "}, "expected"),
        ({"expected": {"a": float("nan")}}, "expected"),
        ({"expected": "\ud800"}, "expected"),
        ({"expected": "x" * 65_537}, "expected"),
        ({"score": 1, "comment": "nice"}, None),
        ({"score": 1, "\ud800": "nice"}, None),
    ],
    ids=lambda value: str(value)[:30].encode("ascii", "backslashreplace").decode() if isinstance(value, dict) else "",
)
async def test_what_is_no_feedback_is_refused_and_says_why(proxy, ask, more, param):
    id_, _ = await ask(proxy)
    message = refused(await say(proxy, {"id": id_, **more}), 400, None, param)
    assert (param or "unknown parameter") in message
    assert Feedback(proxy.store).tasks() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff\xfe", b"[" * 100_000, b'{"id": "a", "score": 1'])
async def test_a_body_that_is_no_json_object_is_refused(proxy, body):
    headers = {"Content-Type": "application/json"}
    async with proxy.http.post(f"{proxy.url}/v1/feedback", data=body, headers=headers) as answer:
        refused((answer.status, await answer.json()), 400, "invalid_json")


async def test_a_body_of_any_size_is_refused_beyond_a_bound(proxy):
    assert (await say(proxy, {"id": "a", "expected": ["x" * 300_000]}))[0] == 413


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({"X-Cuecard-Bypass": "1"}, {}),
        ({"X-Cuecard-No-Store": "1"}, {}),
        ({}, {"store": False}),
        ({}, {"task": ""}),
    ],
    ids=["bypass", "no store", "store: false", "no task"],
)
async def test_answers_of_which_nothing_may_be_kept_or_of_no_task_are_unknown(proxy, ask, headers, more):
    for id_ in await ask(proxy, headers=headers, **more):
        assert "X-Cuecard-No-Store" in refused(await say(proxy, {"id": id_, "score": 1}), 404, "answer_not_found", "id")
    with Answers(proxy.store.folder) as answers:
        assert answers._store.keys("") == []


async def test_an_answer_that_was_cut_off_is_neither_right_nor_wrong(proxy, fake, ask):
    fake.answers["*"] = {"content": "good", "finish_reason": "length"}
    assert (await say(proxy, {"id": (await ask(proxy))[0], "expected": "good"}))[1]["score"] is None


async def test_answers_that_failed_or_broke_off_are_unknown(proxy, fake, chat):
    fake.queue("*", Fault.respond(500), Fault.cut(2, "good day"))
    for stream in (False, True):
        answer = await proxy.chat(chat(model="fake-mini", stream=stream), **{"X-Cuecard-Task": "mood"})
        with suppress(aiohttp.ClientError):
            await answer.read()
        id_ = answer.headers["X-Cuecard-Request-Id"]
        refused(await say(proxy, {"id": id_, "score": 1}), 404, "answer_not_found", "id")


async def test_another_tenants_answer_is_as_unknown_as_none(run, ask, tmp_path, fake):
    proxy = await run(tasks={"mood": MOOD}, auth={"keys": KEYS})
    async with learner(tmp_path, tmp_path / "store", Metrics()):
        for id_ in await ask(proxy, headers=SHOP):
            theirs = await say(proxy, {"id": id_, "score": 1}, **LAB)
            assert theirs == await say(proxy, {"id": "chatcmpl-none", "score": 1}, **LAB)
            refused(theirs, 404, "answer_not_found", "id")
            assert (await say(proxy, {"id": id_, "score": 1}, **SHOP))[0] == 200


async def test_who_may_not_call_may_not_say_anything_either(run, tmp_path):
    proxy = await run(auth={"keys": KEYS})
    refused(await say(proxy, {"id": "a", "score": 1}), 401, "invalid_api_key")
    refused(await say(proxy, {"id": "a", "score": 1}, Origin="https://evil.example", **SHOP), 403, "forbidden")
    async with proxy.http.post(f"{proxy.url}/v1/feedback", data='{"id": "a", "score": 1}', headers=SHOP) as answer:
        assert answer.status == 400, "a page of another origin can send text without asking first"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/feedback"),
        ("PUT", "/v1/feedback"),
        ("DELETE", "/v1/feedback"),
        ("POST", "/v1/feedback/"),
        ("POST", "/v1/feedback/chatcmpl-1"),
        ("POST", "/v1/%66eedback/"),
        ("POST", "/v1/%66eedback"),
        ("POST", "/v1/feedback?id=a"),
    ],
)
async def test_no_way_to_write_it_leads_upstream(proxy, fake, method, path):
    url = URL(proxy.url + path, encoded=True)
    async with proxy.http.request(method, url, json={"score": 1}) as answer:
        assert answer.status in (400, 404)
        assert "X-Cuecard-Error" in answer.headers
    assert fake.calls == []


# Where nobody notes


async def test_without_a_learner_it_may_be_said_again_later(run, ask, monkeypatch, tmp_path):
    monkeypatch.setattr("proxy.feedback.PATIENCE", 0.05)
    proxy = await run(tasks={"mood": MOOD})
    id_, _ = await ask(proxy)
    async with proxy.http.post(f"{proxy.url}/v1/feedback", json={"id": id_, "score": 1}) as answer:
        refused((answer.status, await answer.json()), 503, "learner_unavailable")
        assert answer.headers["Retry-After"] == "5"
    monkeypatch.setattr("proxy.feedback.PATIENCE", 10.0)
    async with learner(tmp_path, tmp_path / "store", Metrics()):
        assert (await say(proxy, {"id": id_, "score": 1}))[1]["replaced"] is False
    assert tally(proxy).routes["original"].noted == 1


async def test_where_the_store_can_not_be_used_it_says_so(proxy, ask, tmp_path, monkeypatch):
    monkeypatch.setattr("compiler.store.LOCK_SECONDS", 0.05)
    id_, _ = await ask(proxy)
    assert (await say(proxy, {"id": id_, "score": 0}))[0] == 200
    with locked(tmp_path):
        refused(await say(proxy, {"id": id_, "score": 1}), 503, "store_unavailable")
    assert tally(proxy).routes["original"].mean == 0.0
    assert (await say(proxy, {"id": id_, "score": 1}))[0] == 200


async def test_answers_that_can_not_be_kept_are_counted_and_one_line_says_so(
    proxy, ask, tmp_path, monkeypatch, noted, caplog
):
    monkeypatch.setattr("compiler.store.LOCK_SECONDS", 0.05)
    before, _ = await ask(proxy)
    assert (await say(proxy, {"id": before, "score": 0}))[0] == 200
    with locked(tmp_path, "store/answers"):
        for _ in range(2):
            lost, _ = await ask(proxy)
            refused(await say(proxy, {"id": lost, "score": 1}), 404, "answer_not_found", "id")
        assert (await say(proxy, {"id": before, "score": 1}))[0] == 200
    after, _ = await ask(proxy)
    assert (await say(proxy, {"id": after, "score": 1}))[0] == 200
    assert noted.dropped.labels("answer_store")._value.get() == 2
    assert sum("are not kept until this is mended" in message for message in caplog.messages) == 1


async def test_a_store_that_was_deleted_is_begun_anew(proxy, ask, tmp_path):
    before, _ = await ask(proxy)
    assert (await say(proxy, {"id": before, "score": 1}))[0] == 200
    shutil.rmtree(tmp_path / "store" / "answers")
    after, _ = await ask(proxy)
    assert (await say(proxy, {"id": after, "score": 1}))[0] == 200
    assert (await say(proxy, {"id": before, "score": 1}))[0] == 404
