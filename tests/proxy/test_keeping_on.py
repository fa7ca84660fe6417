"""Work of the learner that fails, and goes on."""

import asyncio
import logging

import pytest

from compiler.errors import StoreError
from proxy.keeping_on import keep_on

log = logging.getLogger("cuecard.test")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.keeping_on.FIRST_WAIT", 0.0)
    monkeypatch.setattr("proxy.keeping_on.LONGEST_WAIT", 0.0)


async def run(*outcomes: Exception | None) -> int:
    """Steps that end so, then nothing more to do; how often what was open was closed."""
    left, closed, done = [*outcomes], 0, asyncio.Event()

    async def step() -> float:
        if not left:
            done.set()
            return 3_600.0
        if outcome := left.pop(0):
            raise outcome
        return 0.0

    async def close() -> None:
        nonlocal closed
        closed += 1

    async with asyncio.timeout(10):
        working = asyncio.create_task(keep_on(step, close, log, "sorting"))
        await done.wait()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return closed


async def test_a_store_that_fails_for_long_is_told_of_once_and_once_more_when_it_is_mended(caplog):
    full = StoreError("disk full")
    assert await run(None, full, full, full, None, None) == 3
    assert [record.message for record in caplog.records] == [
        "no more sorting until this is mended: disk full",
        "sorting again",
    ]


async def test_a_bug_ends_nothing(caplog):
    assert await run(ValueError("a bug"), None) == 1
    (record,) = caplog.records
    assert record.message == "sorting" and record.exc_info and "a bug" in str(record.exc_info[1])
