"""An app of five services, and all that happens to them: the funnel is the upstream's bill, to the cent, at every step.

Every request of the app says in `user` which service it is of, so that the upstream's own record tells what each group
of the funnel has to hold. What has no `user` is Cuecard's own.
"""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import PRICES
from tests.e2e.conftest import Server
from tests.e2e.test_money import by_last_words, printed_report, usage
from tests.e2e.test_serve import PROMPT, SENTIMENT, Start
from tests.fake_upstream import Call, FakeUpstream, Fault

CENT = 0.005
DUST = 1e-7  # dollars that adding up floats may differ by
HERE = {
    **PRICES,
    "fake-judge": {"input": 1.0, "output": 4.0},
    "fake-embed": {"input": 0.02, "output": 0.0},
    "fake-slow": {"input": 5.0, "output": 30.0},
    "fake-cut": {"input": 5.0, "output": 30.0},
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": {"type": "object"}}}
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
CALLED = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
GROUPS: dict[str, tuple[str, str, str]] = {
    "rag": ("eligible", "multi_turn", ""),
    "agent": ("eligible", "tools", ""),
    "quiet": ("eligible", "bypass", ""),
    "summary": ("seen", "not_chat", "/v1/responses"),
    "old summary": ("seen", "not_chat", "/v1/completions"),
    "search": ("seen", "not_chat", "/v1/embeddings"),
    "speech": ("seen", "not_chat", "/v1/audio/speech"),
    "extract": ("matched", "unrecognised", ""),
    "topics": ("live", "observe", ""),
}
"""Where each service's calls leave the funnel: step, reason, endpoint. Those of `mood` are served."""


@dataclass
class Sum:
    calls: int = 0
    failed: int = 0
    unknown: int = 0
    usd: float = 0.0


def service(call: Call) -> str:
    return str(call.json.get("user", "")) if isinstance(call.json, dict) else ""


def cost(call: Call) -> float | None:
    """By the usage that the upstream told; where it told none, by its own count of what it read and wrote. None: nobody
    knows."""
    price = HERE.get(call.model)
    if price is None or (call.usage is None and not call.path.startswith("/v1/chat")):
        return None
    told = call.usage or usage(call.input, 0, call.output, 0)
    inputs, outputs = told.get("prompt_tokens", told.get("input_tokens")), told.get("completion_tokens")
    outputs = told.get("output_tokens", 0) if outputs is None else outputs
    details = told.get("prompt_tokens_details") or told.get("input_tokens_details") or {}
    cached = details.get("cached_tokens", 0)
    paid = (inputs - cached) * price["input"] + cached * price.get("cached_input", 0.0) + outputs * price["output"]
    return paid / 1e6


def answered_nobody(call: Call) -> bool:
    """The client left, or the connection broke, or the card's answer was no label: paid for all the same."""
    return call.hung_up or call.model == "fake-cut" or "well" in call.answer


def bill(calls: Iterable[Call]) -> Sum:
    found = Sum()
    for call in calls:
        if call.method == "POST":
            usd = cost(call) if call.billed else 0.0
            found.calls += 1
            found.failed += not call.billed or answered_nobody(call)
            found.unknown += usd is None
            found.usd += usd or 0.0
    return found


def is_that(shown: dict[str, Any], expected: Sum) -> bool:
    counts = (shown["calls"], shown["failed"], shown["unknown_cost"])
    return counts == (expected.calls, expected.failed, expected.unknown) and abs(shown["usd"] - expected.usd) < DUST


class App:
    def __init__(self, server: Server) -> None:
        self.server = server

    async def chat(self, who: str, model: str, *messages: Any, task: str = "", quiet: bool = False, **more: Any) -> str:
        """The route taken; the answer is read to its end."""
        told = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
        headers = ({"X-Cuecard-Task": task} if task else {}) | ({"X-Cuecard-Bypass": "1"} if quiet else {})
        body = {"model": model, "messages": told, "user": who, **more}
        async with await self.server.chat(body, **headers) as answer:
            await answer.read()
            return answer.headers["X-Cuecard-Route"]

    async def post(self, path: str, who: str, model: str, **more: Any) -> None:
        body = {"model": model, "user": who, **more}
        async with self.server.http.post(f"{self.server.url}{path}", json=body) as answer:
            await answer.read()

    async def until_compiled(self) -> None:
        async with asyncio.timeout(20):
            while await self.chat("mood", "fake-mini", "nice", task="sentiment") != "compiled":
                await asyncio.sleep(0.2)

    async def rag(self) -> None:
        """Conversations over found documents, streamed: with usage, without (counted), cut, and left by the client."""
        talk = [{"role": "system", "content": "Answer from these documents: …"}, "What is it?"]
        talk += [{"role": "assistant", "content": "A lamp."}, "And how much?"]
        for options in ({}, {"stream_options": {"include_usage": True}}):
            await self.chat("rag", "fake-strong", *talk, stream=True, **options)
        with pytest.raises(aiohttp.ClientError):
            await self.chat("rag", "fake-cut", *talk, stream=True)

    async def hang_up(self, fake: FakeUpstream) -> None:
        talk = [{"role": role, "content": "hm"} for role in ("user", "assistant", "user")]
        answer = await self.server.chat({"model": "fake-slow", "messages": talk, "user": "rag", "stream": True})
        fake.step(3)
        seen = b""
        while b"two" not in seen:
            seen += await answer.content.readany()
        answer.close()

    async def agent(self) -> None:
        turns: list[Any] = ["Where is my parcel?"]
        for _ in range(3):
            await self.chat("agent", "fake-strong", *turns, tools=TOOLS)
            turns += [{"role": "assistant", "content": None, "tool_calls": [CALLED]}]
            turns += [{"role": "tool", "tool_call_id": "c1", "content": "in Bonn"}]

    async def others(self) -> None:
        for n in range(5):
            await self.chat("extract", "fake-mini", f"Order {n}: two lamps", response_format=SCHEMA)
            await self.chat("topics", "fake-mini", f"The parcel {n} never came", task="topic")
        await self.chat("extract", "fake-new", "Order 9: a lamp")  # nobody knows its price
        await self.chat("quiet", "fake-strong", "Nothing of this", quiet=True)
        await self.post("/v1/responses", "summary", "fake-strong", input="A long text")
        await self.post("/v1/completions", "old summary", "fake-mini", prompt="A long text")
        await self.post("/v1/embeddings", "search", "fake-embed", input=["one", "two three"])
        await self.post("/v1/audio/speech", "speech", "fake-speech", input="Hello", voice="x")
        async with self.server.http.get(f"{self.server.url}/v1/responses/resp_1") as answer:
            await answer.read()  # what was paid for before

    async def mood(self) -> None:
        for words, route in (("nice", "compiled"), ("breach", "fallback"), ("fail", "fallback")):
            assert await self.chat("mood", "fake-mini", words, task="sentiment") == route

    async def unlucky(self, fake: FakeUpstream) -> None:
        for status in (500, 429):
            fake.queue("fake-mini", Fault.respond(status))
            await self.chat("extract", "fake-mini", "Order 7: a lamp", response_format=SCHEMA)


def set_up(fake: FakeUpstream) -> None:
    def strong(request: dict[str, Any]) -> Any:
        if "user" not in request:
            return {"content": PROMPT, "usage": usage(5_000, 0, 2_000, 500)}
        return {"content": "It is 12 euros.", "usage": usage(90_000, 60_000, 7_000, 6_000)}

    used = {"input_tokens": 40_000, "input_tokens_details": {"cached_tokens": 1_024}, "output_tokens": 800}
    responses = {"id": "resp_1", "object": "response", "model": "fake-strong", "usage": used}
    completion = {"object": "text_completion", "model": "fake-mini", "usage": usage(31_000, 0, 900, 0)}
    fake.answers |= {
        "fake-strong": strong,
        "fake-nano": by_last_words(
            {"breach": "well, it is good", "fail": Fault.respond(500)},
            {"content": "good", "usage": usage(9_000, 640, 77, 64)},
        ),
        "fake-mini": lambda _: {"content": "good", "usage": usage(21_000, 128, 3_100, 20)},
        "fake-slow": Fault.slow("one two three four five six"),
        "fake-cut": Fault.cut(3, "one two three four five"),
        "/v1/responses": Fault.respond(200, body=responses),
        "/v1/responses/resp_1": Fault.respond(200, body=responses),
        "/v1/completions": Fault.respond(200, body=completion),
        "/v1/audio/speech": Fault.respond(200, {"Content-Type": "audio/mpeg"}, b"sound"),
    }


@pytest.fixture
async def report(start: Start, fake: FakeUpstream, tmp_path: Path) -> dict[str, Any]:
    """What is reported after the traffic, and what /admin showed of the same shape."""
    set_up(fake)
    examples = [{"input": f"example {n}", "expected": ("good", "bad")[n % 2]} for n in range(10)]
    (tmp_path / "examples.jsonl").write_text("\n".join(json.dumps(example) for example in examples))
    topic = {"description": "Name the topic.", "incumbent": "fake-mini"}
    server = await start(
        prices={name: dict(price) for name, price in HERE.items()},
        tasks={"sentiment": {**SENTIMENT, "incumbent": "fake-mini", "examples": "examples.jsonl"}, "topic": topic},
        compile={"min_examples": 5},
    )
    app = App(server)
    await app.until_compiled()
    await asyncio.gather(app.rag(), app.agent(), app.others(), app.mood(), app.hang_up(fake))
    await app.unlucky(fake)
    await fake.wait_until(lambda: all(call.done for call in fake.calls))
    async with server.http.get(f"{server.url}/admin/report") as answer:
        shown = await answer.json()
    await server.stop()
    return {"printed": await printed_report(tmp_path), "admin": shown}


async def test_the_funnel_is_the_upstreams_bill_to_the_cent(report: dict[str, Any], fake: FakeUpstream) -> None:
    funnel = report["printed"]["funnel"]
    steps = {step["name"]: step for step in funnel["steps"]}
    total = bill(fake.calls)
    assert total.usd > 2, "there is something to compare"
    assert is_that(funnel["bill"], total)
    ours = bill(call for call in fake.calls if not service(call))
    assert ours.usd > CENT
    assert sum(group["usd"] for group in funnel["own"]) == pytest.approx(ours.usd, abs=DUST)
    assert is_that(steps["bill"], bill(call for call in fake.calls if service(call)))

    names = list(steps)
    for before, name in pairwise(names):
        left_out = steps[name]["excluded"]
        for measure in ("calls", "failed", "unknown_cost", "usd"):
            adds_up = steps[name][measure] + sum(group[measure] for group in left_out)
            assert adds_up == pytest.approx(steps[before][measure], abs=DUST), (name, measure)

    groups = {(n, g["reason"], g["endpoint"]): g for n, step in steps.items() for g in step["excluded"]}
    for who, at in GROUPS.items():
        expected = bill(call for call in fake.calls if service(call) == who)
        assert expected.calls, who
        assert is_that(groups.pop(at), expected), who
    before_the_card = [groups.pop(("live", reason, ""), None) for reason in ("no_card", "compiling")]
    assert groups == {}, "and nothing else is left out"

    mood = bill(call for call in fake.calls if service(call) == "mood")
    served = {group["reason"]: group for group in funnel["served"]}
    assert served["fallback"]["calls"] == 4, "both calls of each are paid"
    assert served["compiled"]["failed"] == 0
    everything = [*served.values(), *filter(None, before_the_card)]
    assert sum(group["calls"] for group in everything) == mood.calls
    assert sum(group["usd"] for group in everything) == pytest.approx(mood.usd, abs=DUST)

    sentences = [group["sentence"] for step in funnel["steps"] for group in step["excluded"]]
    assert "1 call, $0.2194, arrived on /v1/responses: metered, not yet optimisable" in sentences
    assert any("cost unknown (other), arrived on /v1/audio/speech" in sentence for sentence in sentences)
    assert any("8 calls (2 failed), $" in s and "and 1 of unknown cost (fake-new)" in s for s in sentences)

    saving = report["printed"]["possible_savings"]["topic"]
    assert (saving["incumbent"], saving["candidate"], saving["calls_per_day"]) == ("fake-mini", "fake-nano", 5)
    assert saving["verdict"] == "not worth it"
    assert "sentiment" not in report["printed"]["possible_savings"], "it has its card"
    assert report["admin"].keys() == report["printed"].keys()
    assert [step["name"] for step in report["admin"]["funnel"]["steps"]] == names
