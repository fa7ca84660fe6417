import asyncio
import os
import signal
import sys
import textwrap
from asyncio.subprocess import DEVNULL, PIPE, create_subprocess_exec
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, BadRequestError

from proxy.demo import llama
from proxy.demo.child import LAST_LINES
from proxy.demo.fetch import TINY, default_cache, fetch_weights
from proxy.demo.llama import LlamaError, llama_server

HELLO = "You are brief. Say hello."


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    """A Python that runs `body` whatever it is asked to run; returns the file where it may leave notes."""
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(body))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -u "{script}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


HEALTHY = """
    import http.server, os, signal, sys, threading, time

    class Health(http.server.BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self):
            Health.asked += 1
            self.send_response(200 if Health.asked > 2 else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("loading", flush=True)
    open(os.environ["NOTES"], "w").write(str(os.getpid()))
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
"""
SLEEPS = "    time.sleep(60)\n"
STUBBORN = "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def note(notes: Path) -> str:
    return notes.read_text() if notes.exists() else ""


async def started(notes: Path) -> int:
    for _ in range(500):
        if pid := note(notes):
            return int(pid)
        await asyncio.sleep(0.02)
    raise AssertionError("the child did not start")


async def test_it_waits_until_healthy_and_stops_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = stand_in(tmp_path, monkeypatch, HEALTHY + SLEEPS)
    async with llama_server(tmp_path / "m.gguf", alias="m") as base_url:
        pid = int(notes.read_text())
        assert base_url.startswith("http://127.0.0.1:")
        assert base_url.endswith("/v1")
        assert alive(pid)
    assert not alive(pid)


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "STOP_S", 0.1)
    notes = stand_in(tmp_path, monkeypatch, HEALTHY + STUBBORN + SLEEPS)
    async with llama_server(tmp_path / "m.gguf", alias="m"):
        pid = int(notes.read_text())
        await asyncio.sleep(0.2)
    assert not alive(pid)


async def test_a_child_that_dies_is_an_error_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "import sys; [print('line', n) for n in range(50)]; sys.exit('not enough memory')"
    stand_in(tmp_path, monkeypatch, body)
    with pytest.raises(LlamaError, match=r"code 1:\n(.*\n)*not enough memory") as error:
        async with llama_server(tmp_path / "m.gguf", alias="m"):
            pass
    assert len(str(error.value).splitlines()) == 1 + LAST_LINES


async def test_a_child_that_never_gets_ready_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = stand_in(
        tmp_path,
        monkeypatch,
        "import os, time; open(os.environ['NOTES'], 'w').write(str(os.getpid())); print('loading'); time.sleep(60)",
    )
    with pytest.raises(LlamaError, match=r"not ready within 1 s:\nloading"):
        async with llama_server(tmp_path / "m.gguf", alias="m", ready_within=1):
            pass
    assert not alive(int(notes.read_text()))


async def test_cancelled_while_it_starts_the_child_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "import os, time; open(os.environ['NOTES'], 'w').write(str(os.getpid())); time.sleep(60)"
    notes = stand_in(tmp_path, monkeypatch, body)

    async def use() -> None:
        async with llama_server(tmp_path / "m.gguf", alias="m"):
            pass

    task = asyncio.create_task(use())
    pid = await started(notes)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)


async def test_an_error_inside_still_stops_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = stand_in(tmp_path, monkeypatch, HEALTHY + SLEEPS)
    with pytest.raises(ZeroDivisionError):
        async with llama_server(tmp_path / "m.gguf", alias="m"):
            raise ZeroDivisionError
    assert not alive(int(notes.read_text()))


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LlamaError, match=r"no such file: .*nothing\.gguf"):
        async with llama_server(tmp_path / "nothing.gguf", alias="m"):
            pass


PARENT = """
import asyncio, sys
from pathlib import Path
from proxy.demo.llama import llama_server

async def main():
    async with llama_server(Path(sys.argv[1]), alias="tiny") as base_url:
        print(base_url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def refuses(base_url: str) -> bool:
    async with aiohttp.ClientSession() as session:
        for _ in range(250):
            try:
                async with session.get(f"{base_url}/models"):
                    await asyncio.sleep(0.02)
            except aiohttp.ClientConnectionError:
                return True
    return False


@pytest.fixture(scope="module")
def tiny() -> Path:
    pytest.importorskip("xllamacpp")
    return fetch_weights(TINY, default_cache())


@pytest_asyncio.fixture
async def client(tiny: Path) -> AsyncIterator[AsyncOpenAI]:
    async with (
        llama_server(tiny, alias="tiny", ctx=512, parallel=2) as base_url,
        AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as openai,
    ):
        yield openai


@pytest.mark.real
async def test_a_chat_call_answers_with_usage_and_cached_tokens(client: AsyncOpenAI) -> None:
    for _ in range(2):
        answer = await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": HELLO}], max_tokens=8, temperature=0
        )
    assert answer.choices[0].message.content
    assert answer.model == "tiny"
    assert answer.usage and answer.usage.prompt_tokens_details
    assert 0 < (answer.usage.prompt_tokens_details.cached_tokens or 0) < answer.usage.prompt_tokens


@pytest.mark.real
async def test_a_streamed_chat_call_ends_with_usage(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": HELLO}],
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [8]


@pytest.mark.real
async def test_it_lists_its_model_and_refuses_what_exceeds_the_context(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["tiny"]
    with pytest.raises(BadRequestError, match="exceeds the available context size"):
        await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "word " * 600}])


@pytest.mark.real
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_the_server_dies_with_its_parent(tiny: Path, blow: signal.Signals) -> None:
    parent = await create_subprocess_exec(sys.executable, "-c", PARENT, str(tiny), stdout=PIPE, stderr=DEVNULL)
    assert parent.stdout
    base_url = (await parent.stdout.readline()).decode().strip()
    parent.send_signal(blow)
    assert await refuses(base_url)
    await parent.wait()


@pytest.fixture
def half(tiny: Path, tmp_path: Path) -> Path:
    path = tmp_path / "half.gguf"
    path.write_bytes(tiny.read_bytes()[: 1 << 20])
    return path


@pytest.mark.real
async def test_half_a_file_is_refused_with_llama_cpps_own_words(half: Path) -> None:
    with pytest.raises(LlamaError, match="failed to load model"):
        async with llama_server(half, alias="half"):
            pass
