import asyncio
from functools import partial

import pytest

from compiler.gather import gather


class Calls:
    """Each ends when it is told to; `running` and `most` at once."""

    def __init__(self) -> None:
        self.running = self.most = self.begun = 0
        self.go = asyncio.Event()
        self.cancelled = 0

    async def one(self, number: int, *, fails: bool = False) -> int:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            if not fails:
                await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if fails:
            raise ValueError(number)
        return number


async def test_results_come_in_order_and_no_more_run_at_once_than_may():
    calls = Calls()
    calls.go.set()
    assert await gather([partial(calls.one, i) for i in range(20)], at_most=3) == [*range(20)]
    assert calls.most == 3
    assert await gather([], at_most=3) == []


async def test_after_a_failure_none_begins_and_those_in_flight_are_waited_for():
    calls = Calls()
    going = asyncio.create_task(
        gather([*(partial(calls.one, i, fails=i == 1) for i in range(20))], at_most=4), name="gathering"
    )
    while calls.running != 3:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert not going.done()
    calls.go.set()
    with pytest.raises(ValueError, match="1"):
        await going
    assert (calls.begun, calls.cancelled) == (4, 0)


async def test_cancelled_it_cancels_them():
    calls = Calls()
    going = asyncio.create_task(gather([partial(calls.one, i) for i in range(20)], at_most=4))
    while calls.running != 4:
        await asyncio.sleep(0)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert (calls.begun, calls.cancelled) == (4, 4)
