"""Between whoever asks and the models: what was asked of them, counted by neither the searcher nor the model."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

import aiohttp
import orjson
from aiohttp import web

from compiler.pricing import PriceBook, Usage

Side = Literal["big", "small"]
Phase = Literal["traffic", "search", "gold"]
SECONDS = 900


@dataclass
class Tally:
    """Calls that reached a model, those without an answer (`failed`) included. `cached` is a part of `input`."""

    calls: int = 0
    failed: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    usd: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


class Line(NamedTuple):
    """Who asks, for what."""

    task: str
    arm: str
    phase: Phase


class Counting:
    """`url` of a line and a side is an OpenAI base URL of its own, so that each call says whose it is."""

    def __init__(self, upstreams: Mapping[Side, str], prices: Mapping[str, Mapping[str, float]]) -> None:
        self._upstreams = upstreams
        self._prices = PriceBook(prices)
        self._tallies: defaultdict[tuple[str, str, str, str], Tally] = defaultdict(Tally)
        self._own = ""

    def url(self, line: Line, side: Side) -> str:
        return f"{self._own}/{line.task}/{line.arm}/{line.phase}/{side}/v1"

    def tally(self, line: Line, side: Side) -> Tally:
        return self._tallies[(*line, side)]

    def forget(self, line: Line) -> None:
        """What was asked by a search that begins anew."""
        for side in self._upstreams:
            self._tallies.pop((*line, side), None)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/{task}/{arm}/{phase}/{side}/v1/chat/completions", self._pass_on)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._own = f"http://127.0.0.1:{runner.addresses[0][1]}"
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as self._session:
                yield
        finally:
            await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.Response:
        part = request.match_info
        side = part["side"]
        tally = self._tallies[part["task"], part["arm"], part["phase"], side]
        tally.calls += 1
        tally.failed += 1  # until there is an answer
        url = next(url for name, url in self._upstreams.items() if name == side)
        body = await request.read()
        headers = {"Content-Type": "application/json"}
        async with self._session.post(f"{url}/chat/completions", data=body, headers=headers) as answer:
            said = await answer.read()
        if answer.status == 200:
            tally.failed -= 1
            self._add(tally, orjson.loads(said))
        return web.Response(status=answer.status, body=said, content_type="application/json")

    def _add(self, tally: Tally, completion: Mapping[str, Any]) -> None:
        usage = Usage.from_openai(completion.get("usage") or {})
        tally.input += usage.input
        tally.cached += usage.cached_input
        tally.output += usage.output
        if rates := self._prices.rates(str(completion.get("model"))):
            tally.usd += rates.cost(usage)
