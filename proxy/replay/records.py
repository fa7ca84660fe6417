"""The records of a file, one after the other: lines of JSON, an array or values over many lines, rows of a CSV. In
memory is one record, however large the file."""

import csv
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from gzip import BadGzipFile
from io import TextIOWrapper
from typing import Any, NamedTuple

import orjson

from proxy.replay.files import Bytes, LogError, LogFile, Opened

MAX_RECORD = 64 * 2**20  # bytes, of one call; as much as the proxy takes
CHUNK = 2**16
LISTS = ("data", "observations")  # of a page from an API, of a trace's download
BOM = b"\xef\xbb\xbf"
SPACE, OPENING, BETWEEN = re.compile(r"\s+"), re.compile(r"[\s\[]+"), re.compile(r"[\s,]+")
LONGEST_WORD = 16  # characters of what can't be told from broken while it is cut off: `-Infinity`, `\\u00e4`


class Found(NamedTuple):
    line: int
    value: Any
    problem: str = ""  # why there is no value


def records(file: LogFile, advance: Callable[[int], None]) -> Iterator[Found]:
    """`advance` is told how many bytes of the file have been read, with each record. Raises LogError."""
    with ExitStack() as stack:
        try:
            opened = Opened(file, stack)
            for found in _parsed(opened.stream, file.suffix):
                advance(opened.position)
                yield from _unfolded(found)
            advance(file.size)
        except (EOFError, BadGzipFile, zlib.error):
            yield Found(0, None, "its gzip packing is broken: the rest can't be read")
        except OSError as error:
            raise LogError(f"{file.name}: can't be read: {error.strerror}") from error


def _unfolded(found: Found) -> Iterator[Found]:
    value = found.value
    if isinstance(value, dict) and not {"request", "messages", "input"} & value.keys():
        for name in LISTS:
            if isinstance(items := value.get(name), list):
                yield from (Found(found.line, item) for item in items)
                return
    yield found


def _parsed(stream: Bytes, suffix: str) -> Iterator[Found]:
    """What the file holds says how it is read; its name only where that leaves a doubt."""
    start = stream.peek(CHUNK)[:CHUNK].removeprefix(BOM).lstrip()
    if suffix == ".csv" or (start and start[:1] not in b"[{" and b"," in start.partition(b"\n")[0] and not suffix):
        return _rows(stream)
    if start.startswith(b"[") or (suffix not in (".jsonl", ".ndjson") and _goes_on(start, suffix)):
        return _values(stream)
    return _lines(stream)


def _goes_on(start: bytes, suffix: str) -> bool:
    """Whether the first value takes more than the first line."""
    line, newline, _ = start.partition(b"\n")
    if line.strip() == b"{":
        return True
    return suffix == ".json" and bool(newline) and _loaded(line, 1).problem != ""


def _lines(stream: Bytes) -> Iterator[Found]:
    line = 0
    while text := stream.readline(MAX_RECORD):
        line += 1
        if len(text) == MAX_RECORD and not text.endswith(b"\n"):
            while (rest := stream.readline(CHUNK)) and not rest.endswith(b"\n"):
                pass
            yield Found(line, None, f"longer than {MAX_RECORD // 2**20} MiB")
            continue
        if text.strip():
            yield _loaded(text, line)


def _loaded(text: bytes, line: int) -> Found:
    """orjson refuses what others write: NaN, half a surrogate pair, deep nesting, a byte order mark."""
    try:
        return Found(line, orjson.loads(text))
    except orjson.JSONDecodeError:
        pass
    try:
        value = json.loads(text)
        return Found(line, json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")))
    except UnicodeDecodeError:
        return Found(line, None, "not UTF-8")
    except RecursionError:
        return Found(line, None, "nested too deep")
    except json.JSONDecodeError as error:
        return Found(line, None, f"not JSON ({error.msg} at column {error.colno})")


@contextmanager
def _text(stream: Bytes) -> Iterator[TextIOWrapper]:
    """Bytes that are not UTF-8 stand in it as halves of surrogate pairs. Line ends as they are."""
    text = TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield text
    finally:
        text.detach()  # the file is closed by who opened it


def _rows(stream: Bytes) -> Iterator[Found]:
    csv.field_size_limit(MAX_RECORD)
    with _text(stream) as text:
        reader = csv.DictReader(text)
        line = 1
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield Found(line, None, f"not CSV ({error})")
                line = reader.line_num + 1
                continue
            if row is None:
                return
            begins, line = max(line, 2), reader.line_num + 1
            yield Found(begins, row, _wrong_with(row))


def _wrong_with(row: dict[Any, Any]) -> str:
    if None in row:
        return "more cells than the header has columns"
    try:
        "".join(value or "" for value in row.values()).encode()
    except UnicodeEncodeError:
        return "not UTF-8"
    return ""


def _values(stream: Bytes) -> Iterator[Found]:
    with _text(stream) as text:
        yield from _Scanner(text).values()


class _Scanner:
    """JSON values out of a text that is never held whole: an array's, or one after the other."""

    def __init__(self, text: TextIOWrapper) -> None:
        self._text = text
        self._decode = json.JSONDecoder().raw_decode
        self._buffer, self._at = "", 0
        self._line = 1

    def values(self) -> Iterator[Found]:
        """Ends at the first value that is broken: where the next one begins can't be told."""
        in_array = self._skip(SPACE) == "["
        next_one = self._skip(OPENING if in_array else SPACE)
        while next_one and not (in_array and next_one == "]"):
            line = self._line
            text, problem = self._span()
            yield Found(line, None, problem) if problem else _loaded(text.encode("utf-8", "surrogateescape"), line)
            next_one = "" if problem else self._skip(BETWEEN)

    def _span(self) -> tuple[str, str]:
        """The text of the next value, or what is wrong with it."""
        chunk = CHUNK
        while True:
            try:
                _, end = self._decode(self._buffer, self._at)
            except RecursionError:
                return "", "nested too deep: the rest can't be read"
            except json.JSONDecodeError as error:
                if self._may_go_on(error) and self._read(chunk):
                    chunk *= 2
                    continue
                return "", f"not JSON ({error.msg}): the rest can't be read"
            return self._take(end), ""

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Whether the value may only be cut off by the end of what was read."""
        cut_off = error.msg.startswith("Unterminated") or error.pos > len(self._buffer) - LONGEST_WORD
        return cut_off and len(self._buffer) - self._at <= MAX_RECORD

    def _read(self, chars: int) -> bool:
        more = self._text.read(chars)
        self._buffer, self._at = self._buffer[self._at :] + more, 0
        return bool(more)

    def _take(self, end: int) -> str:
        begin, self._at = self._at, end
        self._line += self._buffer.count("\n", begin, end)
        return self._buffer[begin:end]

    def _skip(self, what: re.Pattern[str]) -> str:
        """The first character that isn't to be skipped; none at the end."""
        while True:
            if found := what.match(self._buffer, self._at):
                self._take(found.end())
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._read(CHUNK):
                return ""
