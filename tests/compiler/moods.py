"""A declared task that tells moods: its requests as they are recorded, and who answers them right."""

import asyncio
import time
from typing import Any

from compiler.card import Card
from compiler.observation import Observation
from compiler.program import Prompt
from compiler.prover import Prover
from compiler.recognition.structure import CHAT, structure_key
from compiler.task import Contract, Task
from compiler.terms import Terms

MOOD = Task("mood", "Tell the mood.", system="Tell the mood.", incumbent="fake-strong")
LABELS = Contract("label", ("bad", "good"))


def terms(**more: Any) -> Terms:
    of_all: dict[str, Any] = {
        "margin": 0.02,
        "margin_text": 0.05,
        "control": 0.02,
        "min_examples": 15,
        "worth": lambda task: None,
        "usd_per_day": lambda task: 5.0,
        "usd_of_all": lambda task: 50.0,
        "calls_per_day": lambda task: 0.0,
        "retry_kept_after": 60.0,
        "concurrency": 8,
        "mode": lambda task: "auto",
    }
    return Terms(**of_all | more)


def card_of(task: Task, version: int = 1, contract: Contract = LABELS) -> Card:
    prompt, created = Prompt("Say good or bad."), "2026-03-01T12:00:00+00:00"
    return Card(task.name, version, task.definition(), "fake-nano", prompt, contract, "prompt", 5, 5, created, 0.01)


def seen(text: str, answer: str, *, model: str = "fake-strong", cost: float = 0.01) -> Observation:
    """A request to the task as it was recorded; it took a second."""
    messages = [{"role": "system", "content": "Tell the mood."}, {"role": "user", "content": text}]
    body = {"model": "fake-strong", "messages": messages}
    structure = structure_key("default", CHAT, body)
    return Observation(time.time(), "default", structure, model, "mood", body, answer, [], [9, 0, 1, 0], cost, 1.0)


def texts(number: int, first: int = 0) -> list[Observation]:
    return [seen(f"text {n}", mood(f"text {n}")) for n in range(first, first + number)]


def mood(text: str) -> str:
    return ("good", "bad")[len(text) % 2]


def right(body: Any) -> str:
    return mood(body["messages"][-1]["content"])


async def until_idle(prover: Prover) -> None:
    async with asyncio.timeout(30):
        while await prover.step():
            pass
