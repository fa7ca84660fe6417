"""Every path but chat: to the first upstream, byte for byte, and metered where the answer names its usage."""

import asyncio
import hashlib
import json

import pytest

from compiler.ledger import Ledger
from compiler.pauses import Pauses
from tests.fake_upstream import Fault

KEYS = {"keys": [{"key": "shop-key-1", "tenant": "shop"}]}
NO_KEY = {"theirs": {"base_url": "", "api_key": None}}


async def test_embeddings_are_priced_and_booked(run, fake):
    proxy = await run()
    async with proxy.http.post(
        f"{proxy.url}/v1/embeddings", json={"model": "fake-mini", "input": "one two three"}
    ) as answer:
        assert (await answer.json())["model"] == "fake-mini"
        assert answer.headers["X-Cuecard-Route"] == "original"
    tokens = fake.calls[0].input
    await proxy.metered("tokens_total", tokens, model="fake-mini", type="input")
    assert proxy.metric("cost_usd_total", model="fake-mini") == pytest.approx(tokens * 0.4e-6)
    assert proxy.metric("requests_total", model="fake-mini", route="original", code="200") == 1
    assert proxy.metric("original_total", reason="not_chat") == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_responses_answer_is_priced_by_its_own_form_of_usage(run, fake, streamed):
    response = {
        "object": "response",
        "model": "fake-mini",
        "usage": {"input_tokens": 50, "input_tokens_details": {"cached_tokens": 20}, "output_tokens": 7},
    }
    events = [{"type": "response.created", "response": {"model": "fake-mini", "usage": None}}]
    events += [{"type": "response.output_text.delta", "delta": "x" * 1_000}] * 100
    events += [{"type": "response.completed", "response": response}]
    stream = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
    kind = {"Content-Type": "text/event-stream"}
    fake.answers["/v1/responses"] = Fault.respond(200, kind, stream) if streamed else Fault.respond(200, body=response)
    proxy = await run()
    async with proxy.http.post(f"{proxy.url}/v1/responses", json={"model": "fake-mini", "input": "x"}) as answer:
        assert await answer.text() == (stream if streamed else json.dumps(response))
    await proxy.metered("tokens_total", 7, model="fake-mini", type="output")
    assert proxy.metric("tokens_total", model="fake-mini", type="input") == 30
    assert proxy.metric("tokens_total", model="fake-mini", type="cached_input") == 20


async def test_what_names_no_usage_is_a_request_but_no_charge(run, fake):
    proxy = await run()
    async with proxy.http.get(f"{proxy.url}/v1/files/file-1") as answer:
        assert (await answer.json())["path"] == "/v1/files/file-1"
    await proxy.metered("requests_total", 1, route="original", model="other", code="200")
    assert proxy.metric("unpriced_requests_total") == 0
    await proxy.runner.cleanup()
    assert list(Ledger(proxy.store).rows()) == []


async def test_reading_a_stored_answer_is_not_paid_for_again(run, fake):
    stored = {"object": "response", "model": "fake-mini", "usage": {"input_tokens": 50, "output_tokens": 7}}
    fake.answers["/v1/responses/resp_1"] = Fault.respond(200, body=stored)
    proxy = await run()
    async with proxy.http.get(f"{proxy.url}/v1/responses/resp_1") as answer:
        assert await answer.json() == stored
    await proxy.metered("requests_total", 1, route="original", model="fake-mini")
    await proxy.runner.cleanup()
    assert list(Ledger(proxy.store).rows()) == []


@pytest.mark.parametrize("fault", [False, True])
async def test_what_is_paid_for_and_names_no_usage_is_a_gap_in_the_books(run, fake, fault):
    fake.answers["/v1/audio/speech"] = Fault.respond(500) if fault else Fault.respond(200, {}, b"sound")
    proxy = await run()
    async with proxy.http.post(f"{proxy.url}/v1/audio/speech", json={"model": "tts-1", "input": "x"}) as answer:
        await answer.read()
    await proxy.metered("requests_total", 1)
    await proxy.runner.cleanup()
    ((_, row, sums),) = Ledger(proxy.store).rows()
    assert (row.reason, row.endpoint) == ("not_chat", "/v1/audio/speech")
    assert (sums.unmetered, sums.calls, sums.failed, sums.cost) == ((0, 1, 1, 0.0) if fault else (1, 0, 0, 0.0))


async def test_a_long_answers_usage_is_read_off_its_end(run, fake):
    """More than is kept of an answer: only its end tells what it cost."""
    big = {"object": "list", "data": ["x" * 1_000] * 10_000, "model": "fake-mini", "usage": {"prompt_tokens": 9}}
    fake.answers["/v1/embeddings"] = Fault.respond(200, body=big)
    proxy = await run()
    async with proxy.http.post(f"{proxy.url}/v1/embeddings", json={"model": "fake-mini", "input": "x"}) as answer:
        assert await answer.json() == big
    await proxy.metered("tokens_total", 9, model="fake-mini", type="input")


async def test_an_upload_streams_through_unchanged(run, fake):
    proxy = await run()
    data = bytes(range(256)) * 4_000

    async def chunks():
        for at in range(0, len(data), 65_536):
            yield data[at : at + 65_536]

    for body in (data, chunks()):  # with a Content-Length, and chunked
        async with proxy.http.post(f"{proxy.url}/v1/files", data=body) as answer:
            echoed = await answer.json()
        assert (echoed["length"], echoed["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


async def test_a_length_is_told_where_the_upstream_told_it(run, fake):
    fake.answers["/v1/files/f/content"] = Fault.respond(200, {"Content-Type": "application/octet-stream"}, b"\0" * 99)
    proxy = await run()
    async with proxy.http.get(f"{proxy.url}/v1/files/f/content") as answer:
        assert answer.content_length == 99
        assert await answer.read() == b"\0" * 99
    async with proxy.http.head(f"{proxy.url}/v1/files/f/content") as answer:
        assert (answer.status, answer.content_length) == (200, 99)


async def test_a_key_of_ours_goes_no_further(run, fake):
    """Cuecard's own key in `Authorization`, and an upstream that takes each client's own."""
    proxy = await run(auth=KEYS, upstreams={"theirs": {"base_url": fake.url}})
    for path in ("/v1/files", "/v1/models", "/v1/chat/completions"):
        async with proxy.http.post(
            proxy.url + path, json={"model": "m", "messages": []}, headers={"Authorization": "Bearer shop-key-1"}
        ):
            pass
    assert len(fake.calls) == 3
    assert not [call for call in fake.calls if b"shop-key-1" in b" ".join(value for _, value in call.headers)]


async def test_the_clients_own_key_goes_along_beside_a_key_of_ours(run, fake):
    proxy = await run(auth=KEYS, upstreams={"theirs": {"base_url": fake.url}})
    sent = {"Authorization": "Bearer sk-mine", "X-Cuecard-Key": "shop-key-1"}
    async with proxy.http.get(f"{proxy.url}/v1/files", headers=sent) as answer:
        assert answer.status == 200
    assert fake.calls[0].header("authorization") == "Bearer sk-mine"
    assert fake.calls[0].header("x-cuecard-key") is None


async def test_a_chat_body_over_the_limit_is_too_large_in_openais_shape(run, fake, monkeypatch):
    monkeypatch.setattr("proxy.call.MAX_BODY", 2**19)
    proxy = await run()
    async with await proxy.chat(
        {"model": "fake-mini", "messages": [{"role": "user", "content": "x" * 2**19}]}
    ) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"]["code"] == "request_too_large"
    assert fake.calls == []


async def test_a_websocket_is_tunnelled_and_ends_with_the_worker(run, fake):
    proxy = await run()
    async with proxy.http.ws_connect(f"{proxy.url}/v1/realtime?model=m", protocols=("realtime",)) as socket:
        assert socket.protocol == "realtime"
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        await socket.send_bytes(b"\0" * 100_000)
        assert await socket.receive_bytes() == b"\0" * 100_000
        async with asyncio.timeout(5):  # though nobody closed it
            await proxy.runner.cleanup()
    assert fake.calls[0].path == "/v1/realtime?model=m"
    assert proxy.metric("requests_total", code="101") == 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_a_429_stops_the_background_calls_of_its_upstream(run, fake, chat, path):
    proxy = await run()
    fake.answers["*"] = Fault.respond(429)
    async with proxy.http.post(f"{proxy.url}{path}", json=chat(model="fake-mini")) as answer:
        assert answer.status == 429
    await proxy.runner.cleanup()
    assert Pauses(proxy.store).left("fake") > 50
    assert Pauses(proxy.store).left("another") == 0
