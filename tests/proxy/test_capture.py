"""What a worker offers to be captured, what it does not, and that no request notices."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import brotli
import pytest

import proxy.capture
from proxy.capture import SOCKET, Capture
from proxy.metrics import Metrics
from proxy.sampler import Sampler
from tests.fake_upstream import Fault
from tests.proxy.capturing import Kept, learner, text_of
from tests.proxy.gateway import Proxy

MOOD = {"description": "Tell the mood.", "incumbent": "fake-mini", "trust": "declared"}
KEYS = [{"key": "sk-of-shop", "tenant": "shop"}, {"key": "sk-of-lab", "tenant": "lab"}]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.sync.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("proxy.learner_socket.AGAIN_SECONDS", 0.001)
    monkeypatch.setattr("proxy.capture_server.STOP_SECONDS", 0.2)


@pytest.fixture
async def metrics() -> Metrics:
    """The learner's own: the worker's show what the worker counts."""
    return Metrics()


@pytest.fixture
async def kept(tmp_path: Path, metrics: Metrics) -> AsyncIterator[Kept]:
    async with learner(tmp_path, tmp_path / "store", metrics) as kept:
        yield kept


async def ask(proxy: Proxy, body: dict[str, Any], **headers: str) -> bytes:
    async with await proxy.chat(body, **headers) as answer:
        assert answer.status == 200
        return await answer.read()


def dropped(proxy: Proxy, reason: str) -> float:
    return proxy.metric("observations_dropped_total", reason=reason)


# What is kept


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_request_and_its_answer_are_kept(kept, run, fake, chat, stream):
    fake.answers["fake-mini"] = "a good day"
    fake.snapshots["fake-mini"] = "fake-mini-2025-11-02"
    proxy: Proxy = await run()
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    body = chat(model="fake-mini", temperature=0, **options)
    await ask(proxy, body)
    (found,) = await kept.at_least(1)
    assert found.request == body
    assert (found.answer, found.tool_calls) == ("a good day", [])
    assert (found.tenant, found.template, found.model) == ("default", "", "fake-mini-2025-11-02")
    billed = fake.totals()["fake-mini"]
    assert found.usage == [billed["input"], 0, billed["output"], 0]
    assert found.cost == pytest.approx((billed["input"] * 0.4 + billed["output"] * 1.6) / 1e6)
    assert 0 < found.seconds < 10
    assert len(found.structure) == 24


async def test_an_answer_without_usage_is_counted(kept, run, fake, chat):
    proxy: Proxy = await run()
    await ask(proxy, chat(model="fake-mini", stream=True))
    (found,) = await kept.at_least(1)
    billed = fake.totals()["fake-mini"]
    assert found.usage == [billed["input"], 0, billed["output"], 0]
    assert found.cost == pytest.approx((billed["input"] * 0.4 + billed["output"] * 1.6) / 1e6)


async def test_what_a_model_called_is_kept(kept, run, fake, chat):
    call = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Oslo"}'}}
    fake.answers["fake-mini"] = {"content": None, "tool_calls": [call]}
    proxy: Proxy = await run()
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
    for stream in (False, True):
        await ask(proxy, chat(model="fake-mini", tools=tools, stream=stream))
    for found in await kept.at_least(2):
        assert (found.answer, found.tool_calls) == ("", [call])
        assert found.request["tools"] == tools


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
async def test_packed_requests_and_answers_are_kept_as_they_read(kept, run, fake, chat, coding):
    packed = {"gzip": gzip.compress, "br": brotli.compress, "deflate": lambda data: __import__("zlib").compress(data)}
    message = {"message": {"role": "assistant", "content": "good"}, "finish_reason": "stop"}
    answer = packed[coding](json.dumps({"model": "fake-mini", "choices": [message]}).encode())
    fake.answers["fake-mini"] = Fault.respond(200, {"Content-Encoding": coding}, answer)
    proxy: Proxy = await run()
    data = gzip.compress(json.dumps(chat(model="fake-mini")).encode())
    told = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with proxy.http.post(f"{proxy.url}/v1/chat/completions", data=data, headers=told) as got:
        assert got.status == 200
    (found,) = await kept.at_least(1)
    assert (found.request, found.answer) == (chat(model="fake-mini"), "good")


async def test_the_task_that_is_named_is_its_template(kept, run, chat):
    proxy: Proxy = await run(tasks={"mood": MOOD})
    await ask(proxy, chat("by header", model="fake-mini"), **{"X-Cuecard-Task": "mood", "X-Cuecard-Bypass": "0"})
    await ask(proxy, chat("by metadata", model="fake-mini", metadata={"task": "mood", "customer": "7"}))
    await ask(proxy, chat("by model", model="task:mood"))
    found = await kept.at_least(3)
    assert [o.template for o in found] == ["mood"] * 3
    assert [text_of(o) for o in found] == ["by header", "by metadata", "by model"]
    assert all("metadata" not in o.request for o in found)


async def test_who_asked_is_not_kept(kept, run, chat):
    proxy: Proxy = await run()
    who = {"user": "u-7", "safety_identifier": "s-7", "prompt_cache_key": "k-7", "metadata": {"m": "7"}, "store": True}
    await ask(proxy, chat(model="fake-mini", **who))
    (found,) = await kept.at_least(1)
    assert found.request == chat(model="fake-mini")


async def test_tenants_share_no_example(kept, run, chat):
    proxy: Proxy = await run(auth={"keys": KEYS})
    for name in ("shop", "lab", "shop"):
        await ask(proxy, chat("the same text", model="fake-mini"), **{"X-Cuecard-Key": f"sk-of-{name}"})
    found = await kept.at_least(3)
    assert [o.tenant for o in found] == ["shop", "lab", "shop"]
    assert found[0].structure == found[2].structure != found[1].structure


async def test_clients_with_keys_of_their_own_are_tenants_of_their_own(kept, run, fake, chat):
    proxy: Proxy = await run(upstreams={"fake": {"base_url": fake.url}})
    for key in ("sk-one", "sk-two"):
        await ask(proxy, chat(model="fake-mini"), Authorization=f"Bearer {key}")
    one, two = await kept.at_least(2)
    assert one.tenant != two.tenant
    assert "sk-" not in one.tenant + two.tenant


# What is not


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ({"X-Cuecard-Bypass": "1"}, {}),
        ({"X-Cuecard-No-Store": "1"}, {}),
        ({"X-Cuecard-No-Store": "true"}, {}),
        ({}, {"store": False}),
    ],
    ids=["bypass", "no-store", "no-store in words", "store false"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_what_a_client_forbids_is_not_kept(kept, run, chat, headers, more, stream):
    proxy: Proxy = await run()
    await ask(proxy, chat(model="fake-mini", stream=stream, **more), **headers)
    assert await kept.all(proxy) == []


@pytest.mark.parametrize("headers", [{"X-Cuecard-No-Store": "0"}, {"X-Cuecard-No-Store": ""}, {}])
async def test_what_a_client_does_not_forbid_is_kept(kept, run, chat, headers):
    proxy: Proxy = await run()
    await ask(proxy, chat(model="fake-mini", store=True), **headers)
    assert len(await kept.all(proxy)) == 1


async def test_errors_and_hang_ups_are_not_kept(kept, run, fake, chat):
    proxy: Proxy = await run()
    message = {"choices": [{"message": {"content": "good"}, "finish_reason": "stop"}]}
    fake.queue("fake-mini", *[Fault.respond(status, body=message) for status in (500, 400, 201)])
    fake.queue("fake-mini", Fault.disconnect(), Fault.disconnect())  # a kept connection is tried once more
    for status in (500, 400, 201, 502):
        async with await proxy.chat(chat(model="fake-mini")) as answer:
            assert answer.status == status
    assert await kept.all(proxy) == []


async def test_a_stream_that_was_cut_is_not_kept(kept, run, metrics, fake, chat):
    fake.queue("fake-mini", Fault.cut(3, "one two three four five"))
    proxy: Proxy = await run()
    with suppress(Exception):
        await ask(proxy, chat(model="fake-mini", stream=True))
    await proxy.metered("upstream_errors_total", 1, code="broke_off")
    assert await kept.all(proxy) == []
    assert _count(metrics, "unfinished") == 0  # it was not even offered


async def test_a_stream_that_ends_well_but_before_its_end_is_not_kept(kept, run, metrics, fake, chat):
    event = b'data: {"choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}]}\n\n'
    fake.queue("fake-mini", Fault.respond(200, {"Content-Type": "text/event-stream"}, event))
    proxy: Proxy = await run()
    await ask(proxy, chat(model="fake-mini", stream=True))
    assert await kept.all(proxy) == []
    assert _count(metrics, "unfinished") == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_what_a_client_left_is_not_kept(kept, run, metrics, fake, chat, stream):
    fake.queue("fake-mini", Fault.slow("one two three") if stream else Fault.stall("one"))
    proxy: Proxy = await run()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    body = json.dumps(chat(model="fake-mini", stream=stream)).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await fake.wait_for(1)
    if stream:
        fake.step(1)
        await reader.readuntil(b"data: ")
    writer.transport.abort()
    await fake.wait_until(lambda: fake.calls[0].done)
    await proxy.metered("requests_total", 1)
    assert await kept.all(proxy) == []
    assert _count(metrics, "unfinished") == 0


async def test_a_cards_answer_is_not_kept_and_neither_is_what_stood_in_for_it(kept, run, fake, chat, view_of):
    proxy: Proxy = await run(tasks={"mood": {**MOOD, "output": {"kind": "label", "labels": ["good", "bad"]}}})
    task = proxy.gateway.snapshots.current.tasks["mood"].task
    await proxy.publish(view_of(task, model="fake-nano").card)
    fake.answers |= {"fake-mini": "good", "fake-nano": "good"}
    fake.queue("fake-nano", "good", "neither")
    for route in ("compiled", "fallback"):
        async with await proxy.chat(chat(model="fake-mini"), **{"X-Cuecard-Task": "mood"}) as answer:
            assert answer.headers["X-Cuecard-Route"] == route
    assert await kept.all(proxy) == []


async def test_a_cheap_models_answer_is_no_reference(kept, run, chat):
    """A `task:` model without a current model has nothing to be compared with."""
    proxy: Proxy = await run(tasks={"mood": {**MOOD, "incumbent": None}}, timeouts={"first_call_wait": 0.001})
    await ask(proxy, chat(model="task:mood"))
    assert await kept.all(proxy) == []


async def test_other_paths_are_not_kept(kept, run, metrics):
    proxy: Proxy = await run()
    body = {"model": "fake-mini", "input": "text"}
    async with proxy.http.post(f"{proxy.url}/v1/embeddings", json=body) as answer:
        assert answer.status == 200
    assert await kept.all(proxy) == []
    assert _count(metrics, "not_text") == 0


@pytest.mark.parametrize("long", ["request", "answer", "streamed answer"])
async def test_long_ones_are_counted_and_not_kept(kept, run, fake, chat, long, monkeypatch):
    monkeypatch.setattr("proxy.capture.MAX_BODY", 1_000)
    monkeypatch.setattr("proxy.capture.MAX_STREAM", 10_000)
    proxy: Proxy = await run()
    fake.queue("fake-mini", "x" * (2_000 if "answer" in long else 1))
    await ask(proxy, chat("x" * (2_000 if long == "request" else 1), model="fake-mini", stream="streamed" in long))
    assert await kept.all(proxy) == []
    assert dropped(proxy, "too_large") == 1


async def test_a_stream_may_be_longer_than_what_it_says(kept, run, fake, chat):
    fake.answers["fake-mini"] = "word " * 2_000
    proxy: Proxy = await run()
    assert 256 * 2**10 < len(await ask(proxy, chat(model="fake-mini", stream=True))) < 2**20
    (found,) = await kept.at_least(1)
    assert found.answer == "word " * 2_000


async def test_capturing_can_be_turned_off(kept, run, chat, tmp_path):
    proxy: Proxy = await run(capture={"enabled": False})
    await ask(proxy, chat(model="fake-mini"))
    await proxy.metered("requests_total", 1)
    assert not proxy.gateway.capture._waiting
    await proxy.runner.cleanup()
    assert kept.now() == []


async def test_of_a_busy_kind_a_sample_is_kept_and_all_of_a_rare_one(kept, run, chat, monkeypatch):
    monkeypatch.setattr("proxy.sampler.BURST", 2)
    monkeypatch.setattr("proxy.sampler.A_SECOND", 0.0)
    proxy: Proxy = await run(tasks={"mood": MOOD})
    for n in range(5):
        await ask(proxy, chat(f"busy {n}", model="fake-mini"))
    await ask(proxy, chat("of another task", model="fake-mini"), **{"X-Cuecard-Task": "mood"})
    await ask(proxy, chat("of another form", model="fake-mini", response_format={"type": "json_object"}))
    found = [text_of(o) for o in await kept.at_least(4)]
    assert found == ["busy 0", "busy 1", "of another task", "of another form"]
    assert dropped(proxy, "rate") == 3


@pytest.mark.parametrize(
    ("size", "stream", "times"), [(100, False, 39), (48_000, False, 10), (48_000, True, 33), (200_000, True, 23)]
)
async def test_long_ones_cost_more_of_what_may_be_taken(tmp_path, call_of, exchange_of, chat, size, stream, times):
    capture = Capture(tmp_path / SOCKET, Metrics(), Sampler(clock=lambda: 0.0, a_second=2))
    exchange = exchange_of(streamed=stream)
    exchange.attempt = exchange.attempt._replace(incumbent=True)
    exchange.keep(b"x" * size)
    for _ in range(50):
        capture.offer(call_of(chat()), _decision(), exchange)
    assert len(capture._waiting) == times


# When the learner does not take them


async def test_with_no_learner_the_queue_fills_and_no_request_waits(run, chat, monkeypatch):
    monkeypatch.setattr("proxy.capture.MAX_WAITING", 3)
    proxy: Proxy = await run()
    for _ in range(5):
        await ask(proxy, chat(model="fake-mini"))
    await proxy.metered("observations_dropped_total", 2, reason="queue_full")
    assert len(proxy.gateway.capture._waiting) == 3
    monkeypatch.setattr("proxy.app.COUNT_SECONDS", 1_000)
    async with asyncio.timeout(10):
        await proxy.runner.cleanup()  # nor does the end wait for a learner that isn't there
    assert dropped(proxy, "queue_full") == 5


async def test_the_queue_is_bounded_in_bytes_too(run, chat, monkeypatch):
    monkeypatch.setattr("proxy.capture.MAX_WAITING_BYTES", 25_000)
    proxy: Proxy = await run()
    for _ in range(5):
        await ask(proxy, chat("x" * 4_000, model="fake-mini"))  # which is said again in the answer
    await proxy.metered("observations_dropped_total", 1, reason="queue_full")
    capture = proxy.gateway.capture
    assert 0 < capture._size == sum(offer.size for offer in capture._waiting) <= 25_000
    assert len(capture._waiting) + dropped(proxy, "queue_full") == 5


async def test_a_learner_that_hangs_costs_memory_up_to_the_bound_and_no_request(run, chat, tmp_path, monkeypatch):
    monkeypatch.setattr("proxy.capture.MAX_WAITING_BYTES", 2**20)
    hung = socket.socket(socket.AF_UNIX)
    hung.bind(str(tmp_path / SOCKET))
    hung.listen()  # it takes the connection, and never reads
    proxy: Proxy = await run()
    for n in range(40):
        await ask(proxy, chat("x" * 60_000, model="fake-mini", user=f"{n}"))
    await proxy.metered("observations_dropped_total", 1, reason="queue_full")
    assert proxy.gateway.capture._size <= 2**20
    hung.close()


async def test_what_waited_for_a_learner_is_kept_when_it_comes(run, chat, tmp_path, metrics):
    proxy: Proxy = await run()
    await ask(proxy, chat("early", model="fake-mini"))
    async with learner(tmp_path, tmp_path / "store", metrics) as kept:
        assert [text_of(o) for o in await kept.at_least(1)] == ["early"]


async def test_a_learner_is_followed_by_the_next(run, chat, tmp_path, metrics):
    proxy: Proxy = await run()
    for number in (1, 2, 3):
        async with learner(tmp_path, tmp_path / "store", metrics) as kept:
            await ask(proxy, chat(f"{number}", model="fake-mini"))
            found = await kept.at_least(number)
    assert [text_of(o) for o in found] == ["1", "2", "3"]


async def test_a_worker_that_stops_sends_what_it_has(kept, run, chat):
    proxy: Proxy = await run()
    await ask(proxy, chat("before", model="fake-mini"))
    await kept.at_least(1)  # they are connected
    for n in range(20):
        await ask(proxy, chat(f"{n}", model="fake-mini"))
    await proxy.runner.cleanup()
    assert len(await kept.at_least(21)) == 21


async def test_an_offer_is_sent_whole_however_slowly_it_is_taken(tmp_path, call_of, exchange_of, chat):
    """More than a socket's buffers take, to a reader that takes a little at a time."""
    capture = Capture(tmp_path / SOCKET, Metrics(), Sampler())
    got, all_of_it, ended = bytearray(), asyncio.Event(), asyncio.Event()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(10_000):
            got.extend(piece)
            if len(got) >= size:
                all_of_it.set()
        writer.close()
        ended.set()

    text = "x" * 200_000
    exchange = exchange_of()
    exchange.attempt = exchange.attempt._replace(incumbent=True)
    exchange.keep(text.encode())
    for _ in range(8):
        capture.offer(call_of(chat(text)), _decision(), exchange)
    size = sum(len(part) for offer in capture._waiting for part in offer.frame())
    server = await asyncio.start_unix_server(read, str(tmp_path / SOCKET))
    running = asyncio.create_task(capture.run())
    async with asyncio.timeout(10):
        await all_of_it.wait()
    assert (len(got), capture._size, len(capture._waiting)) == (size, 0, 0)
    running.cancel()
    async with asyncio.timeout(10):
        await ended.wait()
    server.close()


def _decision() -> Any:
    return proxy.capture.Decision(reason="undeclared")


def _count(metrics: Metrics, reason: str) -> float:
    return metrics.dropped.labels(reason)._value.get()
