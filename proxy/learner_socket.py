"""The worker's way to its learner: a socket, for as long as there is one at the other end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

AGAIN_SECONDS = 0.2


async def connected(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Waits until there is a learner that answers."""
    while True:
        try:
            return await asyncio.open_unix_connection(str(path))
        except OSError:
            await asyncio.sleep(AGAIN_SECONDS)


@asynccontextmanager
async def linked(
    path: Path, send: Callable[[asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[asyncio.StreamReader]:
    """What the next learner says, while `send` goes on beside it, from the first wait inside to the end of it."""
    reader, writer = await connected(path)
    sending = asyncio.ensure_future(send(writer))
    try:
        yield reader
    finally:
        sending.cancel()
        writer.close()


async def emptied(empty: asyncio.Event, seconds: float) -> None:
    """Wait for it, but not longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await empty.wait()
