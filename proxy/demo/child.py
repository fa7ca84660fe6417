"""A process that the demo starts, listened to until it says its address and drained from then on."""

import asyncio
import re
from asyncio.subprocess import Process
from collections import deque

__all__ = ["LAST_LINES", "Output"]

LAST_LINES = 20


class Output:
    """Of one child. `address`: the first group of the first match of `says`; None where it ended before."""

    def __init__(self, says: str) -> None:
        self._says = re.compile(says)
        self.lines: deque[str] = deque(maxlen=LAST_LINES)
        self.address: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def read(self, process: Process) -> None:
        """To its end, so that it never blocks."""
        assert process.stdout is not None
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            found = self._says.search(line)
            if found and not self.address.done():
                self.address.set_result(found[1])
            else:
                self.lines.append(line)
        if not self.address.done():
            self.address.set_result(None)

    def ended(self, what: str) -> str:
        """`what`, with the last that it said."""
        return "\n".join([what, *self.lines])
