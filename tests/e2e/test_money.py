"""To the last token: what the upstream wrote down is what the ledger, the metrics and the report say."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from compiler.ledger import Ledger
from tests.conftest import PRICES
from tests.e2e.conftest import Server
from tests.e2e.test_serve import PROMPT, SENTIMENT, Start
from tests.fake_upstream import Answer, Call, FakeUpstream, Fault

TOKENS = ("input", "cached_input", "output", "reasoning")
Bill = dict[str, dict[str, float]]  # by model: calls, tokens by type, cost


def usage(prompt: int, cached: int, completion: int, reasoning: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def by_last_words(answers: dict[str, Answer], otherwise: Answer) -> Any:
    return lambda request: answers.get(request["messages"][-1]["content"], otherwise)


def upstreams_bill(calls: Iterable[Call]) -> Bill:
    """What the upstream reported to its caller is what it charges. Where it reported nothing (a stream that did not
    ask, one that broke off) nobody can know of cached or reasoning tokens: all that is left is to count the texts,
    which the fake upstream does for itself."""
    found: dict[str, Counter[str]] = {}
    for call in calls:
        sums = found.setdefault(call.model, Counter())
        sums["calls"] += 1
        if call.billed:
            told = call.usage or usage(call.input, 0, call.output, 0)
            cached = told["prompt_tokens_details"]["cached_tokens"]
            reasoning = told["completion_tokens_details"]["reasoning_tokens"]
            sums["input"] += told["prompt_tokens"] - cached
            sums["cached_input"] += cached
            sums["output"] += told["completion_tokens"] - reasoning
            sums["reasoning"] += reasoning
    return {model: _with_cost(model, sums) for model, sums in found.items()}


def _with_cost(model: str, sums: Counter[str]) -> dict[str, float]:
    price = PRICES[model]
    paid = {**price, "reasoning": price["output"]}
    return {**{k: sums[k] for k in ("calls", *TOKENS)}, "cost": sum(sums[k] * paid[k] for k in TOKENS) / 1e6}


def as_bill(rows: Iterable[dict[str, Any]]) -> Bill:
    found: Bill = {}
    for row in rows:
        assert row["cache_write"] == row["unpriced"] == 0
        sums = found.setdefault(row["model"], dict.fromkeys(("calls", *TOKENS, "cost"), 0))
        for name in sums:
            sums[name] += row[name]
    return found


def without_calls(bill: Bill) -> Bill:
    """The metrics count client requests, not upstream calls."""
    return {model: {name: n for name, n in sums.items() if name != "calls"} for model, sums in bill.items()}


def rounded(bill: Bill) -> Bill:
    """Tokens exactly, dollars to a billionth."""
    return {
        model: {name: pytest.approx(n, abs=1e-9) if name == "cost" else n for name, n in sums.items()}
        for model, sums in bill.items()
    }


def metrics_bill(samples: list[Any]) -> Bill:
    found: Bill = {}
    for sample in samples:
        if sample.name in ("cuecard_tokens_total", "cuecard_cost_usd_total"):
            sums = found.setdefault(sample.labels["model"], dict.fromkeys((*TOKENS, "cost"), 0))
            sums[sample.labels.get("type", "cost")] += sample.value  # over all roles and tasks
    return found


class Client:
    """Counts what it asked for: the other half of the comparison."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.requests = 0

    async def ask(self, model: str, text: str, **more: Any) -> tuple[int, str | None]:
        """(status, route), the answer read to its end."""
        self.requests += 1
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        async with await self.server.chat(body) as answer:
            await answer.read()
            return answer.status, answer.headers.get("X-Cuecard-Route")

    async def until_compiled(self) -> None:
        """With few requests: after 20 answers of the current model its own p95, here a few milliseconds, becomes the
        candidate's deadline."""
        await self.ask("task:sentiment", "nice")  # wants the compile
        async with asyncio.timeout(20):
            while not await self._is_live():
                await asyncio.sleep(0.02)
            while (await self.ask("task:sentiment", "nice"))[1] != "compiled":
                await asyncio.sleep(0.2)

    async def _is_live(self) -> bool:
        async with self.server.http.get(f"{self.server.url}/admin/tasks") as answer:
            return [task["state"]["stage"] for task in (await answer.json())["tasks"]] == ["live"]

    async def samples(self) -> list[Any]:
        return [s for f in text_string_to_metric_families(await self.server.metrics()) for s in f.samples]


async def test_ledger_metrics_and_report_equal_the_upstreams_bill_whatever_happened_on_the_way(
    start: Start, fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.answers["fake-nano"] = by_last_words(
        {"breach": "well, it is good", "fail": Fault.respond(500)},
        {"content": "good", "usage": usage(900, 640, 77, 64)},
    )
    fake.answers["fake-mini"] = by_last_words(
        {"down": Fault.respond(500), "cut": Fault.cut(3, "one two three four five"), "plain": "counted by itself"},
        {"content": "good", "usage": usage(210, 128, 31, 20)},
    )
    fake.queue("fake-strong", "an ordinary answer", Fault.respond(500), {"content": PROMPT, "usage": usage(1, 0, 9, 5)})
    examples = [{"input": f"example {n}", "expected": ("good", "bad")[n % 2]} for n in range(10)]
    (tmp_path / "examples.jsonl").write_text("\n".join(json.dumps(example) for example in examples))
    server = await start(
        tasks={"sentiment": {**SENTIMENT, "incumbent": "fake-mini", "examples": "examples.jsonl"}},
        compile={"min_examples": 5},
    )
    client = Client(server)
    streamed: dict[str, Any] = {"stream": True}
    with_usage: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}

    assert await client.ask("fake-strong", "the meta model, asked by the app") == (200, "original")
    assert await client.ask("fake-mini", "plain") == (200, "original")
    assert await client.ask("fake-mini", "plain", **streamed) == (200, "original")
    assert await client.ask("fake-mini", "with usage", **with_usage) == (200, "original")
    await client.until_compiled()
    for more in ({}, streamed, with_usage):
        assert await client.ask("task:sentiment", "nice", **more) == (200, "compiled")
        assert await client.ask("task:sentiment", "breach", **more) == (200, "fallback")
        assert await client.ask("task:sentiment", "fail", **more) == (200, "fallback")
    assert await client.ask("fake-mini", "down") == (500, "original")
    with pytest.raises(aiohttp.ClientError):
        await client.ask("fake-mini", "cut", **streamed)

    await fake.wait_until(lambda: all(call.done for call in fake.calls))
    bill = upstreams_bill(fake.calls)
    asked_again = [call.status for call in fake.calls_to("fake-strong")]
    assert asked_again[:3] == [200, 500, 200] and set(asked_again[3:]) <= {200}  # the background tried again
    assert all(bill[model][kind] for model in ("fake-nano", "fake-mini") for kind in TOKENS)  # nothing compares 0 to 0
    expected = rounded(without_calls(bill))
    deadline = time.monotonic() + 10
    while metrics_bill(samples := await client.samples()) != expected and time.monotonic() < deadline:
        await asyncio.sleep(0.05)  # counting takes a moment
    assert metrics_bill(samples) == expected
    answered = [s for s in samples if s.name == "cuecard_requests_total"]
    assert sum(s.value for s in answered) == client.requests
    roles = {s.labels["role"] for s in samples if s.name == "cuecard_tokens_total"}
    assert roles == {"serve", "compile"}

    await server.stop()
    store = server.open_store()
    booked = [{**row._asdict(), **vars(sums)} for _, row, sums in Ledger(store).rows()]
    store.close()
    assert as_bill(booked) == rounded(bill)
    report = (await printed_report(tmp_path))["tasks"]
    assert as_bill(row for task in report.values() for row in task["rows"]) == rounded(bill)
    spent = sum(task["cost_usd"] + task["compile_usd"] for task in report.values())
    assert spent == pytest.approx(sum(sums["cost"] for sums in bill.values()), abs=1e-9)


async def printed_report(folder: Path) -> Any:
    command = (sys.executable, "-c", "from proxy.cli import main; main()", "report", "--json")
    process = await asyncio.create_subprocess_exec(
        *command, "--config", str(folder / "cuecard.yaml"), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(printed)
