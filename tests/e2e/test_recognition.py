"""Traffic that nobody declared, through the real server: after some of it, its tasks have names."""

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Server, serving, settings_for
from tests.fake_upstream import FakeUpstream

WORDS = [
    "parcel",
    "invoice",
    "refund",
    "login",
    "colour",
    "delivery",
    "password",
    "broken",
    "late",
    "missing",
    "twice",
    "today",
    "order",
    "box",
]
PATIENCE = 40.0  # seconds


def mails() -> Iterator[str]:
    """Texts, none twice."""
    for number in count():
        chosen = [WORDS[(number * 7 + k * k * 3 + number // 15) % len(WORDS)] for k in range(6 + number % 5)]
        yield f"{' '.join(chosen).capitalize()}, case {number * 37}."


def verdict_on(text: str, wanted: str) -> dict[str, Any]:
    prompt = f"Decide whether the comment is {wanted}. Answer with yes or no, nothing else.\nComment: {text}"
    return {"model": "fake-strong", "messages": [{"role": "user", "content": prompt}]}


async def task_of(server: Server, body: dict[str, Any]) -> str | None:
    async with await server.chat(body) as answer:
        assert answer.status == 200
        return answer.headers.get("X-Cuecard-Task")


async def until_recognised(server: Server, texts: Iterator[str], *wanted: str) -> list[str]:
    """All of them: asked in turn, for what one machine learns from few requests of a kind another learns from many."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = [await task_of(server, verdict_on(next(texts), one)) for one in wanted]
            if None not in found:
                return [name for name in found if name]
            await asyncio.sleep(0.1)


async def test_near_twins_get_a_name_each_and_go_on_as_they_came(fake: FakeUpstream, tmp_path: Path) -> None:
    texts = mails()
    async with serving(tmp_path, settings_for(fake, tmp_path)) as server:
        for _ in range(25):
            for wanted in ("toxic", "not toxic"):
                assert await task_of(server, verdict_on(next(texts), wanted)) is None
        one, other = await until_recognised(server, texts, "toxic", "not toxic")
        assert one != other
        changed = verdict_on(next(texts), "toxic")
        changed["messages"][0]["content"] = changed["messages"][0]["content"].replace(
            "Answer with", "Never answer with"
        )
        assert await task_of(server, changed) is None
        metrics = await server.metrics()
        assert 'cuecard_original_total{reason="observe"}' in metrics
        await server.stop()
        async with serving(tmp_path, settings_for(fake, tmp_path)) as again:
            assert await task_of(again, verdict_on(next(texts), "toxic")) == one  # the same names after a restart
