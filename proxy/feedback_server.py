"""The learner's side of feedback: answers are remembered, what is said of them is noted, scored and learned from."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from compiler.adopt import examples_of
from compiler.answers import Answers, Found, Given
from compiler.errors import StoreError
from compiler.feedback import Feedback
from compiler.observation import Observations
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import of_variant
from proxy.answer import read_answer
from proxy.answered import REPLY, Kept, Said, Word, read_frame
from proxy.metrics import Metrics
from proxy.surrogates import Surrogates
from proxy.unpack import unpacked

log = logging.getLogger("cuecard.feedback")

WAITING = 256  # frames; then workers have to wait, which they do beside their requests
EARLY_SECONDS, MOST_EARLY = 10.0, 200
LOOK_SECONDS = 0.5  # between looks whether an answer is recorded by now
RIGHT = 0.5  # a score from here on is counted as right
Reply = dict[str, Any]


class Opened(NamedTuple):
    store: Store
    answers: Answers
    observations: Observations | None  # where nothing is captured, and nothing was

    def replaced(self) -> bool:
        return any(one.replaced() for one in self if one)

    def close(self) -> None:
        for one in self:
            if one:
                one.close()


class Noter:
    """For one thread, which opens the stores when it needs them."""

    def __init__(
        self, open_all: Callable[[], Opened], metrics: Metrics, surrogates: Surrogates, margin: Callable[[str], float]
    ) -> None:
        """`margin`: by the kind of a task's answers."""
        self._open = open_all
        self._metrics = metrics
        self._surrogates = surrogates
        self._margin = margin
        self._opened: Opened | None = None
        self._failing = False
        self._early: dict[str, tuple[float, str, str]] = {}  # by answer: when, task, and what was expected

    @property
    def waits(self) -> bool:
        """For requests that may still be on their way to where they are recorded."""
        return bool(self._early)

    def take(self, batch: Sequence[Said]) -> list[Reply]:
        """A reply for each, in their order."""
        replies: list[Reply] = []
        kept: list[Kept] = []
        for said in batch:
            if isinstance(said, Kept):
                kept.append(said)
                replies.append({})
            else:
                self._remember(kept)
                kept = []
                replies.append(self._noted(said))
        self._remember(kept)
        self._learn_early()
        return replies

    def close(self) -> None:
        if self._opened:
            self._opened.close()
        self._opened = None

    def _remember(self, kept: Sequence[Kept]) -> None:
        if not kept:
            return
        try:
            self._drop("answer_room", self._stores().answers.remember([*map(_given, kept)]))
            self._failing = False
        except StoreError as error:
            self._failed(error)
            self._drop("answer_store", len(kept))
        except Exception:  # boundary: a bug in remembering must not end the noting of what is said
            log.exception("%s answers are not remembered", len(kept))
            self._drop("answer_store", len(kept))

    def _noted(self, word: Word) -> Reply:
        try:
            return self._note(word)
        except StoreError as error:
            self._failed(error)
            return {"error": "store"}
        except Exception:  # boundary: a bug in noting must not end the remembering of what comes next
            log.exception("feedback could not be noted")
            return {"error": "internal"}

    def _note(self, word: Word) -> Reply:
        stores = self._stores()
        found = stores.answers.find(word.tenant, word.id)
        if found is None:
            return {"error": "unknown"}
        answered, score = found.answered, _score(word, found)
        noted = Feedback(stores.store).note(found.key, answered, score, self._margin)
        learned = self._learn(stores, found.key, noted.task, word.expected, recorded=answered.route == "original")
        outcome = "again" if noted.again else "unscored" if score is None else "right" if score >= RIGHT else "wrong"
        label = self._metrics.task(of_variant(noted.task))
        self._metrics.count(self._metrics.feedback, label, answered.route, outcome)
        card = f"{noted.task}@{answered.version}" if answered.route == "compiled" else None
        return {
            "task": noted.task,
            "route": answered.route,
            "card": card,
            "score": score,
            "replaced": noted.again,
            "learned": learned,
        }

    def _learn(self, stores: Opened, key: str, task: str, expected: str | None, *, recorded: bool = True) -> bool:
        """The expected answer beside the recorded one: for the pairs that are still to come, and the next compile.
        `recorded`: it may still come to be."""
        self._early.pop(key, None)
        found = stores.observations.of_answer(key) if stores.observations else None
        if stores.observations is None or found is None:
            if recorded and expected is not None and len(self._early) < MOST_EARLY:
                self._early[key] = time.monotonic(), task, expected
            return False
        position, observation = found
        if expected is None and observation.expected is None:
            return False
        kept = None if expected is None else self._surrogates.redacted(observation, expected)
        changed = stores.observations.expect(position, kept)
        for example in examples_of([changed] if changed else []):
            Registry(stores.store).correct(task, example)
        return changed is not None and kept is not None

    def _learn_early(self) -> None:
        """What was said of an answer before it was recorded."""
        for key, (said, task, expected) in [*self._early.items()]:
            try:
                learned = self._learn(self._stores(), key, task, expected)
            except Exception:  # boundary: what can't be learned from is no reason to note nothing any more
                log.exception("nothing is learned from an expected answer")
                learned = True
            if learned or time.monotonic() - said > EARLY_SECONDS:
                self._early.pop(key, None)
            else:
                self._early[key] = said, task, expected

    def _stores(self) -> Opened:
        if self._opened and self._opened.replaced():
            self.close()
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _failed(self, error: StoreError) -> None:
        if not self._failing:
            log.error("answers, and what is said of them, are not kept until this is mended: %s", error)
        self._failing = True

    def _drop(self, reason: str, number: int) -> None:
        if number:
            self._metrics.count(self._metrics.dropped, reason, by=number)


def _given(kept: Kept) -> Given:
    """What can't be read of an answer is not compared."""
    answer = read_answer(unpacked(kept.body, kept.encoding), streamed=kept.streamed) if kept.body else None
    text = answer.text if answer and answer.finish == "stop" else None
    return Given(kept.tenant, kept.id, kept.other, kept.answered, text)


def _score(word: Word, found: Found) -> float | None:
    if word.expected is None:
        return word.score
    right = found.is_right(word.id, word.expected)
    return None if right is None else float(right)


@asynccontextmanager
async def noting(path: Path, noter: Noter) -> AsyncIterator[None]:
    """While inside, workers are answered."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, before anything is served
    frames: asyncio.Queue[tuple[int, Said, asyncio.StreamWriter]] = asyncio.Queue(WAITING)
    thread = ThreadPoolExecutor(1, "feedback")
    workers = set[asyncio.StreamWriter]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        workers.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):  # the worker ended, or we do
                while True:
                    await frames.put((*await read_frame(reader), writer))
        finally:
            workers.discard(writer)
            writer.close()

    async def run() -> None:
        while True:
            batch = []
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS if noter.waits else None):
                    batch.append(await frames.get())
            while not frames.empty():
                batch.append(frames.get_nowait())
            said = [one for _, one, _ in batch]
            replies = await asyncio.get_running_loop().run_in_executor(thread, noter.take, said)
            newest = {writer: number for number, _, writer in batch}  # which settles all before it
            for (number, one, writer), reply in zip(batch, replies, strict=True):
                if isinstance(one, Word) or number == newest[writer]:
                    data = orjson.dumps(reply)
                    writer.write(REPLY.pack(number, len(data)) + data)

    server = await asyncio.start_unix_server(serve, str(path))
    running = asyncio.create_task(run())
    try:
        yield
    finally:
        server.close()
        running.cancel()
        for writer in workers:
            writer.close()
        await asyncio.get_running_loop().run_in_executor(thread, noter.close)
        thread.shutdown()
