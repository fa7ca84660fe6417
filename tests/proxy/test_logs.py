"""The request log and the formatters: what they say, what they never say, and whom they never hold up."""

import asyncio
import gc
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from proxy import logs
from proxy.entry import Entry
from proxy.logs import ATOMIC, JsonFormatter, RequestLog, TextFormatter
from tests.fake_upstream import Fault

SECRET = "sk-canary-0123456789"
CANARY = "a most private sentence"
CALLER = {"Authorization": f"Bearer {SECRET}"}


def _entry(**more: Any) -> Entry:
    fields: dict[str, Any] = dict.fromkeys(Entry._fields, "")
    fields |= dict.fromkeys(("time", "seconds", "upstream_seconds", "overhead", "cost"), 0.25)
    fields |= dict.fromkeys(("input", "cached_input", "cache_write", "output", "reasoning"), 0)
    fields |= {"status": 200, "code": 200, "booked": True, "ends": True, "tried": (), "baseline": None, **more}
    return Entry(**fields)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        try:
            os.close(end)
        except OSError:  # the test did
            continue


def _lines(pipe: tuple[int, int]) -> list[dict[str, Any]]:
    """All that was written; what wrote it has ended."""
    os.close(pipe[1])
    data = b""
    while chunk := os.read(pipe[0], 2**16):
        data += chunk
    assert SECRET.encode() not in data
    assert CANARY.encode() not in data
    return [json.loads(line) for line in data.splitlines()]


@pytest.fixture
def logged(pipe, monkeypatch) -> tuple[int, int]:
    """The proxy's request log goes into a pipe."""
    monkeypatch.setattr("proxy.app.RequestLog", partial(RequestLog, descriptor=pipe[1]))
    return pipe


async def test_each_request_is_a_line_of_who_what_and_how_much(run, fake, chat, logged):
    proxy = await run(tasks={"mood": {"description": "The mood of a text", "system": "Say good or bad."}})
    fake.answers["fake-mini"] = CANARY
    body = chat(CANARY, model="fake-mini", metadata={"task": "mood"})
    async with await proxy.chat(body, **CALLER) as answer:
        number, cost = answer.headers["X-Cuecard-Request-Id"], float(answer.headers["X-Cuecard-Cost-Usd"])
        upstream_id = answer.headers["x-request-id"]
    async with proxy.http.get(f"{proxy.url}/v1/files/f?q={SECRET}", headers=CALLER) as answer:
        await answer.read()
    await proxy.runner.cleanup()
    first, second = _lines(logged)
    told = {
        "event": "request",
        "level": "info",
        "id": number,
        "upstream_id": upstream_id,
        "tenant": "default",
        "path": "/v1/chat/completions",
        "status": 200,
        "route": "original",
        "task": "mood",
        "asked": "fake-mini",
        "model": "fake-mini",
        "upstream": "fake",
        "failed": "",
        "input_tokens": fake.calls[0].input,
        "output_tokens": fake.calls[0].output,
        "counted": False,
    }
    assert {key: first.get(key) for key in told} == told
    assert first["cost_usd"] == pytest.approx(cost, abs=1e-9)
    assert first["cost_usd"] > 0
    assert (second["path"], second["status"]) == ("/v1/files/f", 200)
    assert "cost_usd" not in second


async def test_a_failed_request_says_why_and_not_what(run, fake, chat, logged):
    proxy = await run()
    fake.queue("fake-mini", Fault.disconnect(), Fault.respond(400, body={"error": {"message": CANARY}}))
    for _ in range(2):
        async with await proxy.chat(chat(CANARY, model="fake-mini"), **CALLER) as answer:
            await answer.read()
    await proxy.runner.cleanup()
    shown = sorted((line["status"], line["failed"]) for line in _lines(logged))
    assert shown == [(400, ""), (502, "unreachable")]


async def test_an_upstreams_id_that_is_no_text_costs_nothing_of_the_books(run, chat, logged):
    """Header bytes that are not UTF-8 come as lone surrogates, which JSON can't have."""
    body = b'{"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nx-request-id: req-\xff\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    proxy = await run(upstreams={"odd": {"base_url": base, "api_key": "sk-ours"}})
    for _ in range(2):
        async with await proxy.chat(chat(model="m")) as answer:
            assert answer.status == 200
    await proxy.runner.cleanup()
    server.close()
    assert [line["input_tokens"] for line in _lines(logged)] == [3, 3]
    assert proxy.metric("tokens_total", type="input") == 6


async def test_a_path_that_is_no_text_is_logged_too(run, fake, logged):
    proxy = await run()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"GET /v1/files/\xff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await proxy.runner.cleanup()
    status = int(answer.split()[1])
    assert status < 500
    assert len(_lines(logged)) == (status == 200)


async def test_a_log_that_is_off_writes_nothing(run, chat, logged):
    proxy = await run(log={"requests": False})
    async with await proxy.chat(chat(model="fake-mini")) as answer:
        assert answer.status == 200
    await proxy.runner.cleanup()
    assert _lines(logged) == []


def test_only_what_ends_a_request_is_a_line(pipe):
    log = RequestLog(descriptor=pipe[1])
    log.start()
    log.note([_entry(id="a", ends=False), _entry(id="b"), _entry(id="c", booked=False)])
    log.stop()
    lines = _lines(pipe)
    assert [line["id"] for line in lines] == ["b", "c"]
    assert ["cost_usd" in line for line in lines] == [True, False]


def test_lines_go_out_in_pieces_that_do_not_mix_with_other_processes(pipe, monkeypatch):
    pieces: list[bytes] = []
    monkeypatch.setattr("proxy.logs._write", lambda descriptor, data: pieces.append(data))
    log = RequestLog(descriptor=pipe[1])
    log.note(_entry(id=f"cue-{n}") for n in range(100))
    log.note([_entry(id="long", tried=("x" * 2 * ATOMIC,)), _entry(id="last")])
    log.start()
    log.stop()
    ids = [json.loads(line)["id"] for piece in pieces for line in piece.splitlines()]
    assert ids == [*(f"cue-{n}" for n in range(100)), "long", "last"]
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert all(len(piece) <= ATOMIC or piece.count(b"\n") == 1 for piece in pieces)
    assert len(pieces) < 50


def test_a_reader_that_has_gone_ends_nothing(pipe):
    os.close(pipe[0])
    log = RequestLog(descriptor=pipe[1])
    log.start()
    log.note([_entry()] * 1_000)
    started = time.monotonic()
    log.stop(patience=5)
    assert not log.is_alive()
    assert time.monotonic() - started < 2


def test_a_reader_that_stands_still_is_not_waited_for(pipe):
    log = RequestLog(descriptor=pipe[1])
    log.start()
    log.note([_entry()] * 5_000)  # more than a pipe holds
    started = time.monotonic()
    log.stop(patience=0.3)
    assert 0.2 < time.monotonic() - started < 2
    assert log.is_alive()
    os.close(pipe[0])
    log.join(10)
    assert not log.is_alive()


def _record(message: str = "request %s failed", *args: object) -> logging.LogRecord:
    """With an exception that has another behind it."""
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(f"can't read {SECRET}\nat all") from error
    except ValueError:
        return logging.LogRecord("cuecard.x", logging.ERROR, __file__, 1, message, args or ("cue-1",), sys.exc_info())


def test_an_exception_is_one_line_of_json_without_what_it_quotes():
    line = JsonFormatter().format(_record())
    assert "\n" not in line
    assert SECRET not in line
    shown = json.loads(line)
    assert (shown["level"], shown["event"], shown["logger"]) == ("error", "message", "cuecard.x")
    assert shown["message"] == "request cue-1 failed"
    assert shown["exception"].startswith("ValueError at ")
    assert "test_logs.py" in shown["exception"]


def test_an_exception_is_text_without_what_it_quotes():
    text = TextFormatter().format(_record())
    assert SECRET not in text
    first, second = text.splitlines()
    assert first == "ERROR cuecard.x: request cue-1 failed"
    assert second.startswith("ValueError at ")


def test_a_message_of_several_lines_is_one_line_of_json():
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "one\ntwo %s", ("three\n",), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "one\ntwo three\n"
    assert "exception" not in json.loads(line)


def test_a_message_with_bytes_that_are_no_text_is_still_json():
    """A path such as a client may send: aiohttp decodes it with lone surrogates."""
    assert json.loads(JsonFormatter().format(_record("GET /v1/%s failed", "\udcff")))["level"] == "error"


def test_asyncios_own_complaints_come_without_what_they_quote(capfd):
    """It appends the repr of a task and its exception, or of a callback and its arguments."""
    logs.set_up("text")

    async def fails() -> None:
        raise ValueError(SECRET)

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(None)
        task = asyncio.create_task(fails())
        await asyncio.wait([task])
        del task
        gc.collect()
        asyncio.get_running_loop().call_soon(int, SECRET)
        await asyncio.sleep(0)

    asyncio.run(run())
    said = capfd.readouterr().err
    assert SECRET not in said
    assert "Task exception was never retrieved" in said
    assert "Exception in callback int" in said
    assert "ValueError at " in said
