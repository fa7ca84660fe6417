"""A request's body that is still coming in, on its way to the upstream while that may already be answering."""

import asyncio
from collections.abc import AsyncIterable

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import StreamWriter


class UploadError(aiohttp.ClientError):
    """The client's body did not come whole, or is not what its head says."""


class Upload:
    """Begins at once. Who waits for the answer's head hears of a body that breaks off as UploadError."""

    def __init__(self, protocol: ResponseHandler, body: AsyncIterable[bytes], *, in_chunks: bool) -> None:
        self.whole = False  # the upstream can't be waiting for more
        self._protocol = protocol
        self._writer = StreamWriter(protocol, asyncio.get_running_loop())
        if in_chunks:
            self._writer.enable_chunking()
        self._task = asyncio.create_task(self._run(body))

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self, body: AsyncIterable[bytes]) -> None:
        chunks = aiter(body)
        while not self.whole:
            try:
                chunk = await anext(chunks, b"")
            except Exception as error:  # noqa: BLE001 - boundary: whatever it is, the upstream must not take it for the whole
                self._broke_off(error)
                return
            try:
                await self._send(chunk)
            except ConnectionError:  # who reads the answer is told, and an upstream may answer before it hangs up
                return

    async def _send(self, chunk: bytes) -> None:
        if chunk:
            await self._writer.write(chunk)
        else:
            self.whole = True
            await self._writer.write_eof()

    def _broke_off(self, error: Exception) -> None:
        self._protocol.set_exception(UploadError(f"the request's body broke off ({type(error).__name__})"))
        if self._protocol.transport:
            self._protocol.transport.abort()
