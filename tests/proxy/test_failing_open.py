"""Whatever breaks inside Cuecard, the request is answered: as it came, or by the task's current model."""

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from compiler.ledger import Ledger
from compiler.registry import TaskView
from proxy.breaker import FAILED_IN_A_ROW
from tests.fake_upstream import Fault
from tests.proxy.gateway import Proxy

MOOD = {
    "description": "Tell the mood.",
    "incumbent": "fake-mini",
    "trust": "declared",
    "output": {"kind": "label", "labels": ["good", "bad"]},
}
ViewOf = Callable[..., TaskView]

BEFORE = ("proxy.chat.name_task", "proxy.gateway.decide", "proxy.plan.rewrite")  # recognise, decide, rewrite
CHECKS = {False: "proxy.relay.check", True: "proxy.relay.hold"}  # by whether the answer is streamed
CAPTURE = (
    "proxy.capture._may_be_kept",
    "proxy.capture.structure_key",
    "proxy.sampler.Sampler.take",
    "proxy.capture.time",
)
METER = ("proxy.meter.Meter.price", "proxy.meter.Meter.label", "proxy.exchange.Exchange.read")


class Bug(Exception):
    pass


def broken(*args: object, **more: object) -> Any:
    raise Bug("sk-canary-in-a-message")


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A published card is seen at once."""
    monkeypatch.setattr("proxy.sync.EVERY_SECONDS", 0.01)
    monkeypatch.setattr("proxy.sync.LOOK_SECONDS", 0.01)


@pytest.fixture
async def proxy(run, fake, view_of) -> Proxy:
    """With a task whose card answers `good`, on fake-nano; its current model says `bad`."""
    fake.answers.update({"fake-nano": "good", "fake-mini": "bad"})
    proxy: Proxy = await run(tasks={"mood": MOOD})
    await publish(proxy, view_of)
    return proxy


async def publish(proxy: Proxy, view_of: ViewOf, name: str = "mood") -> None:
    task = proxy.gateway.snapshots.current.tasks[name].task
    card = view_of(task, model="fake-nano").card
    assert card
    await proxy.publish(card)


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def said(proxy: Proxy, body: dict[str, Any], task: str = "mood") -> tuple[str, str, dict[str, Any]]:
    """(route, text, what the upstream got)."""
    async with await proxy.chat(body, **{"X-Cuecard-Task": task}) as answer:
        raw = await answer.read()
        assert answer.status == 200, raw
    if body.get("stream"):
        events = [json.loads(e[6:]) for e in raw.split(b"\n\n") if e.startswith(b"data: {")]
        text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])
    else:
        text = json.loads(raw)["choices"][0]["message"]["content"]
    return answer.headers["X-Cuecard-Route"], text, proxy.fake.calls[-1].json


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_without_a_fault_the_card_answers(proxy, chat, stream):
    assert (await said(proxy, chat(model="fake-mini", stream=stream)))[:2] == ("compiled", "good")


@pytest.mark.parametrize("place", BEFORE)
async def test_a_bug_before_the_upstream_leaves_the_request_as_it_came(proxy, chat, stream, place, monkeypatch, caplog):
    monkeypatch.setattr(place, broken)
    body = chat(model="fake-mini", stream=stream)
    assert await said(proxy, body) == ("original", "bad", body)
    await proxy.metered("original_total", 1, reason="internal_error")
    (line,) = complaints(caplog)
    assert "is passed on as it came" in line


async def test_a_bug_in_checking_an_answer_makes_the_current_model_answer(proxy, chat, stream, monkeypatch, caplog):
    monkeypatch.setattr(CHECKS[stream], broken)
    assert (await said(proxy, chat(model="fake-mini", stream=stream)))[:2] == ("fallback", "bad")
    await proxy.metered("fallbacks_total", 1, task="mood", reason="internal_error")
    (line,) = complaints(caplog)
    assert "the current model answers" in line


@pytest.mark.parametrize("place", METER)
@pytest.mark.parametrize("named", [True, False])
async def test_a_bug_in_metering_takes_no_answer_from_a_client(proxy, chat, stream, named, place, monkeypatch, caplog):
    monkeypatch.setattr(place, broken)
    body = chat(model="fake-mini", stream=stream, **({} if named else {"n": 2}))
    route, text, _ = await said(proxy, body)
    assert (route, text) == (("compiled", "good") if named else ("original", "badbad" if stream else "bad"))
    async with asyncio.timeout(10):
        while not complaints(caplog):
            await asyncio.sleep(0.005)
    assert proxy.metric("observations_dropped_total", reason="meter") == 1
    await proxy.runner.cleanup()
    (sums,) = [sums for _, _, sums in Ledger(proxy.store).rows()]
    assert (sums.unmetered + sums.calls, sums.unmetered + sums.unpriced, sums.cost) == (1, 1, 0.0), "it is not lost"


@pytest.mark.parametrize("place", CAPTURE)
async def test_a_bug_in_capturing_takes_no_answer_from_a_client(proxy, fake, chat, stream, place, monkeypatch, caplog):
    body = chat(model="fake-mini", stream=stream, n=2)
    with monkeypatch.context() as broken_now:
        broken_now.setattr(place, broken)
        assert await said(proxy, body) == ("original", "badbad" if stream else "bad", body)
        await proxy.metered("observations_dropped_total", 1, reason="capture")
    (line,) = complaints(caplog)
    assert "could not be offered" in line
    await said(proxy, body)
    await proxy.metered("requests_total", 2, route="original", code="200")
    assert len(proxy.gateway.capture._waiting) == 1


async def test_a_bug_in_booking_is_told_by_a_metric_and_keeps_the_next_request_whole(proxy, chat, monkeypatch, caplog):
    with monkeypatch.context() as broken_now:
        broken_now.setattr("proxy.meter.Meter._spent", broken)
        await said(proxy, chat(model="fake-mini"))
    assert proxy.metric("observations_dropped_total", reason="meter") == 1
    await said(proxy, chat(model="fake-mini"))
    await proxy.metered("requests_total", 1, task="mood", route="compiled")


async def test_a_bug_in_the_middle_of_an_answer_cuts_it_and_adds_nothing(proxy, fake, chat, monkeypatch, caplog):
    fake.answers["fake-mini"] = "one two three four five"
    monkeypatch.setattr("proxy.exchange.Exchange.keep", broken)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    body = json.dumps(chat("x", model="fake-mini", stream=True)).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    raw = b""
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            while piece := await reader.read(1_000):
                raw += piece
    writer.close()
    assert raw.startswith(b"HTTP/1.1 200")
    assert raw.count(b"HTTP/1.1") == 1
    assert not raw.endswith(b"0\r\n\r\n")  # the client sees that it isn't whole


async def test_no_bugs_message_is_logged_since_it_may_quote_the_request(proxy, chat, monkeypatch, capfd):
    monkeypatch.setattr("proxy.gateway.decide", broken)
    await said(proxy, chat(model="fake-mini"))
    assert "sk-canary" not in capfd.readouterr().err


async def test_a_candidate_that_keeps_failing_is_not_asked_any_more(proxy, fake, chat, stream):
    fake.answers["fake-nano"] = Fault.respond(500)
    body = chat(model="fake-mini", stream=stream)
    for _ in range(FAILED_IN_A_ROW):
        assert (await said(proxy, body))[:2] == ("fallback", "bad")
    asked = len(fake.calls_to("fake-nano"))
    for _ in range(3):
        assert await said(proxy, body) == ("original", "bad", body)
    assert len(fake.calls_to("fake-nano")) == asked == FAILED_IN_A_ROW
    await proxy.metered("original_total", 3, reason="breaker_open")


async def test_a_card_that_keeps_failing_leaves_another_of_its_model_to_serve(run, fake, chat, view_of):
    def nano(body: Any) -> Any:
        return Fault.respond(500) if "so sad" in str(body) else "good"

    fake.answers |= {"fake-nano": nano, "fake-mini": "bad"}
    proxy = await run(tasks={"mood": MOOD, "other": MOOD})
    for name in ("mood", "other"):
        await publish(proxy, view_of, name)
    for _ in range(FAILED_IN_A_ROW):
        assert (await said(proxy, chat("so sad", model="fake-mini")))[0] == "fallback"
    assert (await said(proxy, chat("so sad", model="fake-mini")))[0] == "original"
    assert (await said(proxy, chat(model="fake-mini"), "other"))[:2] == ("compiled", "good")


@pytest.mark.parametrize(
    "fault", [Fault.disconnect(), Fault.respond(429), Fault.respond(200, body="no json"), Fault.stall()]
)
async def test_every_way_to_give_no_answer_counts_against_the_candidate(run, fake, chat, proxy, fault, monkeypatch):
    monkeypatch.setattr("proxy.deadlines.Deadlines.of", lambda self, task: 0.05)
    fake.answers["fake-nano"] = fault
    for _ in range(FAILED_IN_A_ROW):
        await said(proxy, chat(model="fake-mini"))
    assert (await said(proxy, chat(model="fake-mini")))[0] == "original"


async def test_a_stream_that_breaks_off_before_it_may_be_shown_counts_against_the_candidate(proxy, fake, chat):
    fake.answers["fake-nano"] = Fault.cut(1)
    for _ in range(FAILED_IN_A_ROW):
        assert (await said(proxy, chat(model="fake-mini", stream=True)))[0] == "fallback"
    assert (await said(proxy, chat(model="fake-mini", stream=True)))[0] == "original"


@pytest.mark.parametrize("answer", ["neither", Fault.respond(400), {"content": "good", "finish_reason": "length"}])
async def test_an_answer_that_is_only_wrong_does_not_count_against_the_candidate(proxy, fake, chat, answer):
    fake.answers["fake-nano"] = answer
    for _ in range(FAILED_IN_A_ROW + 1):
        assert (await said(proxy, chat(model="fake-mini")))[0] == "fallback"


async def test_a_candidate_that_answers_again_serves_again(proxy, fake, chat, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(proxy.gateway.breakers, "_clock", lambda: clock[0])
    fake.answers["fake-nano"] = Fault.respond(500)
    for _ in range(FAILED_IN_A_ROW + 1):
        await said(proxy, chat(model="fake-mini"))
    fake.answers["fake-nano"] = "good"
    assert (await said(proxy, chat(model="fake-mini")))[0] == "original"
    clock[0] += 60
    assert (await said(proxy, chat(model="fake-mini")))[0] == "compiled"
    assert (await said(proxy, chat(model="fake-mini")))[0] == "compiled"


async def test_a_candidate_that_nothing_can_stand_in_for_is_asked_however_often_it_fails(run, fake, chat, view_of):
    fake.answers["fake-nano"] = "good"
    proxy = await run(tasks={"mood": {**MOOD, "incumbent": None}})
    await publish(proxy, view_of)
    fake.queue("fake-nano", *[answer for _ in range(FAILED_IN_A_ROW) for answer in (Fault.respond(500), "bad")])
    for _ in range(FAILED_IN_A_ROW):
        await said(proxy, chat(model="task:mood"))
    assert (await said(proxy, chat(model="task:mood")))[:2] == ("compiled", "good")
