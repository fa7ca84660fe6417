"""A file of any size passes through a worker that holds no more of it than a moment's worth."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from tests.e2e.conftest import Server

MIB = 2**20
SIZE = 200 * MIB
MORE = 16 * MIB  # that the worker may take at its peak: socket buffers and pieces under way
BOUNDARY = b"cuecard-boundary"
BEFORE = b'--%s\r\nContent-Disposition: form-data; name="file"; filename="big.jsonl"\r\n\r\n' % BOUNDARY
AFTER = b"\r\n--%s--\r\n" % BOUNDARY
PIECE = bytes(range(256)) * (MIB // 256)


def worker_of(server: Server) -> int:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return next(int(pid) for pid in children if b"\0proxy.worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes())


def memory(pid: int, name: str) -> int:
    """Bytes, by their name in /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1_024


def forget_peak(pid: int) -> None:
    """VmHWM counts anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class Store:
    """An upstream that takes a file, of which it keeps length and sum, and gives one."""

    def __init__(self) -> None:
        self.size = 0
        self.sum = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST"):
                    await self._take(reader, _length(head))
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
                    await _give(writer)
        writer.close()

    async def _take(self, reader: asyncio.StreamReader, length: int) -> None:
        while self.size < length:
            piece = await reader.read(MIB)
            self.size += len(piece)
            self.sum = zlib.crc32(piece, self.sum)


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


async def _give(writer: asyncio.StreamWriter) -> None:
    for _ in range(SIZE // MIB):
        writer.write(PIECE)
        await writer.drain()


async def _read_on(reader: asyncio.StreamReader) -> int:
    """An answer's body, by its sum."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    left, found = _length(head), 0
    while left:
        piece = await reader.read(min(left, MIB))
        left, found = left - len(piece), zlib.crc32(piece, found)
    return found


def _sum(before: bytes = b"", after: bytes = b"") -> int:
    found = zlib.crc32(before)
    for _ in range(SIZE // MIB):
        found = zlib.crc32(PIECE, found)
    return zlib.crc32(after, found)


async def test_200_mb_pass_either_way_through_a_worker_that_does_not_grow(
    start: Callable[..., Awaitable[Server]],
) -> None:
    store = Store()
    upstream = await asyncio.start_server(store.serve, "127.0.0.1", 0, limit=MIB)
    url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/v1"
    server = await start(upstreams={"store": {"base_url": url, "api_key": "sk-ours"}})
    worker = worker_of(server)
    before = memory(worker, "VmRSS")
    forget_peak(worker)
    assert memory(worker, "VmHWM") < before + MIB

    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]), limit=MIB)
    length = len(BEFORE) + SIZE + len(AFTER)
    kind = b"Content-Type: multipart/form-data; boundary=" + BOUNDARY
    head = (b"POST /v1/files HTTP/1.1", b"Host: 127.0.0.1", kind, b"Content-Length: %d" % length, b"", b"")
    async with asyncio.timeout(60):
        writer.write(b"\r\n".join(head) + BEFORE)
        await _give(writer)
        writer.write(AFTER)
        await _read_on(reader)
        assert (store.size, store.sum) == (length, _sum(BEFORE, AFTER))
        writer.write(b"GET /v1/files/f/content HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert await _read_on(reader) == _sum()
    writer.close()
    upstream.close()
    assert memory(worker, "VmHWM") - before < MORE
