"""One process at a time learns on a store. The lock is the kernel's, so that a killed learner leaves nothing behind."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def elected(folder: Path) -> AsyncIterator[None]:
    """Waits until no other process learns on this store."""
    handle = os.open(folder / "learner.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.5)
        yield
    finally:
        os.close(handle)


def is_elected(folder: Path) -> bool:
    """Whether some process learns on this store now."""
    handle = os.open(folder / "learner.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: askers don't see one another
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
