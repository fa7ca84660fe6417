"""The worker's side of feedback: what it tells the learner of an answer, and what of it a learner's death costs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from compiler.registry import TaskState
from compiler.task import Contract, Task
from proxy.answered import MAX_BODY, REPLY, SOCKET, AnswerClient, Kept, Said, Word, read_frame
from proxy.decide import Decision
from proxy.metrics import Metrics

PATIENCE = 10.0
PROVEN = Task("mood", "Tell the mood.", incumbent="gpt-big")
DECLARED = Task("mood", "Tell the mood.", incumbent="gpt-big", trust="declared")
LABELS = Contract("label", ("good", "bad"))


class Learner:
    """Reads what comes, and settles it when it is told to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.said: list[tuple[int, Said]] = []
        self._came = asyncio.Condition()
        self._writers: list[asyncio.StreamWriter] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                frame = await read_frame(reader)
                async with self._came:
                    self.said.append(frame)
                    self._came.notify_all()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def has(self, number: int) -> list[Said]:
        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(lambda: len(self.said) >= number)
        return [said for _, said in self.said]

    def settle(self, number: int, **reply: Any) -> None:
        data = json.dumps(reply).encode()
        self._writers[-1].write(REPLY.pack(number, len(data)) + data)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Leaves as if it was killed."""
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, str(self._path))
        try:
            yield
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.learner_socket.AGAIN_SECONDS", 0.001)


@pytest.fixture
def learner(tmp_path: Path) -> Learner:
    return Learner(tmp_path / SOCKET)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(tmp_path: Path, metrics: Metrics) -> AsyncIterator[AnswerClient]:
    client = AnswerClient(tmp_path / SOCKET, metrics)
    running = asyncio.create_task(client.run())
    yield client
    running.cancel()


Remember = Callable[..., None]


@pytest.fixture
def remember(client: AnswerClient, call_of, exchange_of, view_of) -> Remember:
    """An answer as the relay has it: by default of a card that chance chose."""
    numbers = iter(range(10**6))

    def remember(text: str = "good", *, task: Task = PROVEN, model: str | None = "fake-nano", **more: Any) -> None:
        route, reason = more.pop("route", "compiled"), more.pop("reason", "")
        n = next(numbers)
        call = call_of(**more.pop("call", {}))
        call.id = f"cue-{n}"
        exchange = exchange_of(more.pop("encoding", ""))
        exchange.attempt = exchange.attempt._replace(route=route)
        exchange.id = more.pop("id", f"chatcmpl-{n}")
        exchange.keep(text.encode())
        decision = Decision(view_of(task, TaskState(), model=model), reason=reason)
        assert not more
        client.remember(call, decision, exchange)

    return remember


def dropped(metrics: Metrics) -> float:
    return float(metrics.dropped.labels("answer_queue")._value.get())


# What is told


async def test_the_learner_is_told_which_answer_it_is_and_what_it_said(learner, remember):
    async with learner.alive():
        remember(call={"tenant": "shop"})
        (kept,) = await learner.has(1)
    assert isinstance(kept, Kept)
    assert (kept.tenant, kept.id, kept.other, kept.body) == ("shop", "cue-0", "chatcmpl-0", b"good")
    assert kept.answered[1:] == ("mood", 1, "compiled", "card", "label")


@pytest.mark.parametrize(
    ("more", "version", "arm"),
    [
        ({"route": "compiled"}, 1, "card"),
        ({"route": "original", "reason": "control"}, 1, "control"),
        ({"route": "original", "reason": "unproven"}, 1, ""),
        ({"route": "original", "reason": "breaker_open"}, 1, ""),
        ({"route": "fallback"}, 1, ""),
        ({"route": "compiled", "task": DECLARED}, 1, ""),
        ({"route": "original", "reason": "control", "model": None}, 0, ""),
    ],
)
async def test_only_what_chance_chose_has_an_arm(learner, remember, more, version, arm):
    async with learner.alive():
        remember(**more)
        (kept,) = await learner.has(1)
    assert (kept.answered.version, kept.answered.arm) == (version, arm)


async def test_a_task_that_is_asked_for_by_its_name_is_drawn_for_nobody(learner, remember):
    async with learner.alive():
        remember(call={"body": {"model": "task:mood", "messages": []}})
        (kept,) = await learner.has(1)
    assert kept.answered.arm == ""


@pytest.mark.parametrize(
    ("task", "text", "kind", "told"),
    [
        (Task("mood", "", contract=LABELS), "good", "label", True),
        (Task("mood", "", contract=Contract("json")), "{}", "json", True),
        (Task("mood", "", contract=Contract("text")), "a story", "text", False),
        (Task("mood", ""), "a story", "", False),
        (Task("mood", "", contract=LABELS), "x" * (MAX_BODY + 1), "label", False),
    ],
    ids=["a label", "json", "text", "nobody knows what", "too long"],
)
async def test_an_answer_is_only_handed_over_where_it_can_be_compared(learner, remember, task, text, kind, told):
    async with learner.alive():
        remember(text, task=task, model=None)
        (kept,) = await learner.has(1)
    assert (kept.answered.kind, kept.body) == (kind, text.encode() if told else b"")


async def test_an_id_of_any_length_or_none_takes_no_room(learner, remember):
    async with learner.alive():
        for id_ in ("x" * 201, ""):
            remember(id=id_)
        assert [kept.other for kept in await learner.has(2)] == ["", ""]


@pytest.mark.parametrize("why", ["bypass", "no_store", "store_false"])
async def test_of_what_may_not_be_kept_nothing_is_told(learner, remember, why):
    async with learner.alive():
        remember(call={"unrecorded": why})
        remember()
        (kept,) = await learner.has(1)
    assert kept.id == "cue-1"


async def test_a_bug_in_remembering_takes_no_answer_from_a_client(remember, metrics, monkeypatch, caplog):
    monkeypatch.setattr("proxy.answered._kept", lambda *args: 1 / 0)
    remember()
    assert dropped(metrics) == 1
    assert "is not remembered" in caplog.text


# What a learner's death costs


async def test_what_a_dead_learner_did_not_settle_is_told_to_the_next(learner, remember):
    async with learner.alive():
        for _ in range(4):
            remember()
        await learner.has(4)
        learner.settle(learner.said[1][0])
        remember()
        await learner.has(5)
    learner.said.clear()
    remember()
    async with learner.alive():
        again = [kept.id for kept in await learner.has(4)]
    assert again[-4:] == ["cue-2", "cue-3", "cue-4", "cue-5"]


async def test_a_word_waits_for_its_reply_and_settles_all_before_it(learner, client, remember):
    async with learner.alive():
        remember()
        saying = asyncio.create_task(client.say(Word("shop", "cue-0", 1.0, None), PATIENCE))
        _, word = await learner.has(2)
        assert word == Word("shop", "cue-0", 1.0, None)
        learner.settle(learner.said[1][0], task="mood")
        assert await saying == {"task": "mood"}
        await client.drain(PATIENCE)


async def test_a_word_that_nobody_answers_is_given_up_and_not_said_again(learner, client, remember):
    assert await client.say(Word("shop", "cue-0", 1.0, None), 0.01) is None
    remember()
    async with learner.alive():
        assert [type(said) for said in await learner.has(1)] == [Kept]


async def test_what_waits_has_a_bound_and_what_is_beyond_it_is_counted(
    learner, client, remember, metrics, monkeypatch
) -> None:
    monkeypatch.setattr("proxy.answered.MAX_WAITING", 2)
    for _ in range(5):
        remember()
    assert dropped(metrics) == 3
    assert await client.say(Word("shop", "cue-0", 1.0, None), PATIENCE) is None
    async with learner.alive():
        await learner.has(2)
        learner.settle(learner.said[-1][0])
        await client.drain(PATIENCE)
        remember()
        assert (await learner.has(3))[-1].id == "cue-5"


@pytest.fixture
def heavy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("proxy.answered.MAX_WAITING_BYTES", 10_000)
    yield


async def test_so_has_their_size(learner, remember, metrics, heavy, client):
    for _ in range(3):
        remember("x" * 4_000)
    assert dropped(metrics) == 1
    async with learner.alive():
        await learner.has(2)
        learner.settle(learner.said[-1][0])
        await client.drain(PATIENCE)
        remember("x" * 4_000)
        await learner.has(3)


async def test_ending_a_worker_waits_for_no_learner_that_is_not_there(client, remember, metrics):
    remember()
    async with asyncio.timeout(PATIENCE):
        await client.drain(3_600)
    assert dropped(metrics) == 1
