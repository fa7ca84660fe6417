"""Many paid calls, a few at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def gather(calls: Sequence[Callable[[], Awaitable[T]]], *, at_most: int) -> list[T]:
    """Their results, in order. After a failure no call begins; those in flight are paid for, so they are waited for and
    their answers kept, and then it is raised. Cancelled, it cancels them."""
    todo = iter(enumerate(calls))
    results: dict[int, T] = {}
    failures: list[BaseException] = []

    async def work() -> None:
        for i, call in todo:
            if failures:
                return
            try:
                results[i] = await call()
            except BaseException as error:
                failures.append(error)
                raise

    await asyncio.gather(*(work() for _ in range(at_most)), return_exceptions=True)
    if failures:
        raise failures[0]
    return [results[i] for i in range(len(calls))]
