"""Background work that goes on for as long as the learner lives, whatever becomes of the store."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from compiler.errors import StoreError

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds after a failure


async def keep_on(
    step: Callable[[], Awaitable[float]], close: Callable[[], Awaitable[None]], log: logging.Logger, doing: str
) -> None:
    """`step` until cancelled; it says how long to rest, in seconds. After a failure what it had open is closed, and it
    begins again, soon where a store failed. `doing`: what it does, in words for the operator."""
    wait, told = FIRST_WAIT, False
    while True:
        try:
            rest = await step()
            if told:
                log.warning("%s again", doing)
            wait, told = FIRST_WAIT, False
            await asyncio.sleep(rest)
            continue
        except StoreError as error:
            if not told:
                log.warning("no more %s until this is mended: %s", doing, error)
            told = True
        except Exception:  # boundary: a bug in one kind of work must not end what else the learner does
            log.exception("%s", doing)
            wait = LONGEST_WAIT
        await close()
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)
