"""The log on standard error: one JSON object a line, and one line a request, with who, which task and model, tokens,
dollars and times. Never what was said, and no key."""

import logging
import os
import re
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from proxy.entry import Entry, printable

Format = Literal["json", "text"]
EVERY_SECONDS = 0.1
ATOMIC = 4_096  # bytes: what a pipe takes in one piece, however many processes write to it
AT_MOST = 20_000  # lines that wait; a reader that stands still must not fill the memory
NOISY = ("httpx", "httpx2", "openai")
REPR = re.compile(r"[\n<({\[]")


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _written(record.created),
            "level": record.levelname.lower(),
            "event": "message",
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = _frames(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """For a person at a terminal; an exception as in JSON."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return _frames(ei[1])


def _frames(error: BaseException) -> str:
    """Where it happened and of what type: the message of a foreign error may quote a request or a key."""
    where = " < ".join(f"{f.filename}:{f.lineno} {f.name}" for f in reversed(traceback.extract_tb(error.__traceback__)))
    return f"{type(error).__name__} at {where}"


def _without_reprs(record: logging.LogRecord) -> bool:
    """asyncio goes on with the repr of what failed: of an exception with its text, of a callback with its arguments."""
    record.msg, record.args = REPR.split(record.getMessage(), maxsplit=1)[0].strip(), ()
    return True


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def set_up(form: Format) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("asyncio").addFilter(_without_reprs)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _line(entry: Entry) -> dict[str, Any]:
    line = {
        "time": datetime.fromtimestamp(entry.time, UTC),
        "level": "info",
        "event": "request",
        "id": entry.id,
        "tenant": entry.tenant,
        "path": entry.path,
        "status": entry.code,
        "route": entry.served,
        "reason": entry.reason,
        "task": entry.task,
        "card": entry.card,
        "asked": entry.asked,
        "model": entry.answered_by,
        "upstream": entry.upstream,
        "upstream_id": entry.upstream_id,
        "stream": entry.stream,
        "failed": entry.failed,
        "tried": entry.tried,
        "seconds": round(entry.seconds, 6),
        "upstream_seconds": round(entry.upstream_seconds, 6),
        "overhead_ms": round(entry.overhead * 1_000, 3),
    }
    if entry.booked:
        line["input_tokens"] = entry.input
        line["cached_input_tokens"] = entry.cached_input
        line["output_tokens"] = entry.output
        line["counted"] = entry.counted
        line["cost_usd"] = entry.cost
        line["baseline_usd"] = entry.baseline
    return line


class RequestLog(threading.Thread):
    """Its thread writes what was noted; it alone waits for a slow reader."""

    def __init__(self, *, enabled: bool = True, descriptor: int = 2) -> None:
        super().__init__(name="log", daemon=True)
        self._enabled = enabled
        self._descriptor = descriptor
        self._entries: deque[Entry] = deque(maxlen=AT_MOST)
        self._stopping = threading.Event()

    def note(self, entries: Iterable[Entry]) -> None:
        if self._enabled:
            self._entries.extend(entry for entry in entries if entry.ends and entry.part != "call")

    def stop(self, patience: float = 1.0) -> None:
        """Write what is noted and end; a reader that takes nothing is not waited for longer than `patience` seconds."""
        self._stopping.set()
        if self.is_alive():
            self.join(patience)

    def run(self) -> None:
        while True:
            last = self._stopping.wait(EVERY_SECONDS)
            try:
                self._flush()
            except OSError:  # nobody reads: the log is lost, the requests are not
                self._entries.clear()
            except Exception:  # boundary: a line that can't be written must not end the log
                logging.getLogger("cuecard.logs").exception("a request is not in the log")
            if last:
                return

    def _flush(self) -> None:
        batch = b""
        while self._entries:
            data = orjson.dumps(_line(self._entries.popleft()), option=orjson.OPT_APPEND_NEWLINE)
            if batch and len(batch) + len(data) > ATOMIC:
                _write(self._descriptor, batch)
                batch = b""
            batch += data
        if batch:
            _write(self._descriptor, batch)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
