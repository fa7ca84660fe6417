"""`cuecard prove` stopped and killed, in a process of its own: what was paid for is not paid again."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_upstream import FakeUpstream, Fault
from tests.proxy.prove.logs import billed, configured, only_toxic

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def started(settings, log, tmp_path):
    """Ends with the test, however that ends."""
    configured(settings)
    running: list[asyncio.subprocess.Process] = []

    async def started(*words: str) -> asyncio.subprocess.Process:
        heeding = ("env", "--default-signal=INT")  # tests that run in the background were told to ignore it
        command = (sys.executable, "-c", "from proxy.cli import main; main()", "prove", "log.jsonl", "--json", *words)
        where: dict[str, Any] = {"cwd": tmp_path, "env": {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}}
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        running.append(await asyncio.create_subprocess_exec(*heeding, *command, **where, **pipes))
        return running[-1]

    yield started
    for process in running:
        if process.returncode is None:
            process.kill()


def stalling(fake: FakeUpstream, after: int) -> None:
    """The cheap model answers so many calls; the others wait until the test lets them go."""
    asked: list[Any] = []

    def answer(body: Any) -> Any:
        asked.append(body)
        return only_toxic(body) if len(asked) <= after or fake.release.is_set() else Fault.stall(only_toxic(body))

    fake.answers["fake-nano"] = answer


async def said(process: asyncio.subprocess.Process, words: str) -> None:
    """Until it did: to start may take long on a machine that does other things too."""
    assert process.stderr
    async with asyncio.timeout(60):
        while words not in (line := await process.stderr.readline()).decode():
            assert line, "it ended"


async def done(fake: FakeUpstream, number: int) -> None:
    await fake.wait_until(lambda: sum(call.billed for call in fake.calls_to("fake-nano")) >= number)


@pytest.mark.parametrize(("after", "words"), [(5, "their requests go to"), (60, "comparing up to")])
async def test_killed_and_run_again_it_pays_for_what_is_missing_only(started, fake, after, words):
    """In the middle of the compile, and of the pairs."""
    stalling(fake, after)
    process = await started()
    await said(process, words)
    await done(fake, after)
    await fake.wait_for(after + 2)
    process.kill()
    await process.communicate()
    kept = {call.body for call in fake.calls if call.answer}
    cut = {call.body for call in fake.calls if not call.answer}
    fake.release.set()
    out, _ = await (await started()).communicate()
    found = json.loads(out)
    assert [task["verdict"] for task in found["tasks"]] == ["pass", "fail"]
    again = [call.body for call in fake.calls if call.body in kept]
    assert len(again) - len(kept) <= 8, "what was answered and not yet written down"
    assert found["usd"] >= billed(fake), "what was cut off stays reserved"
    assert len(cut) <= 8


async def test_ctrl_c_says_how_to_go_on(started, fake, tmp_path):
    stalling(fake, 60)
    process = await started()
    await said(process, "comparing up to")
    await done(fake, 60)
    await fake.wait_for(62)
    process.send_signal(signal.SIGINT)
    out, error = await process.communicate()
    assert process.returncode == 130, error.decode()
    told = " ".join(error.decode().split())
    assert "Run the same command again: it goes on from there, and pays only for the rest" in told
    assert f"is kept in {tmp_path / '.cuecard' / 'prove'} for 8 days" in told
    assert out == b"" and b"Traceback" not in error
    fake.release.set()
    process = await started()
    out, _ = await process.communicate()
    assert (process.returncode, [task["verdict"] for task in json.loads(out)["tasks"]]) == (1, ["pass", "fail"])
