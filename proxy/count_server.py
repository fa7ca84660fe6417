"""The learner's side of counting: texts in, token numbers out, nothing kept."""

import asyncio
import logging
from pathlib import Path

from compiler.tokens import TokenCounter, texts_of
from proxy import sse
from proxy.counting import HEAD, REPLY
from proxy.unpack import dicts, json_object

log = logging.getLogger("cuecard.counting")


async def serve_counts(path: Path, counter: TokenCounter) -> asyncio.Server:
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anything is served

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                number, *sizes = HEAD.unpack(await reader.readexactly(HEAD.size))
                model, request, response = [await reader.readexactly(size) for size in sizes]
                inputs, outputs = await asyncio.to_thread(_counted, counter, model.decode(), request, response)
                writer.write(REPLY.pack(number, inputs, outputs))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):  # cancelled: the learner ends
            log.debug("a worker closed its counting socket")
        finally:
            writer.close()

    return await asyncio.start_unix_server(answer, str(path))


def _counted(counter: TokenCounter, model: str, request: bytes, response: bytes) -> tuple[int, int]:
    try:
        return count(counter, model, request, response)
    except Exception:  # boundary: a body that breaks the counter must not hold up the ones behind it
        log.exception("a call could not be counted")
        return 0, 0


def count(counter: TokenCounter, model: str, request: bytes, response: bytes) -> tuple[int, int]:
    """Prompt and completion tokens of one call, however far its answer got; 0 for what can't be read."""
    body = json_object(request)
    messages = dicts(body.get("messages"))
    inputs = counter.messages(messages, model) if messages else counter.text(str(body.get("input", "")), model)
    return inputs, counter.text(answer_text(response), model)


def answer_text(response: bytes) -> str:
    whole = json_object(response)
    if whole:
        messages = [c.get("message") for c in dicts(whole.get("choices"))]
        return "".join(text for message in dicts(messages) for text in texts_of(message))
    return "".join(text for value in sse.objects(response) for text in texts_of(sse.delta_of(value)))
