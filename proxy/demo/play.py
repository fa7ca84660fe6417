"""The demo: an ordinary OpenAI-SDK app on real local models, before and after its tasks are compiled."""

import asyncio
import json
import re
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from openai import AsyncOpenAI
from rich.console import Console
from rich.table import Table

from proxy.demo.fetch import CANDIDATE, INCUMBENT, default_cache, fetch_rows, fetch_weights
from proxy.demo.llama import llama_server

BIG, SMALL = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"
PRICED_AS = {BIG: "gpt-4.1", SMALL: "gpt-4.1-nano"}
PRICES = {
    BIG: {"input": 2.0, "cached_input": 0.5, "output": 8.0},
    SMALL: {"input": 0.1, "cached_input": 0.025, "output": 0.4},
}
TASKS: dict[str, tuple[str, ...]] = {  # CLINC150 intents, chosen before any test row was answered
    "travel": (
        *("book_flight", "book_hotel", "car_rental", "flight_status"),
        *("lost_luggage", "international_visa", "travel_suggestion", "carry_on"),
    ),
    "home": ("alarm", "weather", "play_music", "shopping_list", "recipe", "traffic", "make_call", "translate"),
}
EXAMPLES_A_LABEL = 6
TEST_ROWS = 32
COMPILE_WITHIN = 400.0  # seconds


@dataclass
class Measured:
    right: int = 0
    of: int = 0
    fallbacks: int = 0
    usd: float = 0.0

    def __str__(self) -> str:
        return f"{self.right / self.of:.0%}" if self.of else "-"


def instruction(labels: tuple[str, ...]) -> str:
    return f"Classify the user's message. Answer with exactly one of these labels: {', '.join(labels)}."


def rows_of(labels: tuple[str, ...], split: Any, each: int, cache: Path) -> list[tuple[str, str]]:
    """The first `each` rows of every label, label by label in turn."""
    rows = fetch_rows("clinc150", split, cache)
    by_label = [[row for row in rows if row[1] == label][:each] for label in labels]
    return [row for turn in zip(*by_label, strict=True) for row in turn]


def configuration(folder: Path, cache: Path, big: str, small: str) -> Path:
    tasks = {}
    for name, labels in TASKS.items():
        examples = folder / f"{name}.jsonl"
        rows = rows_of(labels, "train", EXAMPLES_A_LABEL, cache)
        lines = [json.dumps({"input": text, "expected": label}) + "\n" for text, label in rows]
        examples.write_text("".join(lines), "utf-8")
        tasks[name] = {
            "description": instruction(labels),
            "incumbent": f"big/{BIG}",
            "examples": str(examples),
            "trust": "declared",
            "output": {"kind": "label", "labels": list(labels)},
        }
    settings = {
        "listen": {"port": 0},
        "upstreams": {"big": {"base_url": big, "api_key": "none"}, "small": {"base_url": small, "api_key": "none"}},
        "models": {"meta": f"big/{BIG}", "production": [f"small/{SMALL}"]},
        "compile": {"concurrency": 1},
        "prices": PRICES,
        "timeouts": {"candidate": "60s", "first_call_wait": "5m"},
        "store": {"url": f"file:{folder / 'store'}"},
        "tasks": tasks,
    }
    file = folder / "cuecard.yaml"
    file.write_text(yaml.safe_dump(settings), "utf-8")
    return file


@asynccontextmanager
async def cuecard(config: Path) -> AsyncIterator[str]:
    """A Cuecard server of its own; yields its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy.cli", "serve", "--config", str(config), stdout=PIPE, start_new_session=True
    )
    try:
        yield await _address(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _address(process: Process) -> str:
    while process.stdout and (line := (await process.stdout.readline()).decode()):
        if found := re.search(r"listens on (http://\S+)/v1", line):
            return found[1]
    raise RuntimeError("cuecard serve did not start; its message stands above")


class Play:
    def __init__(self, url: str, cache: Path, say: Console) -> None:
        self._url = url
        self._cache = cache
        self._say = say
        self._sdk = AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", timeout=600)
        self._http = aiohttp.ClientSession()

    async def close(self) -> None:
        await self._sdk.close()
        await self._http.close()

    async def task(self, name: str) -> dict[str, Any]:
        """Measure the task on the current model, on the cheap one alone, then (once compiled) with its card."""
        rows = rows_of(TASKS[name], "test", TEST_ROWS // len(TASKS[name]), self._cache)
        system = instruction(TASKS[name])
        opening = asyncio.create_task(self._compile(name))
        before = await self._measure(f"big/{BIG}", rows, system)
        self._say.print(f"{name}: {BIG} answers {before} of {before.of} test rows as labelled")
        plain = await self._measure(f"small/{SMALL}", rows, system)
        self._say.print(f"{name}: {SMALL} alone, same prompt: {plain}")
        await opening
        after = await self._measure(f"task:{name}", rows, None)
        self._say.print(f"{name}: {SMALL} with the card: {after}, {after.fallbacks} answered by {BIG}")
        return {"before": before, "plain": plain, "after": after}

    async def _compile(self, name: str) -> None:
        """The app's first call starts the compile; the current model answers meanwhile."""
        await self._measure(f"task:{name}", rows_of(TASKS[name], "dev", 1, self._cache)[:1], None)
        async with asyncio.timeout(COMPILE_WITHIN):
            while (await self.state(name))["state"]["stage"] not in ("live", "kept"):
                await asyncio.sleep(0.5)
        await asyncio.sleep(1)  # every worker adopts a card within a second

    async def _measure(self, model: str, rows: list[tuple[str, str]], system: str | None) -> Measured:
        measured = Measured()
        for text, label in rows:
            turns: list[Any] = [{"role": "system", "content": system}] if system else []
            turns.append({"role": "user", "content": text})
            raw = await self._sdk.chat.completions.with_raw_response.create(
                model=model, messages=turns, temperature=0, max_tokens=16
            )
            answer = raw.parse().choices[0].message.content or ""
            measured.of += 1
            measured.right += answer.strip() == label
            measured.fallbacks += raw.headers.get("X-Cuecard-Route") == "fallback"
            measured.usd += float(raw.headers.get("X-Cuecard-Cost-Usd", 0))
        return measured

    async def state(self, name: str) -> dict[str, Any]:
        async with self._http.get(f"{self._url}/admin/tasks/{name}") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def report(self) -> dict[str, Any]:
        await asyncio.sleep(0.5)  # the ledger is written every 100 ms
        async with self._http.get(f"{self._url}/admin/report") as answer:
            found: dict[str, Any] = (await answer.json())["tasks"]
            return found


async def run(say: Console) -> None:
    started = time.monotonic()
    cache = default_cache()
    big, small = await asyncio.to_thread(lambda: (fetch_weights(INCUMBENT, cache), fetch_weights(CANDIDATE, cache)))
    async with AsyncExitStack() as stack:
        say.print("starting two llama.cpp servers and Cuecard")
        urls = [
            await stack.enter_async_context(llama_server(path, alias=alias, threads=1, parallel=1, ctx=4096))
            for path, alias in ((big, BIG), (small, SMALL))
        ]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cuecard-demo-")))
        config = await asyncio.to_thread(configuration, folder, cache, *urls)
        play = Play(await stack.enter_async_context(cuecard(config)), cache, say)
        stack.push_async_callback(play.close)
        results = await asyncio.gather(*(play.task(name) for name in TASKS))
        report = await play.report()
        for name in TASKS:
            show_prompt(say, name, await play.state(name))
        say.print(table(dict(zip(TASKS, results, strict=True)), report))
    say.print(
        f"Accuracy is against CLINC150's own labels, {TEST_ROWS} test rows a task: a difference under about "
        f"{100 / TEST_ROWS**0.5:.0f} points is noise. Costs: {BIG} priced as {PRICED_AS[BIG]}, {SMALL} as "
        f"{PRICED_AS[SMALL]}; baselines are estimates. Took {time.monotonic() - started:.0f} s."
    )


def show_prompt(say: Console, name: str, state: dict[str, Any]) -> None:
    card = state["card"]
    if card is None:
        say.print(f"{name}: no card, {state['state']['reason']}")
        return
    shown = len(card["program"]["demonstrations"])
    scores = ", ".join(f"{s['name']} {s['right']}/{s['of']}" for s in card["scores"])
    say.print(f"\n{name}: compiled prompt ({card['winner']}; {shown} demonstrations; held-out: {scores})", markup=False)
    say.print(card["program"]["system"], markup=False, style="dim")


def table(results: dict[str, dict[str, Any]], report: dict[str, Any]) -> Table:
    out = Table(
        "task", BIG, f"{SMALL} alone", f"{SMALL} + card", "$ per 1,000: before", "after", "compile $", "break-even"
    )
    for name, measured in results.items():
        before, plain, after = measured["before"], measured["plain"], measured["after"]
        compile_usd = report[name]["compile_usd"]
        saved = (before.usd / before.of) - (after.usd / after.of)
        calls = f"{compile_usd / saved:,.0f} calls" if saved > 0 else "never"
        row = (
            f"{before.usd / before.of * 1_000:.4f}",
            f"{after.usd / after.of * 1_000:.4f}",
            f"{compile_usd:.4f}",
            calls,
        )
        out.add_row(name, str(before), str(plain), str(after), *row)
    return out
