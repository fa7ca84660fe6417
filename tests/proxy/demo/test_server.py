"""What the demo started ends with it, whatever ends it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, create_subprocess_exec
from pathlib import Path
from typing import Any

import pytest

from bench.processes import tree
from proxy.demo.server import cuecard
from proxy.demo.setting import OPENAI, DemoError
from tests.fake_upstream import FakeUpstream
from tests.proxy.demo.conftest import able, fill

PATIENCE = 45.0  # seconds


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not all(map(has_ended, pids)):
            await asyncio.sleep(0.02)  # nobody tells of another's children


def has_ended(pid: int) -> bool:
    """Also where nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_left_running(blow: signal.Signals, fake: FakeUpstream, tmp_path: Path) -> None:
    asked = asyncio.Event()

    def answer(request: Any) -> str:
        asked.set()
        return able(request)

    fake.answers["gpt-4.1"] = answer
    environ = {
        **os.environ,
        "OPENAI_API_KEY": "sk-of-the-user",
        "OPENAI_BASE_URL": fake.url,
        "CUECARD_CACHE": str(fill(tmp_path / "cache")),
        "TMPDIR": str(tmp_path),
    }
    command = (sys.executable, "-m", "proxy.cli", "demo", "--upstream", "openai", "--yes")
    demo = await create_subprocess_exec(*command, env=environ, stdin=DEVNULL, stdout=PIPE)
    await asyncio.wait_for(asked.wait(), PATIENCE)
    started = [process.pid for process in tree(demo.pid)]
    assert len(started) >= 4  # itself, a supervisor, a worker, a learner
    demo.send_signal(blow)
    said, _ = await demo.communicate()
    await gone(started)
    if blow is not signal.SIGKILL:
        assert demo.returncode == 130
        assert b"nothing is left running" in said


async def test_a_server_that_does_not_start_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    config = OPENAI.write(tmp_path, {"openai": {"base_url": "nowhere"}})
    with pytest.raises(DemoError, match=r"did not start:\n(.*\n)*.*base_url"):
        async with cuecard(config):
            pass
