"""Many calls, a few at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def gather(calls: Sequence[Callable[[], Awaitable[T]]], *, at_most: int) -> list[T]:
    """Their results, in order. The first failure is raised, and the rest is cancelled."""
    gate = asyncio.Semaphore(at_most)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await call()

    running = [asyncio.create_task(one(call)) for call in calls]
    try:
        return await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
