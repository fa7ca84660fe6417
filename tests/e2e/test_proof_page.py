"""The report of `cuecard prove` in a real browser: its plots are drawn, and nobody is asked for anything, whatever the
log holds. Needs Chromium: outside `make test`."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from proxy.cli import main
from tests.learned import TOXIC
from tests.proxy.prove.logs import URGENT, calls, configured, logged, settings_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60.0
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
EVIL = "<img src='https://evil.example/x'><script>fetch('https://evil.example/y')</script><svg onload=fetch('/z')>"
DRAWN = """(() => [...document.querySelectorAll("svg")].map(svg => {
  const all = svg.getBoundingClientRect(), box = mark => mark.getBoundingClientRect(), style = getComputedStyle;
  const inside = mark => box(mark).width > 0 && box(mark).left >= all.left - 1 && box(mark).right <= all.right + 1
    && box(mark).top >= all.top - 1 && box(mark).bottom <= all.bottom + 1;
  return {
    kind: svg.getAttribute("class"),
    marks: [...svg.querySelectorAll("polyline, rect, circle, line.most")].map(mark => ({
      name: mark.tagName, inside: inside(mark), wide: box(mark).width, high: box(mark).height,
      paint: style(mark).stroke + style(mark).fill,
    })),
    words: [...svg.querySelectorAll("text")].every(inside),
  };
}))()"""
TRIES_TO_ASK = """new Promise(done => {
  document.addEventListener("securitypolicyviolation", event => done(event.blockedURI));
  setTimeout(() => done("nobody minded"), 5000);
  const image = new Image(); image.src = "https://evil.example/x"; document.body.append(image);
})"""


class Browser:
    """One page of it, over the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.asked: list[str] = []  # every address that was asked for
        self._socket = socket
        self._ids = count(1)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        return await self._until(lambda said: said.get("id") == number)

    async def opened(self, path: Path) -> None:
        await self.call("Network.enable")
        await self.call("Page.enable")
        await self.call("Page.navigate", url=path.as_uri())
        await self._until(lambda said: said.get("method") == "Page.loadEventFired")

    async def told(self, script: str) -> Any:
        said = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return said["result"]["result"].get("value")

    async def _until(self, wanted: Any) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while True:
                said: dict[str, Any] = await self._socket.receive_json()
                if said.get("method") == "Network.requestWillBeSent":
                    self.asked.append(said["params"]["request"]["url"])
                if wanted(said):
                    return said


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    """No name leads anywhere."""
    assert CHROMIUM
    process = await asyncio.create_subprocess_exec(
        *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *(f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--no-proxy-server", "--mute-audio"),
        *("--remote-debugging-port=0", "--window-size=1200,1600", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr
        async with asyncio.timeout(PATIENCE):
            while b"DevTools listening on" not in (line := await process.stderr.readline()):
                assert line, "it ended"
        address = line.decode().split("ws://")[1].split("/")[0]
        async with aiohttp.ClientSession() as http:
            pages = await (await http.get(f"http://{address}/json")).json(content_type=None)
            page = next(page for page in pages if page["type"] == "page")
            async with http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Browser(socket)
    finally:
        process.terminate()
        await process.communicate()


@pytest.fixture
async def report(fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a log whose requests, prompts and answers would ask for pictures and run scripts."""
    monkeypatch.chdir(tmp_path)
    configured(settings_for(fake))
    evil = calls(URGENT)
    for call in evil:
        call["request"]["messages"][0]["content"] += f" {EVIL}"
        call["response"]["choices"][0]["message"]["content"] = EVIL if len(str(call)) % 2 else "now"
    logged(tmp_path / "log.jsonl", calls(TOXIC), evil)
    fake.answers["fake-strong"] = f"<prompt>Answer. {EVIL}</prompt>"
    done = await asyncio.to_thread(CliRunner().invoke, main, ["prove", "log.jsonl"])
    assert done.exit_code == 1, done.output
    return tmp_path / "cuecard-proof.html"


async def test_the_plots_are_drawn_and_nobody_is_asked_for_anything(report, tmp_path):
    async with browser(tmp_path) as page:
        await page.opened(report)
        drawn = await page.told(DRAWN)
        assert [svg["kind"] for svg in drawn] == ["savings", "bounds", "bounds"]
        for svg in drawn:
            assert svg["marks"] and svg["words"]
            assert all(mark["inside"] and "rgb" in mark["paint"] for mark in svg["marks"])
        curve = next(mark for mark in drawn[1]["marks"] if mark["name"] == "polyline")
        assert curve["wide"] > 300 and curve["high"] > 100
        assert await page.told("document.scripts.length + document.images.length") == 0
        assert await page.told("document.querySelectorAll('pre').length") > 10
        assert page.asked == [report.as_uri()]


async def test_what_would_ask_all_the_same_is_not_let_out(report, tmp_path):
    async with browser(tmp_path) as page:
        await page.opened(report)
        assert await page.told(TRIES_TO_ASK) == "https://evil.example/x"
