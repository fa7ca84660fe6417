"""The worker's way to its learner: a socket, for as long as there is one at the other end."""

import asyncio
from pathlib import Path

AGAIN_SECONDS = 0.2


async def connected(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Waits until there is a learner that answers."""
    while True:
        try:
            return await asyncio.open_unix_connection(str(path))
        except OSError:
            await asyncio.sleep(AGAIN_SECONDS)
