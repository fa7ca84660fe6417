"""The dashboard's queries, run by a real Prometheus that scrapes a real `cuecard serve`."""

import asyncio
import json
import math
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from compiler.card import Card
from compiler.program import Prompt
from compiler.registry import Registry
from compiler.task import Contract
from tests.e2e.conftest import Server
from tests.fake_upstream import FakeUpstream, Fault

FOLDER = Path(__file__).parents[2] / "grafana"
PATIENCE = 90.0
STOP_PATIENCE = 5.0
LISTENS = re.compile(r'msg="Listening on".* address=(127\.0\.0\.1:[1-9]\d*)')
ROUTES = ("compiled", "original", "fallback")
VARIABLES = {"$__rate_interval": "10s", "$__range": "1m"}
SENTIMENT = {
    "description": "Say whether the text is good or bad.",
    "trust": "declared",
    "incumbent": "fake-mini",
    "output": {"kind": "label", "labels": ["good", "bad"]},
}
TONE = {"description": "Say what the tone is.", "trust": "proven", "incumbent": "fake-mini"}

Run = Callable[..., Awaitable["Prometheus"]]
Values = list[float]  # one a series


@dataclass
class Prometheus:
    url: str
    http: aiohttp.ClientSession

    async def query(self, expression: str, at: float) -> Values:
        """Raises AssertionError with Prometheus' own words where it refuses the query."""
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        async with self.http.get(f"{self.url}/api/v1/query", params={"query": expression, "time": at}) as answer:
            found = await answer.json()
        assert found["status"] == "success", f"{expression}: {found}"
        values = [float(series["value"][1]) for series in found["data"]["result"]]
        return [value for value in values if not math.isnan(value)]

    async def panels(self) -> dict[str, list[Values]]:
        """By title, what each of the panel's queries yields, all at the same moment."""
        at = time.time()
        return {
            title: [await self.query(expression, at) for expression in queries] for title, queries in PANELS.items()
        }


def _panels() -> dict[str, list[str]]:
    dashboard = json.loads((FOLDER / "dashboards" / "cuecard.json").read_text("utf-8"))
    shown = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    return {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in shown}


PANELS = _panels()


def _binary() -> str:
    found = shutil.which("prometheus")
    if not found and os.environ.get("CI"):
        pytest.fail("the dashboard is tested with a real Prometheus: install the package `prometheus`")
    if not found:
        pytest.skip("no `prometheus` on this machine")
    return found


@asynccontextmanager
async def _running(folder: Path, targets: list[str]) -> AsyncIterator[Prometheus]:
    """With the configuration that we ship, but for the target and a scrape each second."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))
    config["global"]["scrape_interval"] = "1s"
    config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    log_file = folder / "prometheus.log"
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            _binary(), f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0", stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as http:
            prometheus = Prometheus(f"http://{await _address(log_file, process)}", http)
            await _ready(prometheus)
            yield prometheus
    finally:
        await _stop(process)


async def _address(log: Path, process: asyncio.subprocess.Process) -> str:
    """Where it listens: on a port that was free, as it says."""
    async with asyncio.timeout(PATIENCE):
        while not (found := LISTENS.search(await asyncio.to_thread(log.read_text, "utf-8"))):
            assert process.returncode is None, "Prometheus ended at once; see prometheus.log in the test's folder"
            await asyncio.sleep(0.05)
    return found[1]


async def _ready(prometheus: Prometheus) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            async with prometheus.http.get(f"{prometheus.url}/-/ready") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@pytest.fixture
async def prometheus(tmp_path: Path) -> AsyncIterator[Run]:
    """`await prometheus(*targets)`: a running Prometheus, stopped after the test."""
    async with AsyncExitStack() as stack:

        async def run(*targets: str) -> Prometheus:
            return await stack.enter_async_context(_running(tmp_path, list(targets)))

        yield run


async def _traffic(server: Server, fake: FakeUpstream) -> None:
    """A compiled answer, an answer outside the task's labels, one to compare a card with, an untouched one, and an
    upstream's error."""
    task = {"model": "task:sentiment", "messages": [{"role": "user", "content": "nice"}]}
    plain = {"model": "fake-mini", "messages": [{"role": "user", "content": "hello"}]}
    for body, queued in (
        (task, {}),
        (task, {"fake-nano": "well, it is good"}),
        (plain, {}),
        (plain, {"fake-mini": Fault.respond(500)}),
        (plain | {"model": "fake-unpriced"}, {}),
    ):
        for model, answer in queued.items():
            fake.queue(model, answer)
        async with await server.chat(body) as answer:
            await answer.read()
    async with await server.chat(plain, **{"X-Cuecard-Task": "tone"}) as answer:
        await answer.read()


def _publish(server: Server) -> None:
    """A card of `tone`, to be proven."""
    with server.open_store() as store:
        registry = Registry(store)
        (task, _) = registry.tasks()["tone"]
        contract, program = Contract("label", ("good", "bad")), Prompt("Say good or bad.")
        created = "2026-03-01T12:00:00+00:00"
        card = Card("tone", 1, task.definition(), "fake-nano", program, contract, "prompt", 5, 5, created, 0.0)
        registry.publish(card, stage="shadowing", traffic=0.0)


async def test_every_panel_shows_data_of_compiled_original_and_failed_requests(
    start: Callable[..., Awaitable[Server]], fake: FakeUpstream, prometheus: Run
) -> None:
    fake.answers["fake-strong"] = "<prompt>Say good or bad.</prompt>"
    fake.answers["fake-nano"] = fake.answers["fake-mini"] = "good"
    server = await start(tasks={"sentiment": SENTIMENT, "tone": TONE}, mode="auto")
    await asyncio.to_thread(_publish, server)
    watching = await prometheus(urlsplit(server.url).netloc)
    money = ("Spend", "Baseline (estimate)", "Net saving (estimate)", "Calls without a known price")
    empty: list[str] = list(PANELS)
    deadline = time.monotonic() + PATIENCE
    while empty and time.monotonic() < deadline:
        await _traffic(server, fake)
        shown = await watching.panels()
        empty = [title for title, queries in shown.items() if not all(queries)]
        empty += [title for title in money if shown[title] == [[0.0]]]
        empty += [title for title in ("Requests by route",) if len(shown[title][0]) < len(ROUTES)]
        await asyncio.sleep(0.3)
    assert not empty, f"no data after {PATIENCE} s"
    spend, baseline, saving = (shown[title][0][0] for title in money[:3])
    assert spend > 0
    assert baseline > 0
    assert saving == pytest.approx(baseline - spend)
    assert sum(shown["Spend by model and role"][0]) == pytest.approx(spend)
    assert len(shown["Requests by route"][0]) == len(ROUTES)


async def test_before_the_first_request_sums_are_0_and_no_query_fails(prometheus: Run) -> None:
    shown = await (await prometheus()).panels()
    sums = {title: queries for title, queries in shown.items() if queries != [[]] * len(queries)}
    assert sums == {
        title: [[0.0]]
        for title in ("Spend", "Baseline (estimate)", "Net saving (estimate)", "Calls without a known price")
    }


def test_no_panel_is_named_twice_and_each_takes_the_chosen_data_source() -> None:
    dashboard = json.loads((FOLDER / "dashboards" / "cuecard.json").read_text("utf-8"))
    shown = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(PANELS) == len(shown)
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource"]
    for panel in shown:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
