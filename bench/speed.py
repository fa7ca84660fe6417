"""Cuecard beside a bare aiohttp proxy and no proxy at all, in one run: `make bench`.

Every figure is taken in rounds that alternate between the three, so that a noisy machine is noisy for all of them;
what counts is the ratio. The upstream answers at once, in a process of its own, as does the load.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
import yaml
from aiohttp import web
from rich.console import Console
from rich.table import Table

BODY = json.dumps({"model": "instant", "messages": [{"role": "user", "content": "hello " * 40}]}).encode()
ANSWER = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "model": "instant",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "good"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 51},
    }
).encode()
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer sk-bench"}


async def instant(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=ANSWER, content_type="application/json")


def bare(upstream: str) -> web.Application:
    """The least an aiohttp proxy can do: read, send on, send back."""
    app = web.Application()

    async def session(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as opened:
            app[SESSION] = opened
            yield

    async def forward(request: web.Request) -> web.Response:
        body = await request.read()
        async with request.app[SESSION].post(upstream + request.path, data=body, headers=HEADERS) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    app.cleanup_ctx.append(session)
    app.router.add_post("/v1/chat/completions", forward)
    return app


SESSION = web.AppKey("session", aiohttp.ClientSession)


async def run_server(app: web.Application) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"listens on http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


@asynccontextmanager
async def started(*command: str) -> AsyncIterator[str]:
    process: Process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE)
    try:
        while process.stdout and (line := (await process.stdout.readline()).decode()):
            if found := re.search(r"listens on (http://\S+)/v1", line):
                yield found[1]
                break
        else:
            raise RuntimeError(f"{command} did not start")
    finally:
        process.terminate()
        await process.wait()


async def load(url: str, concurrency: int, seconds: float) -> tuple[float, float]:
    """(requests a second, p50 in ms) of clients that each send the next request when the last one is answered."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def client(http: aiohttp.ClientSession) -> None:
        while (begun := time.perf_counter()) < end:
            async with http.post(f"{url}/v1/chat/completions", data=BODY, headers=HEADERS) as answer:
                await answer.read()
                assert answer.status == 200
            times.append(time.perf_counter() - begun)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(client(http) for _ in range(concurrency)))
    return len(times) / seconds, statistics.median(times) * 1_000


def configuration(folder: Path, upstream: str) -> str:
    settings: dict[str, Any] = {
        "listen": {"port": 0},
        "upstreams": {"instant": {"base_url": f"{upstream}/v1", "api_key": "none"}},
        "prices": {"instant": {"input": 1, "output": 1}},
        "models": {"meta": "instant", "production": ["instant"]},
        "store": {"url": f"file:{folder / 'store'}"},
    }
    file = folder / "cuecard.yaml"
    file.write_text(yaml.safe_dump(settings))
    return str(file)


async def measure(rounds: int, seconds: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(started(__file__, "--upstream"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = await asyncio.to_thread(configuration, folder, upstream)
        urls = {
            "direct": upstream,
            "bare aiohttp": await stack.enter_async_context(started(__file__, "--bare", upstream)),
            "cuecard": await stack.enter_async_context(started("-m", "proxy.cli", "serve", "--config", config)),
        }
        for url in urls.values():
            await load(url, 4, 1.0)
        for concurrency in (1, 8, 64):
            seen: dict[str, list[tuple[float, float]]] = {name: [] for name in urls}
            for _ in range(rounds):
                for name, url in urls.items():
                    seen[name].append(await load(url, concurrency, seconds))
            rows += [summary(name, concurrency, found) for name, found in seen.items()]
    return rows


def summary(name: str, concurrency: int, found: list[tuple[float, float]]) -> dict[str, Any]:
    rate, p50 = (statistics.median(values) for values in zip(*found, strict=True))
    return {"server": name, "concurrency": concurrency, "requests_per_second": rate, "p50_ms": p50}


def show(rows: list[dict[str, Any]]) -> Table:
    table = Table("c", "server", "requests/s", "p50 ms", "added p50 ms", "added: x bare", "requests/s: x bare")
    by = {(row["concurrency"], row["server"]): row for row in rows}
    for (concurrency, name), row in by.items():
        direct, other = by[concurrency, "direct"], by[concurrency, "bare aiohttp"]
        added, added_bare = row["p50_ms"] - direct["p50_ms"], other["p50_ms"] - direct["p50_ms"]
        ratios = (f"{added / added_bare:.2f}", f"{row['requests_per_second'] / other['requests_per_second']:.2f}")
        shown = (f"{row['requests_per_second']:,.0f}", f"{row['p50_ms']:.3f}", f"{added:.3f}")
        table.add_row(str(concurrency), name, *shown, *(ratios if name != "direct" else ("-", "-")))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--bare", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upstream:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", instant)
        uvloop.run(run_server(app))
    elif options.bare:
        uvloop.run(run_server(bare(options.bare)))
    else:
        rows = uvloop.run(measure(options.rounds, options.seconds))
        print(json.dumps(rows)) if options.json else Console().print(show(rows), f"{os.cpu_count()} cores, shared")


if __name__ == "__main__":
    main()
