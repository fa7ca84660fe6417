"""Cuecard between two plain sockets: what either side wrote and read, byte for byte.

async with RawUpstream() as upstream:
    upstream.answers(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")   # a script: bytes, events, CLOSE
    client = await RawClient.open(port)
    client.write(b"GET /v1/files HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    answer = await client.answer()
    request = await upstream.request()
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

PATIENCE = 10.0
CLOSE = object()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHAT, JSON = b"POST /v1/chat/completions", b"Content-Type: application/json"
FRAMING = (b"host", b"content-length", b"transfer-encoding")  # made anew for each connection
NO_BODY = (204, 304)
Step = bytes | object | asyncio.Event
Field = tuple[bytes, bytes]


def request(line: bytes, *fields: bytes, body: bytes | None = None) -> bytes:
    """`line`: method and target. A body gets its Content-Length."""
    length = () if body is None else (b"Content-Length: %d" % len(body),)
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: localhost", *fields, *length, b"", body or b""])


def chat(body: bytes = b'{"model":"m","messages":[]}', *fields: bytes) -> bytes:
    return request(CHAT, JSON, *fields, body=body)


def answer(status: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % len(body), b"", body])


@dataclass
class Message:
    """A request or an answer as it was on the wire."""

    start: bytes  # its first line
    fields: list[Field]
    body: bytes = b""  # its chunks joined, where it came in chunks
    chunks: list[bytes] = field(default_factory=list)
    trailers: list[Field] = field(default_factory=list)
    head: bytes = b""
    connection: int = 0  # of the upstream, counted from 0

    def values(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.fields if known.lower() == name.lower()]

    @property
    def carried(self) -> list[Field]:
        """What one side said to the other: without what belongs to the connection."""
        return [(name, value) for name, value in self.fields if name.lower() not in FRAMING]

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])


async def read_head(reader: asyncio.StreamReader) -> Message:
    """Raises asyncio.IncompleteReadError at the connection's end."""
    head = await reader.readuntil(b"\r\n\r\n")
    start, *lines = head[:-4].split(b"\r\n")
    return Message(start, [_field(line) for line in lines], head=head)


def _field(line: bytes) -> Field:
    name, _, value = line.partition(b": ")
    return name, value


async def _read_chunks(reader: asyncio.StreamReader, message: Message) -> None:
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        message.chunks.append(await reader.readexactly(size))
        assert await reader.readexactly(2) == b"\r\n"
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        message.trailers.append(_field(line[:-2]))
    message.body = b"".join(message.chunks)


async def read_body(reader: asyncio.StreamReader, message: Message, *, until_close: bool) -> None:
    if message.values(b"Transfer-Encoding"):
        await _read_chunks(reader, message)
    elif length := message.values(b"Content-Length"):
        message.body = await reader.readexactly(int(length[0]))
    elif until_close:
        message.body = await reader.read()


class RawClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def ask(self, data: bytes, *, to_head: bool = False) -> Message:
        self.write(data)
        return await self.answer(to_head=to_head)

    async def head(self) -> Message:
        async with asyncio.timeout(PATIENCE):
            return await read_head(self.reader)

    async def answer(self, *, to_head: bool = False) -> Message:
        """The next one, `to_head`: without a body whatever its length says."""
        async with asyncio.timeout(PATIENCE):
            answer = await read_head(self.reader)
            while answer.status == 100:
                answer = await read_head(self.reader)
            if not to_head and answer.status >= 200 and answer.status not in NO_BODY:
                await read_body(self.reader, answer, until_close=True)
            return answer

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """All that comes until the other side ends the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    def close(self) -> None:
        self._writer.close()


class RawUpstream:
    """Keeps every byte it received, and plays a script for each request."""

    def __init__(self) -> None:
        self.url = ""
        self.bytes = bytearray()  # all that ever came in
        self.requests: list[Message] = []
        self.connections = 0
        self.gone = asyncio.Event()  # a connection of ours was ended
        self._scripts: list[Sequence[Step]] = [[OK]]
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()
        self._more = asyncio.Event()
        self._hears_out = True
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://localhost:{self.port}/v1"  # by name: aiohttp keeps no cookie of a bare address
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    def answers(self, *scripts: bytes | Sequence[Step]) -> None:
        """In turn; the last one again and again. What came before is forgotten."""
        self._scripts = [[script] if isinstance(script, bytes) else script for script in scripts]
        self._hears_out = True
        self.requests.clear()
        self.bytes.clear()
        self.gone.clear()
        self._arrived = asyncio.Queue()

    def answers_heads(self, *scripts: bytes | Sequence[Step]) -> None:
        """As soon as a request's head is here."""
        self.answers(*scripts)
        self._hears_out = False

    async def request(self) -> Message:
        """The next one that came in whole."""
        async with asyncio.timeout(PATIENCE):
            return await self._arrived.get()

    async def received(self, part: bytes) -> None:
        """Until `part` has come in, its request whole or not."""
        async with asyncio.timeout(PATIENCE):
            while part not in self.bytes:
                self._more.clear()
                await self._more.wait()

    async def hung_up(self) -> None:
        """Until one of the connections is ended, by the other side too, though a script waits."""
        async with asyncio.timeout(PATIENCE):
            await self.gone.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._exchange(number, _Kept(reader, self._keep), writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            self.gone.set()

    def _keep(self, data: bytes) -> bytes:
        self.bytes += data
        self._more.set()
        return data

    async def _exchange(self, number: int, reader: "_Kept", writer: asyncio.StreamWriter) -> bool:
        request = await read_head(reader)  # type: ignore[arg-type]
        request.connection = number
        if self._hears_out:
            await read_body(reader, request, until_close=False)  # type: ignore[arg-type]
        self.requests.append(request)
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        self._arrived.put_nowait(request)
        for step in script:
            if step is CLOSE:
                return False
            if isinstance(step, asyncio.Event):
                await reader.unless_ended(step)
            else:
                writer.write(step)
                await writer.drain()
        return self._hears_out or bool(await reader.readuntil(b"no such thing"))


class _Kept:
    """A reader whose bytes are kept."""

    def __init__(self, reader: asyncio.StreamReader, keep: Callable[[bytes], bytes]) -> None:
        self._reader = reader
        self._keep = keep

    async def readuntil(self, end: bytes) -> bytes:
        return self._keep(await self._reader.readuntil(end))

    async def unless_ended(self, event: asyncio.Event) -> None:
        """Until `event` is set; ConnectionError when the other side goes first."""
        ended = asyncio.ensure_future(self._reader.read())
        waited = asyncio.ensure_future(event.wait())
        done, _ = await asyncio.wait((ended, waited), return_when=asyncio.FIRST_COMPLETED)
        waited.cancel()
        if waited not in done:
            raise ConnectionError
        ended.cancel()
        await asyncio.wait((ended,))

    async def readexactly(self, size: int) -> bytes:
        return self._keep(await self._reader.readexactly(size))
