"""A Cuecard server of the demo's own."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from proxy.demo.child import Output
from proxy.demo.setting import DemoError

__all__ = ["cuecard"]

LISTENS = r"listens on (http://\S+)/v1"
READY_WITHIN = 30.0  # seconds


@asynccontextmanager
async def cuecard(config: Path) -> AsyncIterator[str]:
    """Yields its address once it serves. It ends with this process, however that ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy.cli", "serve", "--until-eof", "--config", str(config)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    output = Output(LISTENS)
    reading = asyncio.create_task(output.read(process))
    try:
        if not (address := await output.address):
            raise DemoError(output.ended("cuecard serve did not start:"))
        await _ready(address)
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        reading.cancel()


async def _ready(address: str) -> None:
    try:
        async with asyncio.timeout(READY_WITHIN):
            while True:
                async with aiohttp.request("GET", f"{address}/health/ready") as answer:
                    if answer.status == 200:
                        return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise DemoError(f"cuecard serve was not ready within {READY_WITHIN:.0f} s") from None
