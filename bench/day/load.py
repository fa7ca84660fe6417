"""The app: an HTTP client that knows nothing of Cuecard, and notes what it got and how wrong that was."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from bench.day.traffic import AGENT, INCUMBENT, Ask, Traffic, answer, loss, prompt_tokens, tokens, usd

AT_ONCE = 256  # requests under way; more have to wait, as a team's threads would


@dataclass(frozen=True)
class Got:
    """One request. `loss` and `own_loss`: of the answer, and of the one that the app's own model gives to it, which
    would have cost `own_usd`."""

    at: float
    kind: str
    route: str
    loss: float
    own_loss: float
    own_usd: float


@dataclass
class App:
    traffic: Traffic
    url: str
    got: list[Got] = field(default_factory=list)  # in the order of the answers
    failed: int = 0

    async def run(self, requests: int, per_second: float, say: Callable[[int], None]) -> None:
        """Requests begin at their own times, whether or not those before are answered."""
        loop, asking = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        room, begun = asyncio.Semaphore(AT_ONCE), loop.time()
        headers = {"User-Agent": AGENT, "Authorization": "Bearer sk-team-app"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as http:
            for number in range(requests):
                await asyncio.sleep(max(0.0, begun + number / per_second - loop.time()))
                await room.acquire()
                task = asyncio.create_task(self._ask(http, self.traffic.ask(number), room))
                asking.add(task)
                task.add_done_callback(asking.discard)
                if number % 1_000 == 0:
                    say(number)
            await asyncio.gather(*asking)

    async def _ask(self, http: aiohttp.ClientSession, ask: Ask, room: asyncio.Semaphore) -> None:
        try:
            async with http.post(f"{self.url}/v1/chat/completions", json=ask.body) as answered:
                told = await answered.json()
                route = answered.headers.get("X-Cuecard-Route", "")
            self.got.append(_judged(ask, told["choices"][0]["message"]["content"], route))
        except (aiohttp.ClientError, KeyError, ValueError):
            self.failed += 1
        finally:
            room.release()


def _judged(ask: Ask, said: str, route: str) -> Got:
    own = answer(ask.kind, ask.text, INCUMBENT)
    if ask.kind.form in ("chat", "talk"):
        own = said
    cost = usd(INCUMBENT, prompt_tokens(ask.body["messages"]), tokens(own))
    return Got(time.time(), ask.kind.name, route, loss(ask.kind, ask.text, said), loss(ask.kind, ask.text, own), cost)
