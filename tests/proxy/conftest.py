import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from compiler.card import Card
from compiler.endpoint import Endpoint
from compiler.ledger import Incumbent
from compiler.program import Prompt
from compiler.registry import TaskState, TaskView
from compiler.task import Contract, Task
from proxy.call import Call
from proxy.exchange import Exchange
from proxy.plan import Attempt
from tests.fake_upstream import FakeUpstream
from tests.proxy.clock import Clock
from tests.proxy.gateway import Proxy, running
from tests.proxy.sockets import OK, RawClient, RawUpstream


def _chat(text: str = "so happy", /, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-big", "messages": [{"role": "user", "content": text}], **more}


def _call(body: dict[str, Any] | None = None, **more: Any) -> Call:
    """A call as `read_call` leaves it, of a task's name (or none) and a body."""
    body = _chat() if body is None else body
    virtual = isinstance(body.get("model"), str) and body["model"].startswith("task:")
    named = body["model"].removeprefix("task:") if virtual else None
    fields = {"named": named, "virtual": virtual, "raw": json.dumps(body).encode(), **more}
    return Call(id="cue-1", started=0.0, body=body, path="/v1/chat/completions", headers=(), **fields)


def _view(task: Task, state: TaskState | None = None, *, model: str | None = None) -> TaskView:
    """A task as a worker sees it; with `model` there is a card for that model."""
    card = None
    if model:
        card = Card(
            task=task.name,
            version=1,
            definition=task.definition(),
            model=model,
            program=Prompt("Say good or bad."),
            contract=Contract("label", ("bad", "good")),
            winner="prompt",
            static_tokens=20,
            original_tokens=10,
            created="2026-03-01T12:00:00+00:00",
            compile_usd=0.01,
        )
    return TaskView(task, state or TaskState(), card, Incumbent())


def _exchange(encoding: str = "", *, streamed: bool = False) -> Exchange:
    attempt = Attempt("original", Endpoint("openai", "http://127.0.0.1:1/v1"), "gpt-big", b"{}", client_key=True)
    return Exchange(attempt, status=200, encoding=encoding, streamed=streamed)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chat() -> Callable[..., dict[str, Any]]:
    return _chat


@pytest.fixture
def call_of() -> Callable[..., Call]:
    return _call


@pytest.fixture
def view_of() -> Callable[..., TaskView]:
    return _view


@pytest.fixture
def exchange_of() -> Callable[..., Exchange]:
    return _exchange


@pytest.fixture
async def run(tmp_path: Path, fake: FakeUpstream) -> AsyncIterator[Callable[..., Awaitable[Proxy]]]:
    """`await run(**settings)`: the proxy in this process, over the fake upstream; ended with the test."""
    async with AsyncExitStack() as stack:

        async def start(**more: Any) -> Proxy:
            return await stack.enter_async_context(running(fake, tmp_path, **more))

        yield start


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def raw_proxy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Proxy]:
    """The proxy before a plain socket, with no key of its own; for tests that run in their module's loop."""
    async with RawUpstream() as upstream:
        settings = {"upstreams": {"raw": {"base_url": upstream.url}}, "log": {"requests": False}}
        async with running(upstream, tmp_path_factory.mktemp("raw"), **settings) as proxy:
            yield proxy


@pytest.fixture
def upstream(raw_proxy: Proxy) -> RawUpstream:
    raw_proxy.fake.answers(OK)
    return raw_proxy.fake


@pytest_asyncio.fixture(loop_scope="module")
async def client(raw_proxy: Proxy, upstream: RawUpstream) -> AsyncIterator[RawClient]:
    client = await RawClient.open(raw_proxy.port)
    yield client
    client.close()
