"""The learner's side of capturing: what workers offer is read, redacted and kept, in that order and never otherwise."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.answers import key_of
from compiler.errors import StoreError
from compiler.observation import ENDED, WHO_ASKED, Observation, Observations
from compiler.pricing import PriceBook, Usage
from compiler.redaction.redact import Redactor
from compiler.tokens import TokenCounter
from proxy.answer import Answer, read_answer
from proxy.capture import MAX_BODY, MAX_STREAM, Offer
from proxy.count_server import count
from proxy.metrics import Metrics
from proxy.surrogates import Surrogates
from proxy.unpack import json_object, unpacked

log = logging.getLogger("cuecard.capture")

WAITING = 16  # offers; then workers have to wait, which they do beside their requests
BATCH = 64
AGAIN_SECONDS = 1.0  # until a store that could not be used is tried again
STOP_SECONDS = 1.0  # for workers to end, and as long to keep what they sent; the learner has three in all


class NoExample(Exception):
    """Nothing to learn from; the reason is a label."""


class Recorder:
    """One thread of its own does all the work, on one connection to the store, which is opened when it is needed."""

    def __init__(
        self,
        open_observations: Callable[[], Observations],
        metrics: Metrics,
        counter: TokenCounter,
        prices: PriceBook,
        surrogates: Surrogates,
    ) -> None:
        self._open = open_observations
        self._metrics = metrics
        self._counter = counter
        self._prices = prices
        self._surrogates = surrogates
        self._offers: asyncio.Queue[Offer] = asyncio.Queue(WAITING)
        self._thread = ThreadPoolExecutor(1, "capture")
        self._observations: Observations | None = None
        self._failing = False
        self._again = 0.0

    async def put(self, offer: Offer) -> None:
        await self._offers.put(offer)

    async def run(self) -> None:
        while True:
            batch = [await self._offers.get()]
            while len(batch) < BATCH and not self._offers.empty():
                batch.append(self._offers.get_nowait())
            await asyncio.get_running_loop().run_in_executor(self._thread, self._keep, batch)
            for _ in batch:
                self._offers.task_done()

    async def drain(self) -> None:
        """Until all that was put is kept."""
        await self._offers.join()

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._leave)
        self._thread.shutdown()

    def _keep(self, offers: Sequence[Offer]) -> None:
        if self._failing and time.monotonic() < self._again:
            self._drop("store", len(offers))
            return
        found = [observation for offer in offers if (observation := self._observed(offer))]
        try:
            if found:
                self._drop("forgotten", len(found) - self._opened().add(found))
                self._mended()
        except StoreError as error:
            self._failed(error, len(found))
        except Exception:  # boundary: a bug in keeping must not end the capturing of what comes next
            log.exception("%s observations could not be kept", len(found))
            self._drop("capture", len(found))

    def _observed(self, offer: Offer) -> Observation | None:
        try:
            request, answer = _read(offer)
            observation = self._priced(offer, _observation(offer, request, answer))
            return self._redacted(observation)
        except NoExample as reason:
            self._drop(str(reason), 1)
        except Exception:  # boundary: what breaks its reading or redacting is not kept, and the next one is
            log.exception("an observation could not be read")
            self._drop("capture", 1)
        return None

    def _redacted(self, observation: Observation) -> Observation:
        """All that was said with one map, so that what the answer takes from the request is still the same in both.
        The model's name is no text: what looks like a date in it is its version."""
        if (redact := self._surrogates.redact) is None:
            return observation
        redactor = Redactor()
        said = [observation.request, observation.answer, observation.tool_calls]
        request, answer, tool_calls = redact(said, redactor)
        if "model" in request:
            request = {**request, "model": observation.request["model"]}
        self._surrogates.keep(observation.id, redactor)
        plain = not redactor.changed
        return replace(observation, request=request, answer=answer, tool_calls=tool_calls, plain=plain)

    def _priced(self, offer: Offer, observation: Observation) -> Observation:
        """An answer that does not tell its usage is counted, here as for the books."""
        if offer.usage is not None:
            return observation
        request, answer = _bodies(offer)
        inputs, outputs = count(self._counter, offer.model, request, answer)
        rates = self._prices.rates(offer.model)
        cost = rates.cost(Usage(input=inputs, output=outputs)) if rates else None
        return replace(observation, usage=[inputs, 0, outputs, 0], cost=cost)

    def _opened(self) -> Observations:
        if self._observations and self._observations.replaced():
            self._leave()
        if self._observations is None:
            self._observations = self._open()
        return self._observations

    def _leave(self) -> None:
        if self._observations:
            self._observations.close()
        self._observations = None

    def _failed(self, error: StoreError, lost: int) -> None:
        if not self._failing:
            log.error("nothing is captured until this is mended, requests go on: %s", error)
        self._failing, self._again = True, time.monotonic() + AGAIN_SECONDS
        self._drop("store", lost)

    def _mended(self) -> None:
        if self._failing:
            log.warning("requests are captured again")
        self._failing = False

    def _drop(self, reason: str, number: int) -> None:
        if number:
            self._metrics.count(self._metrics.dropped, reason, by=number)


@asynccontextmanager
async def recording(path: Path, recorder: Recorder) -> AsyncIterator[None]:
    """While inside, what workers offer is kept; at the end, what they have sent."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anything is served
    connections = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        connections.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):  # the worker ended, or we do
                while True:
                    await recorder.put(await Offer.read(reader))
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    running = asyncio.create_task(recorder.run())
    try:
        yield
    finally:
        server.close()
        await _ended(connections)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await recorder.drain()
        running.cancel()
        await recorder.close()


async def _ended(connections: set[asyncio.Task[None]]) -> None:
    """Workers end before the learner does; one that goes on is left."""
    if connections:
        await asyncio.wait([*connections], timeout=STOP_SECONDS)
    for connection in connections:
        connection.cancel()


def _read(offer: Offer) -> tuple[dict[str, Any], Answer]:
    request, body = _bodies(offer)
    if len(request) > MAX_BODY or len(body) > (MAX_STREAM if offer.streamed else MAX_BODY):
        raise NoExample("too_large")
    asked, answer = json_object(request), read_answer(body, streamed=offer.streamed)
    if not _is_text(asked.get("messages")):
        raise NoExample("not_text")
    if answer.finish not in ENDED or answer.choices != 1 or not (answer.text or answer.tool_calls):
        raise NoExample("unfinished")
    return asked, answer


def _bodies(offer: Offer) -> tuple[bytes, bytes]:
    return unpacked(offer.request, offer.request_encoding), unpacked(offer.answer, offer.answer_encoding)


def _is_text(messages: Any) -> bool:
    """Whether all of it can be redacted: nobody can take a face or a voice out of an image or a recording."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return False
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return all(isinstance(part, dict) and part.get("type") in ("text", "refusal") for part in parts)


def _observation(offer: Offer, request: dict[str, Any], answer: Answer) -> Observation:
    return Observation(
        time=offer.time,
        tenant=offer.tenant,
        structure=offer.structure,
        model=offer.model,
        template=offer.template,
        request={name: value for name, value in request.items() if name not in WHO_ASKED},
        answer=answer.text,
        tool_calls=answer.tool_calls,
        usage=offer.usage or [],
        cost=offer.cost,
        seconds=offer.seconds,
        id=key_of(offer.tenant, offer.id),
    )
