"""How a server is started and asked: a process of its own on a free port of loopback, ended with all it started.

A recipe says how; a contender is a way to ask a server that runs. One Cuecard answers as two contenders: `original`
for requests that name no task, `compiled` for those that do.
"""

import asyncio
import json
import os
import re
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

from bench.load import LoadError, load, post

START_SECONDS = 90.0  # LiteLLM takes twenty on a busy machine
STOP_SECONDS = 10.0
LOG_LINES = 8
CHAT = "/v1/chat/completions"
HELLO: Mapping[str, Any] = {"messages": [{"role": "user", "content": "hello " * 40}]}
Kind = Literal["whole", "stream", "paced"]


class StartError(Exception):
    """A contender did not start, or does not answer; with the end of its log."""


@dataclass(frozen=True)
class Site:
    """Where a server is set up: a folder of its own, the port it gets, the upstream's port."""

    folder: Path
    port: int
    upstream: int
    workers: int

    @property
    def upstream_url(self) -> str:
        return f"http://127.0.0.1:{self.upstream}"


@dataclass(frozen=True)
class Ask:
    """How requests are put: `model` is a format, `tasks` the task to name for each kind of request."""

    name: str
    path: str = CHAT
    model: str = "{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[Kind, str] = field(default_factory=dict)
    expects: bytes = b""  # in every answer's head


@dataclass(frozen=True)
class Recipe:
    """`command` writes what the server needs into its site. `says_port`: the server chooses it and prints its URL.
    `stopped`: its processes are halted while others have their turn, so that what it does by itself is its own."""

    name: str
    how: str
    command: Callable[[Site], list[str]]
    asks: Callable[[Site], tuple[Ask, ...]]
    workers: int = 1
    says_port: bool = False
    stopped: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    ask: Ask
    port: int
    workers: int
    pid: int | None  # None: there is no server between, the upstream is asked itself
    folder: Path | None = None
    stopped: bool = False  # while others have their turn

    @property
    def name(self) -> str:
        return self.ask.name

    def request(self, kind: Kind, given: Mapping[str, Any] = HELLO, *, usage: bool = True) -> bytes:
        """`given` as this contender is asked for it; of kind `paced` it goes to the model of that name."""
        model = "paced" if kind == "paced" else given.get("model", "instant")
        body = {**given, "model": self.ask.model.format(model)}
        if kind != "whole":
            body |= {"stream": True} | ({"stream_options": {"include_usage": True}} if usage else {})
        headers = {"Authorization": "Bearer sk-bench", **self.ask.headers}
        if task := self.ask.tasks.get(kind):
            headers["X-Cuecard-Task"] = task
        return post(self.ask.path, json.dumps(body).encode(), headers)

    def halt(self) -> None:
        if self.pid and self.stopped:
            os.killpg(self.pid, signal.SIGSTOP)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While inside, it runs."""
        if self.pid and self.stopped:
            os.killpg(self.pid, signal.SIGCONT)
        try:
            yield
        finally:
            self.halt()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def started(recipe: Recipe, folder: Path, upstream: int) -> AsyncIterator[list[Contender]]:
    """Raises StartError unless every one of its contenders answers."""
    site = Site(folder, free_port(), upstream, recipe.workers)
    command = await asyncio.to_thread(_set_up, recipe, site)
    output = folder / "log"
    with output.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **recipe.env},
        )  # fmt: skip
    try:
        port = await _port(process, output) if recipe.says_port else site.port
        found = [Contender(ask, port, recipe.workers, process.pid, folder, recipe.stopped) for ask in recipe.asks(site)]
        for contender in found:
            await _answers(contender, process, output)
        found[0].halt()
        yield found
    finally:
        await _end(process)


def _set_up(recipe: Recipe, site: Site) -> list[str]:
    site.folder.mkdir()
    return recipe.command(site)


async def _port(process: Process, output: Path) -> int:
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                if (port := _said_port(output)) is not None:
                    return port
                await asyncio.sleep(0.1)
    raise StartError(f"it names no port; {_last_lines(output)}")


def _said_port(output: Path) -> int | None:
    said = re.search(r"listens on http://[\w.]+:(\d+)", output.read_text(errors="replace"))
    return int(said[1]) if said else None


async def _answers(contender: Contender, process: Process, output: Path) -> None:
    why = "it said nothing"
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                try:
                    for kind in ("whole", "stream", "paced"):
                        await once(contender, kind)
                    return
                except LoadError as error:
                    why = str(error)
                await asyncio.sleep(0.2)
    ended = "" if process.returncode is None else f"it ended with code {process.returncode}; "
    raise StartError(f"{ended}{contender.name} is not ready: {why}\n{_last_lines(output)}")


async def once(contender: Contender, kind: Kind) -> None:
    requests = repeat(contender.request(kind))
    await load(contender.port, requests, 1, 0.0, streams=kind != "whole", expects=contender.ask.expects)


def _last_lines(output: Path) -> str:
    lines = output.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(["its log ends with:", *lines])


async def _end(process: Process) -> None:
    """By SIGTERM, then the whole session that it led by SIGKILL: none of ours outlives the run."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
