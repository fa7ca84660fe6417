"""The learner's side: what it keeps of what it is offered, how that is redacted, and what if it can't be kept."""

import asyncio
import gzip
import json
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from compiler.observation import FOLDER, Observation, Observations
from proxy import logs
from proxy.answer import read_answer
from proxy.capture import SOCKET, Offer
from proxy.capture_server import Recorder, recording
from proxy.metrics import Metrics
from tests.proxy.capturing import CARD, MAIL, PATIENCE, PLANTED, Kept, decoded, keep, recorder, text_of
from tests.proxy.test_broken_store import FAULTS

BROKEN, MENDED = "nothing is captured until this is mended", "requests are captured again"
CALL = {"id": "1", "type": "function", "function": {"name": "send", "arguments": json.dumps({"to": MAIL})}}


def offer(text: str = "so happy", answer: Any = "good", **more: Any) -> Offer:
    """`answer`: a text, or the choices as they are; `request`: more of the request, or its bytes."""
    request, finish = more.pop("request", {}), more.pop("finish", "stop")
    body = {"model": "gpt-big-2025-11-02", "messages": [{"role": "user", "content": text}], **(request or {})}
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": finish}
    choices = answer if isinstance(answer, list) else [choice]
    fields: dict[str, Any] = {
        "time": time.time(),
        "tenant": "default",
        "structure": "s1",
        "template": "",
        "model": "fake-mini",
        "streamed": False,
        "request_encoding": "",
        "answer_encoding": "",
        "usage": [10, 5, 3, 0],
        "cost": 0.25,
        "seconds": 1.5,
        "id": "cue-1",
        "request": json.dumps(body).encode(),
        "answer": json.dumps({"model": "fake-mini", "choices": choices}).encode(),
    }
    return Offer(**{**fields, **more})


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.store.LOCK_SECONDS", 0.2)
    monkeypatch.setattr("proxy.capture_server.AGAIN_SECONDS", 0.0)
    monkeypatch.setattr("proxy.capture_server.STOP_SECONDS", 0.2)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def into(tmp_path: Path, metrics: Metrics) -> AsyncIterator[Recorder]:
    into = recorder(tmp_path, metrics)
    yield into
    await into.close()


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[], list[Observation]]:
    return Kept(tmp_path).now


def dropped(metrics: Metrics) -> dict[str, float]:
    samples = next(iter(metrics.dropped.collect())).samples
    return {s.labels["reason"]: s.value for s in samples if s.name.endswith("_total") and s.value}


def told(caplog: pytest.LogCaptureFixture, what: str) -> int:
    return sum(what in message for message in caplog.messages)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)


# Redaction


async def test_request_and_answer_are_redacted_with_one_map(into, kept):
    choice = {"message": {"content": f"Write to {MAIL}.", "tool_calls": [CALL]}, "finish_reason": "stop"}
    await keep(into, offer(f"I am {MAIL}, my card is {CARD}", [choice]))
    (found,) = kept()
    assert MAIL not in str(found)
    assert CARD not in str(found)
    mail = found.answer.removeprefix("Write to ").rstrip(".")
    assert "@" in mail
    assert text_of(found).startswith(f"I am {mail}, my card is ")
    assert json.loads(found.tool_calls[0]["function"]["arguments"]) == {"to": mail}


async def test_every_part_of_a_request_is_redacted(into, kept):
    tool = {"type": "function", "function": {"name": "f", "description": f"Mails {MAIL}", "parameters": {}}}
    await keep(into, offer(request={"tools": [tool], "stop": [MAIL]}))
    (found,) = kept()
    assert MAIL not in str(found)
    assert set(found.request) == {"model", "messages", "tools", "stop"}


async def test_a_models_name_is_no_text(tmp_path, metrics, kept):
    into = recorder(
        tmp_path, metrics, redact=lambda said, _: json.loads(json.dumps(said).replace("2025-11-02", "date"))
    )
    await keep(into, offer("It was on 2025-11-02."))
    (found,) = kept()
    assert (found.request["model"], text_of(found)) == ("gpt-big-2025-11-02", "It was on date.")
    await into.close()


async def test_without_redaction_it_is_kept_as_it_was_said(tmp_path, metrics, kept):
    into = recorder(tmp_path, metrics, redact=None)
    await keep(into, offer(f"I am {MAIL}"))
    assert text_of(kept()[0]) == f"I am {MAIL}"
    await into.close()


@pytest.mark.parametrize("broken", ["redacting", "reading"])
async def test_what_can_not_be_read_or_redacted_is_not_kept(tmp_path, metrics, kept, broken, monkeypatch):
    def fails(values: Sequence[Any], *ignored: Any, **more: Any) -> Any:
        if "break" in str(values):
            raise RuntimeError(f"no sense in {values}")
        return original(values, **more)

    original: Any = list if broken == "redacting" else read_answer
    into = recorder(tmp_path, metrics, redact=fails if broken == "redacting" else None)
    if broken == "reading":
        monkeypatch.setattr("proxy.capture_server.read_answer", fails)
    await keep(into, offer("before"), offer("the text", "break"), offer("after"))
    assert [text_of(o) for o in kept()] == ["before", "after"]
    assert dropped(metrics) == {"capture": 1}
    await into.close()


async def test_no_text_is_logged_when_something_breaks(tmp_path, metrics, capfd):
    def fails(values: Sequence[Any], _: Any) -> list[Any]:
        raise RuntimeError(f"no sense in {values}")

    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    logs.set_up("json")
    try:
        into = recorder(tmp_path, metrics, redact=fails)
        await keep(into, offer("the very text"))
        await into.close()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    shown = capfd.readouterr().err
    assert "an observation could not be read" in shown
    assert "RuntimeError" in shown
    assert "the very text" not in shown


# What is no example


IMAGE = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:..."}}]}]}
PARTS = {"messages": [{"role": "user", "content": [{"type": "text", "text": "so happy"}]}]}


@pytest.mark.parametrize(
    ("offered", "reason"),
    [
        (offer(finish="length"), "unfinished"),
        (offer(finish="content_filter"), "unfinished"),
        (offer(finish=None), "unfinished"),
        (offer(answer=""), "unfinished"),
        (offer(answer=[{"message": {"content": "x"}, "finish_reason": "stop"}] * 2), "unfinished"),
        (offer()._replace(answer=b"no json"), "unfinished"),
        (offer()._replace(streamed=True, answer=b'data: {"error": {}}\n\n'), "unfinished"),
        (offer()._replace(answer_encoding="zstd"), "unfinished"),
        (offer()._replace(request=b"no json"), "not_text"),
        (offer()._replace(request=b'{"messages": ["x"]}'), "not_text"),
        (offer(request=IMAGE), "not_text"),
        (offer()._replace(request=gzip.compress(b"x" * 300_000), request_encoding="gzip"), "too_large"),
        (offer()._replace(answer=gzip.compress(b"x" * 300_000), answer_encoding="gzip"), "too_large"),
    ],
)
async def test_what_is_no_example_is_counted_and_not_kept(into, kept, metrics, offered, reason):
    await keep(into, offered, offer("after"))
    assert [text_of(o) for o in kept()] == ["after"]
    assert dropped(metrics) == {reason: 1}


async def test_texts_in_parts_and_turns_with_calls_are_text(into, kept):
    turns = {"messages": [{"role": "assistant", "content": None, "tool_calls": [CALL]}, *PARTS["messages"]]}
    await keep(into, offer(request=PARTS), offer(request=turns))
    assert len(kept()) == 2


async def test_what_was_forgotten_on_its_way_is_counted(into, kept, metrics, tmp_path):
    late = offer("late", tenant="shop")
    with Observations(tmp_path, retention_days=1) as observations:
        observations.forget(tenant="shop")
    await keep(into, late, offer("ours"))
    assert [text_of(o) for o in kept()] == ["ours"]
    assert dropped(metrics) == {"forgotten": 1}


# When it can't be kept


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
async def test_a_broken_store_stops_capturing_with_one_line_and_it_goes_on_with_one(disk, metrics, fault, caplog):
    folder = disk / "store"
    into, kept = recorder(folder, metrics), Kept(folder)
    await keep(into, offer("before"))
    with fault(disk, f"store/{FOLDER}"):
        for n in range(5):
            await keep(into, offer(f"{n} " + "x" * 100_000))
        assert dropped(metrics) == {"store": 5}
        assert told(caplog, BROKEN) == 1
    await keep(into, offer("after"))
    assert [text_of(o) for o in kept.now()] == ["before", "after"]
    assert (told(caplog, BROKEN), told(caplog, MENDED)) == (1, 1)
    assert dropped(metrics) == {"store": 5}
    await into.close()


async def test_a_broken_store_is_not_tried_for_every_offer(tmp_path, metrics, monkeypatch):
    monkeypatch.setattr("proxy.capture_server.AGAIN_SECONDS", 1_000.0)
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    tried = 0

    def opening() -> Observations:
        nonlocal tried
        tried += 1
        return Observations(tmp_path, retention_days=1)

    into = recorder(tmp_path, metrics)
    into._open = opening
    for _ in range(4):
        await keep(into, offer())
    assert tried == 1
    assert dropped(metrics) == {"store": 4}
    await into.close()


async def test_a_bug_in_keeping_is_counted_and_the_next_is_kept(into, kept, metrics, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(Observations, "add", lambda self, batch: 1 // 0)
        await keep(into, offer())
    await keep(into, offer("after"))
    assert [text_of(o) for o in kept()] == ["after"]
    assert dropped(metrics) == {"capture": 1}


async def test_a_folder_that_is_deleted_is_begun_anew(into, kept, tmp_path):
    await keep(into, offer("before"))
    shutil.rmtree(tmp_path / FOLDER)
    await keep(into, offer("after"))
    assert [text_of(o) for o in kept()] == ["after"]


# The socket


async def test_a_worker_that_dies_in_the_middle_of_an_offer_leaves_nothing_and_the_next_is_heard(
    tmp_path, metrics, kept, caplog
):
    async with recording(tmp_path / SOCKET, recorder(tmp_path, metrics)):
        whole = b"".join(offer("half").frame())
        _, dying = await asyncio.open_unix_connection(str(tmp_path / SOCKET))
        dying.write(whole + whole[: len(whole) // 2])
        await dying.drain()
        dying.transport.abort()
        _, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET))
        writer.writelines(offer("next").frame())
        await until(lambda: "next" in map(text_of, kept()))
        writer.close()
    assert sorted(map(text_of, kept())) in (["half", "next"], ["next"])  # an abort may throw away what was sent
    assert dropped(metrics) == {}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_what_was_sent_before_the_end_is_kept(tmp_path, metrics, kept):
    async with recording(tmp_path / SOCKET, recorder(tmp_path, metrics)):
        _, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET))
        writer.writelines(offer("0").frame())
        await until(lambda: len(kept()) == 1)
        for n in range(1, 100):
            writer.writelines(offer(f"{n}").frame())
        await writer.drain()
        writer.close()
    assert [text_of(o) for o in kept()] == [f"{n}" for n in range(100)]


async def test_a_learner_that_can_not_keep_up_lets_its_workers_wait(tmp_path, metrics, monkeypatch):
    kept_up = asyncio.Event()

    async def busy(self: Recorder) -> None:
        await kept_up.wait()

    monkeypatch.setattr(Recorder, "run", busy)
    sent = 0

    async def send(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.transport.set_write_buffer_limits(0)
        while True:
            writer.writelines(offer("x" * 50_000).frame())
            await writer.drain()
            sent += 1

    into = recorder(tmp_path, metrics)
    async with recording(tmp_path / SOCKET, into):
        _, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET))
        sending = asyncio.create_task(send(writer))
        await until(into._offers.full)
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert sent < 100  # what it holds itself, and a few in the socket
        assert not sending.done()
        sending.cancel()
        writer.transport.abort()


# The files


async def plant(into: Recorder) -> None:
    """In every place of a request and an answer where it may stand, in short rows and in long ones."""
    for size in (0, 5_000):
        for name, value in PLANTED.items():
            text = f"{'x ' * size}My {name} is {value}."
            called = {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"v": value})}}
            tool = {"type": "function", "function": {"name": "f", "description": text}}
            said = {"content": text, "tool_calls": [called]}
            event = {"choices": [{"index": 0, "delta": said, "finish_reason": "stop"}]}
            await keep(
                into,
                offer(text, text),
                offer(text, [{"message": said, "finish_reason": "tool_calls"}], request={"tools": [tool]}),
                offer(request={"messages": [{"role": "tool", "content": [{"type": "text", "text": text}]}]}),
                offer(text)._replace(streamed=True, answer=b"data: " + json.dumps(event).encode() + b"\n\n"),
            )


@pytest.mark.parametrize("redacting", [True, False])
async def test_nothing_planted_is_in_any_row_or_page(tmp_path, metrics, redacting):
    into = recorder(tmp_path, metrics) if redacting else recorder(tmp_path, metrics, redact=None)
    await plant(into)
    with Observations(tmp_path, retention_days=1) as observations:
        assert sum(observations.census().values()) == 48
    text = decoded(tmp_path / FOLDER)
    found = {name for name, value in PLANTED.items() if value in text}
    assert found == (set() if redacting else set(PLANTED))  # the control: they would be found
    assert dropped(metrics) == {}
    await into.close()
