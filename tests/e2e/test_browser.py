"""A page of another origin, in a real browser, tries to spend through a proxy on loopback. Needs Chromium, which takes
longer to install than all other tests together: outside `make test`. Its requests, byte by byte, are in
tests/proxy/test_access.py."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import Server
from tests.e2e.test_serve import Start
from tests.fake_upstream import FakeUpstream

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60.0
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
PAGE = """<!doctype html><title>a page</title><body><script>
const target = TARGET, results = {};
const chat = JSON.stringify({model: "fake-mini", messages: [{role: "user", content: "spend"}]});
const url = name => `${target}/v1/attack/${name}`;
const ended = (name, how) => new Promise(done => {
  const finish = what => { if (!(name in results)) { results[name] = what; done(); } };
  how(finish);
  setTimeout(() => finish("silence"), 5000);
});
const asks = (name, where, options) => ended(name, finish =>
  fetch(where, options).then(r => finish(r.type === "opaque" ? "opaque" : String(r.status)), e => finish(e.name)));
const element = (name, tag, set) => ended(name, finish => {
  const made = document.createElement(tag);
  made.onload = () => finish("loaded"); made.onerror = () => finish("error");
  set(made); document.body.append(made);
});
const form = (name, where, method, enctype, sandbox) => ended(name, finish => {
  const frame = document.createElement("iframe"); frame.name = "frame-" + name;
  let loads = 0;
  if (sandbox) {
    frame.sandbox = "allow-forms allow-scripts";
    frame.srcdoc = `<form method=${method} action="${where}" enctype="${enctype}"><input name=a value=b></form>` +
      "<script>document.forms[0].submit()<\\/script>";
  }
  frame.onload = () => { if (++loads === (sandbox ? 2 : 1)) finish("loaded"); };
  document.body.append(frame);
  if (sandbox) return;
  const made = document.createElement("form");
  made.method = method; made.action = where; made.enctype = enctype; made.target = frame.name;
  made.innerHTML = `<input name='{"model": "fake-mini", "messages": [{"role": "user", "content": "' value='spend"}]}'>`;
  loads = 0;
  document.body.append(made); made.submit();
});
const text = {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}, body: chat};
const files = new FormData(); files.append("file", new Blob(["x"]), "f.txt");
const all = [
  asks("fetch-text", url("fetch-text"), text),
  asks("fetch-text-chat", `${target}/v1/chat/completions?fetch-text-chat`, text),
  asks("fetch-no-type", url("fetch-no-type"), {method: "POST", mode: "no-cors", body: new Blob([chat])}),
  asks("fetch-json", url("fetch-json"), {method: "POST", headers: {"Content-Type": "application/json"}, body: chat}),
  asks("fetch-json-chat", `${target}/v1/chat/completions?fetch-json-chat`,
       {method: "POST", headers: {"Content-Type": "application/json"}, body: chat}),
  asks("fetch-get", url("fetch-get"), {mode: "no-cors"}),
  asks("fetch-files", url("fetch-files"), {method: "POST", mode: "no-cors", body: files}),
  asks("fetch-no-referrer", url("fetch-no-referrer"), {...text, referrerPolicy: "no-referrer"}),
  asks("fetch-with-cookies", url("fetch-with-cookies"), {...text, credentials: "include"}),
  asks("fetch-keepalive", url("fetch-keepalive"), {...text, keepalive: true}),
  asks("admin-off", `${target}/admin/off`, {method: "POST", mode: "no-cors"}),
  asks("admin-tasks", `${target}/admin/tasks`, {}),
  element("image", "img", e => e.src = url("image")),
  element("image-no-referrer", "img", e => { e.referrerPolicy = "no-referrer"; e.src = url("image-no-referrer"); }),
  element("script", "script", e => e.src = url("script")),
  element("module", "script", e => { e.type = "module"; e.src = url("module"); }),
  element("style", "link", e => { e.rel = "stylesheet"; e.href = url("style"); }),
  element("frame", "iframe", e => e.src = url("frame")),
  element("audio", "audio", e => { e.src = url("audio"); e.load(); }),
  form("form-text", url("form-text"), "post", "text/plain"),
  form("form-text-chat", `${target}/v1/chat/completions?form-text-chat`, "post", "text/plain"),
  form("form-fields", url("form-fields"), "post", "application/x-www-form-urlencoded"),
  form("form-files", url("form-files"), "post", "multipart/form-data"),
  form("form-get", url("form-get"), "get", "application/x-www-form-urlencoded"),
  form("sandbox-form", url("sandbox-form"), "post", "text/plain", true),
  ended("beacon", finish => finish(String(navigator.sendBeacon(url("beacon"), new Blob([chat]))))),
  ended("events", finish => { const e = new EventSource(url("events")); e.onopen = () => finish("open");
                              e.onerror = () => { e.close(); finish("error"); }; }),
  ended("socket", finish => { const s = new WebSocket(url("socket").replace("http", "ws"));
                              s.onopen = () => finish("open"); s.onclose = () => finish("closed"); }),
];
Promise.all(all).then(() => fetch("/done", {method: "POST", body: JSON.stringify(results)}));
</script>"""
ATTACKS = {
    *("fetch-text", "fetch-no-type", "fetch-json", "fetch-get", "fetch-files", "fetch-no-referrer"),
    *("fetch-with-cookies", "fetch-keepalive", "image", "image-no-referrer", "script", "module", "style", "frame"),
    *("audio", "form-text", "form-fields", "form-files", "form-get", "sandbox-form", "beacon", "events", "socket"),
}
NOBODYS = {"sandbox-form", "fetch-no-referrer"}  # Origin: null, wherever the page is from


@dataclass
class Attacker:
    """A web server with one page; what it does not know it passes on to the proxy byte for byte, as if its name had
    meanwhile been bound to 127.0.0.1."""

    target: str
    proxy: tuple[str, int]
    port: int = 0
    results: dict[str, str] = field(default_factory=dict)
    passed_on: set[str] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /page"):
                page = PAGE.replace("TARGET", json.dumps(self.target)).encode()
                answered = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n"
                writer.write(answered + b"Content-Length: %d\r\n\r\n" % len(page) + page)
            elif head.startswith(b"POST /done"):
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                self.results = json.loads(await reader.readexactly(int(length.partition(b":")[2])))
                self.done.set()
                writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            elif head.startswith(b"GET /favicon.ico"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            else:
                await self._relay(head, reader, writer)
            await writer.drain()
        writer.close()

    async def _relay(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.passed_on.add(_name(head.split()[1].decode()))
        from_proxy, to_proxy = await asyncio.open_connection(*self.proxy)
        to_proxy.write(head.replace(b"Connection: keep-alive", b"Connection: close"))  # the next one is ours to see
        ways = [asyncio.create_task(_pipe(reader, to_proxy)), asyncio.create_task(_pipe(from_proxy, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        to_proxy.close()


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(2**16):
            sink.write(data)
            await sink.drain()


@asynccontextmanager
async def browsing(folder: Path, url: str) -> AsyncIterator[None]:
    """Every name there is leads to this machine."""
    assert CHROMIUM
    process = await asyncio.create_subprocess_exec(
        *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *(f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * 127.0.0.1", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--no-proxy-server", "--mute-audio"),
        *("--remote-debugging-port=0", url),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def attacked(server: Server, folder: Path, *, page: str, target: str | None) -> Attacker:
    """After every attack was made; `results` is what the page saw of each. `page`: the name in its address;
    `target`: where it aims, with None at its own origin."""
    at = urlsplit(server.url)
    assert at.hostname
    assert at.port
    aim = "" if target is None else f"http://{target}:{at.port}"
    attacker = Attacker(aim, (at.hostname, at.port))
    listening = await asyncio.start_server(attacker.answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    if target is None:
        attacker.target = f"http://{page}:{port}"
    async with listening, browsing(folder, f"http://{page}:{port}/page"), asyncio.timeout(PATIENCE):
        await attacker.done.wait()
    return attacker


def _name(path: str) -> str:
    return path.partition("?")[0].removeprefix("/v1/attack/")


def arrived(fake: FakeUpstream) -> set[str]:
    return {_name(call.path) for call in fake.calls}


async def is_off(server: Server) -> Any:
    async with server.http.get(f"{server.url}/admin/tasks") as answer:
        return (await answer.json())["off"]


@pytest.mark.parametrize("target", ["127.0.0.1", "localhost"])
async def test_a_page_of_another_origin_spends_nothing(
    start: Start, fake: FakeUpstream, tmp_path: Path, target: str
) -> None:
    server = await start()
    results = (await attacked(server, tmp_path, page="evil.example", target=target)).results
    assert results.keys() > ATTACKS
    assert arrived(fake) == set()
    assert not await is_off(server)
    assert results["socket"] == "closed"
    assert {results[name] for name in ("fetch-json", "fetch-json-chat", "admin-tasks")} == {"TypeError"}


async def test_a_name_that_was_bound_to_this_machine_spends_nothing_and_reads_nothing(
    start: Start, fake: FakeUpstream, tmp_path: Path
) -> None:
    server = await start()
    attacker = await attacked(server, tmp_path, page="rebound.example", target=None)
    results = attacker.results
    assert attacker.passed_on >= ATTACKS
    assert arrived(fake) == set()
    assert not await is_off(server)
    assert results["socket"] == "closed"
    for name in ("fetch-json", "fetch-json-chat", "admin-tasks"):
        assert results[name] == "403"


async def test_the_same_page_of_this_machine_may_do_all_of_it(start: Start, fake: FakeUpstream, tmp_path: Path) -> None:
    """The control: each of the attacks is really made, and arrives where it is not refused."""
    server = await start()
    results = (await attacked(server, tmp_path, page="localhost", target="localhost")).results
    assert arrived(fake) >= ATTACKS - NOBODYS
    assert await is_off(server)
    assert results["socket"] == "open"
