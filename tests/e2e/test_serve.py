"""From a client's request over real processes to the upstream, and back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from openai import AsyncOpenAI

from tests.e2e.conftest import Server
from tests.fake_upstream import FakeUpstream

Start = Callable[..., Awaitable[Server]]
PROMPT = "<prompt>Say good or bad.</prompt>"
SENTIMENT = {
    "description": "Say whether the text is good or bad.",
    "trust": "declared",
    "output": {"kind": "label", "labels": ["good", "bad"]},
}

CALL = {"model": "task:sentiment", "messages": [{"role": "user", "content": "nice"}]}


def client(server: Server) -> AsyncOpenAI:
    sdk = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-client", max_retries=0)
    server.opened.append(sdk)
    return sdk


async def test_200_first_calls_over_4_workers_cost_one_compile(start: Start, fake: FakeUpstream) -> None:
    fake.answers["fake-strong"] = PROMPT
    fake.answers["fake-nano"] = "good"
    server = await start(listen={"port": 0, "workers": 4}, tasks={"sentiment": SENTIMENT})
    body = {"model": "task:sentiment", "messages": [{"role": "user", "content": "I love it"}]}

    async def one() -> tuple[str, str]:
        async with await server.chat(body) as answer:
            assert answer.status == 200, await answer.text()
            return answer.headers["X-Cuecard-Route"], (await answer.json())["choices"][0]["message"]["content"]

    answers = await asyncio.gather(*(one() for _ in range(200)))
    assert set(answers) == {("compiled", "good")}
    assert len(fake.calls_to("fake-strong")) == 1
    assert len(fake.calls_to("fake-nano")) == 200


async def until_compiled(server: Server, body: dict[str, Any]) -> None:
    """Ask once, which starts the compile, then watch the task's stage."""
    async with await server.chat(body) as answer:
        assert answer.status == 200
    async with asyncio.timeout(20):
        while True:
            async with server.http.get(f"{server.url}/admin/tasks") as answer:
                if [t for t in (await answer.json())["tasks"] if t["state"]["stage"] == "live"]:
                    break
            await asyncio.sleep(0.05)
        while True:  # the worker adopts it within a second
            async with await server.chat(body) as answer:
                if answer.headers["X-Cuecard-Route"] != "original":
                    return
            await asyncio.sleep(0.05)


async def test_off_reaches_every_worker_within_a_second_and_survives_a_restart(
    start: Start, fake: FakeUpstream
) -> None:
    fake.answers.update({"fake-strong": PROMPT, "fake-nano": "good"})
    tasks = {"sentiment": {**SENTIMENT, "incumbent": "fake-mini"}}
    server = await start(tasks=tasks, listen={"port": 0, "workers": 2})
    await until_compiled(server, CALL)

    async def routes() -> set[str]:
        """Over so many connections that every worker is among those that answer."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            url = f"{server.url}/v1/chat/completions"
            answers = await asyncio.gather(*(http.post(url, json=CALL) for _ in range(30)))
            for answer in answers:
                await answer.read()
            return {answer.headers["X-Cuecard-Route"] for answer in answers}

    async def switched(to: str, route: str) -> None:
        async with server.http.post(f"{server.url}/admin/{to}") as answer:
            assert (await answer.json()) == {"off": to == "off"}
        await asyncio.sleep(1)  # what is promised
        assert await routes() == {route}

    await switched("off", "original")
    await server.stop()
    server = await start(tasks=tasks, listen={"port": 0, "workers": 2})
    assert await routes() == {"original"}  # from the first request on
    await switched("on", "compiled")
