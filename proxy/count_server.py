"""The learner's side of counting: texts in, token numbers out, nothing kept."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import orjson

from compiler.tokens import TokenCounter, texts_of
from proxy import sse
from proxy.counting import HEAD, REPLY

log = logging.getLogger("cuecard.counting")


async def serve_counts(path: Path, counter: TokenCounter) -> asyncio.Server:
    path.unlink(missing_ok=True)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                number, *sizes = HEAD.unpack(await reader.readexactly(HEAD.size))
                model, request, response = [await reader.readexactly(size) for size in sizes]
                inputs, outputs = await asyncio.to_thread(count, counter, model.decode(), request, response)
                writer.write(REPLY.pack(number, inputs, outputs))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            log.debug("a worker closed its counting socket")
        finally:
            writer.close()

    return await asyncio.start_unix_server(answer, str(path))


def count(counter: TokenCounter, model: str, request: bytes, response: bytes) -> tuple[int, int]:
    """Prompt and completion tokens of one call, however far its answer got; 0 for what can't be read."""
    body = _object(request)
    messages = [m for m in body.get("messages", ()) if isinstance(m, dict)] if body else []
    inputs = counter.messages(messages, model) if messages else counter.text(str(body.get("input", "")), model)
    return inputs, counter.text(answer_text(response), model)


def answer_text(response: bytes) -> str:
    whole = _object(response)
    if whole:
        choices = [c for c in whole.get("choices", ()) if isinstance(c, dict)]
        return "".join(text for c in choices for text in texts_of(c.get("message") or {}))
    return "".join(text for value in sse.objects(response) for text in texts_of(sse.delta_of(value)))


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data) if data else None
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
