"""The demo: an ordinary OpenAI-SDK app on real models, before and after its tasks are compiled."""

import asyncio
import re
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
from openai import AsyncOpenAI
from rich.console import Console

from proxy import headers
from proxy.demo.fetch import fetch_weights
from proxy.demo.llama import llama_server
from proxy.demo.rows import TASKS, Row, instruction, measured_rows, rows_of
from proxy.demo.setting import ANSWER_TOKENS, DemoError, Setting, bare
from proxy.demo.show import Measured, Result, show
from proxy.demo.spend import Purse

__all__ = ["Play", "run"]

COMPILE_WITHIN = 400.0  # seconds
READY_WITHIN = 30.0
TRIES = 3
POLL, ADOPTED, BOOKED = 0.5, 1.0, 1.0  # seconds: between looks; until workers have a card; until the ledger is written
NOTHING_CALLED = {"requests": 0, "compile_usd": 0.0, "net_saving_usd_estimated": 0.0, "rows": []}


async def run(setting: Setting, cache: Path, say: Console) -> None:
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        upstreams = await _upstreams(setting, cache, say, stack)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cuecard-demo-")))
        config = await asyncio.to_thread(setting.write, folder, cache, upstreams)
        play = Play(await stack.enter_async_context(cuecard(config)), setting, cache, say)
        stack.push_async_callback(play.close)
        results = await play.tasks()
    show(say, setting, results, time.monotonic() - started)


async def _upstreams(
    setting: Setting, cache: Path, say: Console, stack: AsyncExitStack
) -> dict[str, Mapping[str, str]]:
    """Those of the setting, and a llama.cpp server for each of its weights."""
    found = dict(setting.upstreams)
    files = {name: await asyncio.to_thread(fetch_weights, weights, cache) for name, weights in setting.weights.items()}
    models = dict(model.split("/", 1) for model in (setting.current, setting.cheap))
    say.print("starting " + " and ".join([*(f"llama.cpp for {models[name]}" for name in files), "Cuecard"]))
    for name, file in files.items():
        server = llama_server(file, alias=models[name], threads=1, parallel=1, ctx=4096)
        found[name] = {"base_url": await stack.enter_async_context(server), "api_key": "none"}
    return found


@asynccontextmanager
async def cuecard(config: Path) -> AsyncIterator[str]:
    """A Cuecard server of its own; yields its address once it knows the tasks."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy.cli", "serve", "--config", str(config), stdout=PIPE, start_new_session=True
    )
    try:
        address = await _address(process)
        await _ready(address)
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _address(process: Process) -> str:
    while process.stdout and (line := (await process.stdout.readline()).decode()):
        if found := re.search(r"listens on (http://\S+)/v1", line):
            return found[1]
    raise DemoError("cuecard serve did not start; its message stands above")


async def _ready(address: str) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN):
            while True:
                async with aiohttp.request("GET", f"{address}/health/ready") as answer:
                    if answer.status == 200:
                        return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise DemoError(f"cuecard serve was not ready within {READY_WITHIN:.0f} s") from None


class Play:
    """The app, on a Cuecard at `url`. Every call is taken from the purse before it is sent."""

    def __init__(self, url: str, setting: Setting, cache: Path, say: Console) -> None:
        self._url = url
        self._setting = setting
        self._cache = cache
        self._say = say
        self.purse = Purse(setting)
        self._sdk = AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", timeout=600, max_retries=TRIES - 1)
        self._http = aiohttp.ClientSession()

    async def close(self) -> None:
        await self._sdk.close()
        await self._http.close()

    async def tasks(self) -> list[Result]:
        with _first_error():
            async with asyncio.TaskGroup() as group:
                running = {name: group.create_task(self._task(name)) for name in TASKS}
        await asyncio.sleep(BOOKED)
        report = (await self._admin("report"))["tasks"]
        return [
            Result(name, *task.result(), await self._admin(f"tasks/{name}"), report.get(name, NOTHING_CALLED))
            for name, task in running.items()
        ]

    async def _task(self, name: str) -> tuple[Measured, Measured, Measured]:
        """On the current model, on the cheap one alone with the same prompt, then (once compiled) with its card."""
        rows = measured_rows(name, self._cache)
        current, cheap = self._setting.current, self._setting.cheap
        async with asyncio.TaskGroup() as group:
            group.create_task(self._compile(name))
            before = await self.measure(name, current, rows)
            self._say.print(f"{name}: {bare(current)} answers {before} of the test rows as labelled", highlight=False)
            plain = await self.measure(name, cheap, rows)
            self._say.print(f"{name}: {bare(cheap)} alone, same prompt: {plain}", highlight=False)
        after = await self.measure(name, f"task:{name}", rows)
        self._say.print(
            f"{name}: {bare(cheap)} with the card: {after}, {after.fallbacks} answered by {bare(current)}",
            highlight=False,
        )
        return before, plain, after

    async def _compile(self, name: str) -> None:
        """The app's first call starts the compile; the current model answers meanwhile."""
        opening = await self.measure(name, f"task:{name}", rows_of(name, "dev", 1, self._cache)[:1])
        if not opening.of:
            return
        stage = await self._compiled(name)
        spent = (await self._admin("report"))["tasks"].get(name, NOTHING_CALLED)
        guessed = any(row["failed"] or row["unpriced"] for row in spent["rows"] if row["role"] == "compile")
        if stage == "live" and not guessed:  # else it may be tried again, or has cost more than is known
            self.purse.give_back(self._setting.compile_usd - spent["compile_usd"])
        await asyncio.sleep(ADOPTED)

    async def _compiled(self, name: str) -> str:
        try:
            async with asyncio.timeout(COMPILE_WITHIN):
                while (stage := str((await self._admin(f"tasks/{name}"))["state"]["stage"])) not in ("live", "kept"):
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise DemoError(f"{name} was not compiled within {COMPILE_WITHIN:.0f} s") from None
        return stage

    async def measure(self, task: str, model: str, rows: list[Row]) -> Measured:
        """Fewer rows than asked for, once the purse is closed."""
        measured = Measured()
        for text, label in rows:
            most = self._setting.most(model, task, text)
            if not self._take(TRIES * most):
                break
            raw = await self._ask(model, task, text)
            fallback = raw.headers.get(headers.ROUTE) == "fallback"
            usd = float(raw.headers.get(headers.COST, most))
            # a failed attempt, here or on the card, is not in the header: it counts as the most it can have cost
            self.purse.give_back(TRIES * most - usd - (raw.retries_taken + fallback) * most)
            answer = raw.parse().choices[0].message.content or ""
            measured.of += 1
            measured.right += answer.strip() == label
            measured.fallbacks += fallback
            measured.usd += usd
        return measured

    def _take(self, usd: float) -> bool:
        was_closed = self.purse.closed
        taken = self.purse.take(usd)
        if self.purse.closed and not was_closed:
            self._say.print(
                f"stopped measuring: ${self.purse.taken:.4f} are spent or set aside, and the next call could pass "
                f"--max-usd ${self.purse.cap:.2f}",
                highlight=False,
            )
        return taken

    async def _ask(self, model: str, task: str, text: str) -> Any:
        turns: list[Any] = [{"role": "user", "content": text}]
        if not model.startswith("task:"):
            turns.insert(0, {"role": "system", "content": instruction(task)})
        try:
            return await self._sdk.chat.completions.with_raw_response.create(
                model=model, messages=turns, temperature=0, max_tokens=ANSWER_TOKENS
            )
        except openai.APIError as error:
            raise DemoError(f"{model}: {error.message}") from None

    async def _admin(self, what: str) -> dict[str, Any]:
        async with self._http.get(f"{self._url}/admin/{what}") as answer:
            found: dict[str, Any] = await answer.json()
            return found


@contextmanager
def _first_error() -> Iterator[None]:
    """Of the errors of tasks that ran at once, the first, as if it had been alone."""
    try:
        yield
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None
