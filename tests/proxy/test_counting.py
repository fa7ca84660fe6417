import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

import proxy.learner_socket
from compiler.pricing import Usage
from compiler.tokens import TokenCounter
from proxy.count_server import answer_text, count, serve_counts
from proxy.counting import HEAD, CountClient
from proxy.uncounted import Uncounted, Waiting
from tests.proxy.test_books import entry

PATIENCE = 10.0
TOOL_CALL = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Oslo"}'}}


class Booked:
    """What the client called back with, and how often it dropped."""

    def __init__(self) -> None:
        self.usages: asyncio.Queue[Usage] = asyncio.Queue()
        self.dropped = 0

    def drop(self) -> None:
        self.dropped += 1

    async def next(self) -> Usage:
        async with asyncio.timeout(PATIENCE):
            return await self.usages.get()


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return TokenCounter()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sock"


@pytest.fixture
def booked() -> Booked:
    return Booked()


@pytest.fixture
async def client(path: Path, booked: Booked, monkeypatch) -> AsyncIterator[CountClient]:
    monkeypatch.setattr(proxy.learner_socket, "AGAIN_SECONDS", 0.001)
    client = CountClient(path, booked.drop, Uncounted.temporary())
    running = asyncio.create_task(client.run())
    yield client
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.fixture
async def start(path: Path, counter: TokenCounter) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Start the learner's side."""
    started: list[asyncio.Server] = []

    async def start() -> None:
        started.append(await serve_counts(path, counter))

    yield start
    for server in started:
        server.close()


@pytest.mark.parametrize(
    ("stream", "answer"),
    [
        (False, "Cloudy, ein bißchen 雨."),
        (True, "Cloudy, ein bißchen 雨."),
        (False, {"content": None, "tool_calls": [TOOL_CALL]}),
    ],
    ids=["text", "streamed text", "tool call"],
)
async def test_the_count_is_what_the_upstream_billed(fake, client, booked, start, stream, answer):
    await start()
    fake.reports_usage = False
    fake.answers["fake-nano"] = answer
    messages = [
        {"role": "system", "content": "Tell the weather."},
        {"role": "user", "content": [{"type": "text", "text": "Oslo?"}, {"type": "text", "text": "Today."}]},
    ]
    request = json.dumps({"model": "fake-nano", "messages": messages, "stream": stream}).encode()
    async with aiohttp.ClientSession() as session, session.post(f"{fake.url}/chat/completions", data=request) as got:
        response = await got.read()
    client.count(_waiting("fake-nano", request, response), booked.usages.put_nowait)
    billed = fake.totals()["fake-nano"]
    assert await booked.next() == Usage(input=billed["input"], output=billed["output"], counted=True)


async def test_many_counts_each_find_their_way_back(client, start, counter):
    await start()
    found: dict[int, int] = {}
    for n in range(50):
        client.count(_waiting("m", b"", _answer("word " * n)), lambda usage, n=n: found.update({n: usage.output}))
    await client.drain(PATIENCE)
    assert found == {n: counter.text("word " * n) for n in range(50)}


async def test_counting_waits_for_a_learner_that_is_not_there_yet(client, booked, start):
    client.count(_waiting("m", b"", _answer("one")), booked.usages.put_nowait)
    await start()
    assert (await booked.next()).output == 1


async def test_what_a_dead_learner_did_not_answer_is_asked_again(client, booked, start, path):
    died = asyncio.Event()

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(HEAD.size)
        dying.close()
        writer.transport.abort()
        died.set()

    dying = await asyncio.start_unix_server(die, str(path))
    client.count(_waiting("m", b"", _answer("one two")), booked.usages.put_nowait)
    async with asyncio.timeout(PATIENCE):
        await died.wait()
    client.count(_waiting("m", b"", _answer("one two three")), booked.usages.put_nowait)
    await start()
    assert [(await booked.next()).output, (await booked.next()).output] == [2, 3]
    assert (booked.usages.empty(), booked.dropped) == (True, 0)


async def test_beyond_the_limit_a_count_is_booked_as_dropped(booked, path, monkeypatch):
    monkeypatch.setattr(proxy.counting, "MAX_PENDING_BYTES", 100)
    client = CountClient(path, booked.drop, Uncounted.temporary())
    client.count(_waiting("m", b"x" * 50, b""), booked.usages.put_nowait)
    assert (booked.usages.empty(), booked.dropped) == (True, 0)
    client.count(_waiting("m", b"x" * 50, b""), booked.usages.put_nowait)
    assert (booked.usages.get_nowait(), booked.dropped) == (Usage(counted=True), 1)


async def test_what_was_counted_makes_room_again(client, booked, start, monkeypatch):
    monkeypatch.setattr(proxy.counting, "MAX_PENDING_BYTES", 100)
    await start()
    for _ in range(3):
        client.count(_waiting("m", b"x" * 50, b""), booked.usages.put_nowait)
        await booked.next()
    assert booked.dropped == 0


async def test_what_is_not_counted_by_the_end_is_booked_as_dropped(client, booked):
    client.count(_waiting("m", b"", b""), booked.usages.put_nowait)
    await client.drain(0.001)
    assert (booked.usages.get_nowait(), booked.dropped) == (Usage(counted=True), 1)
    await client.drain(PATIENCE)


async def test_what_a_killed_worker_had_asked_is_counted_by_the_one_in_its_place(booked, path, start):
    handle = Uncounted.allocate("worker-0")
    killed = CountClient(path, booked.drop, Uncounted(handle))
    for words in ("one", "one two"):
        killed.count(_waiting("m", b"\xff\x00", _answer(words)), booked.usages.put_nowait)

    follower = CountClient(path, booked.drop, Uncounted(handle))
    found: list[tuple[Waiting, int]] = []
    follower.count_left(lambda waiting, usage: found.append((waiting, usage.output)))
    follower.count(_waiting("m", b"", _answer("one two three")), booked.usages.put_nowait)
    running = asyncio.create_task(follower.run())
    await start()
    await follower.drain(PATIENCE)
    running.cancel()
    assert [(waiting.request, output) for waiting, output in found] == [(b"\xff\x00", 1), (b"\xff\x00", 2)]
    assert found[0][0].entry._replace(tried=("compiled",)) == entry()
    assert (await booked.next()).output == 3
    assert list(Uncounted(handle).left()) == []  # and nobody counts them again


async def test_what_was_counted_before_the_kill_is_not_counted_again(booked, path, start):
    handle = Uncounted.allocate("worker-0")
    killed = CountClient(path, booked.drop, Uncounted(handle))
    running = asyncio.create_task(killed.run())
    await start()
    killed.count(_waiting("m", b"", _answer("one")), booked.usages.put_nowait)
    await booked.next()
    running.cancel()
    killed.count(_waiting("m", b"", _answer("one two")), booked.usages.put_nowait)
    (left,) = Uncounted(handle).left()
    assert left.response == _answer("one two")


async def test_with_nothing_to_count_draining_ends_at_once(booked, path):
    await CountClient(path, booked.drop, Uncounted.temporary()).drain(PATIENCE)
    assert booked.dropped == 0


def test_an_answer_is_counted_as_far_as_it_came(counter):
    first, second = (b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % text for text in (b"one", b" two"))
    stream = first + second + b"da"
    assert answer_text(stream) == "one two"
    assert count(counter, "m", b"", stream) == (0, 2)


def test_every_choice_is_counted():
    assert answer_text(json.dumps({"choices": [{"message": {"content": c}} for c in "ab"]}).encode()) == "ab"


def test_the_input_of_an_embedding_is_counted(counter):
    assert count(counter, "m", b'{"input": "one two"}', b'{"data": []}') == (2, 0)


@pytest.mark.parametrize("data", [b"", b"no json", b"[1]", b"\xff\x00", b"{}"])
def test_what_cannot_be_read_counts_as_nothing(counter, data):
    assert count(counter, "m", data, data) == (0, 0)


def _waiting(model: str, request: bytes, response: bytes) -> Waiting:
    return Waiting(model, request, response, entry())


def _answer(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()
