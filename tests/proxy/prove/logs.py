"""A log of two tasks of the same app: a cheap model can do the one, and does not get the other right."""

import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream
from tests.learned import mails, request

URGENT = "Say how soon the message has to be answered: now, today or later. Only the word.\nMessage: {}"
TOXIC_NAME, URGENT_NAME = "decide-whether-comment-toxic", "say-how-soon-message-answered"
START, STEP = 1_790_000_000, 4_000.0  # Unix seconds


def answer_to(text: str) -> str:
    words = ("now", "today", "later") if text.startswith("Say how soon") else ("yes", "no")
    return words[len(text) % len(words)]


def calls(
    prompt: str, number: int = 100, *, start: int = 0, texts: Iterator[str] | None = None
) -> list[dict[str, Any]]:
    """One a bit more than an hour, oldest first."""
    data = islice(mails(), start, start + number) if texts is None else islice(texts, number)
    return [call_of(request(prompt, text), START + STEP * at) for at, text in enumerate(data, start)]


def unlike(seed: int) -> Iterator[str]:
    """Texts that have hardly two words in a row in common."""
    drawn = random.Random(seed)
    words = ["".join(drawn.choices("abcdefghijklmnoprstuvwz", k=drawn.randint(3, 9))) for _ in range(800)]
    while True:
        yield " ".join(drawn.choices(words, k=drawn.randint(5, 14))).capitalize()


def call_of(body: dict[str, Any], time: float, answer: str | None = None) -> dict[str, Any]:
    said = answer_to(body["messages"][-1]["content"]) if answer is None else answer
    message = {"role": "assistant", "content": said}
    return {
        "request": body,
        "response": {
            "model": body["model"],
            "choices": [{"message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 60, "completion_tokens": 1},
        },
        "time": time,
        "seconds": 5.0,
    }


def logged(path: Path, *of_tasks: Sequence[dict[str, Any]]) -> Path:
    """In the order of their times."""
    mixed = sorted((call for of_task in of_tasks for call in of_task), key=lambda call: call["time"])
    path.write_text("".join(json.dumps(call) + "\n" for call in mixed))
    return path


def right(body: Any) -> str:
    return answer_to(body["messages"][-1]["content"])


def only_toxic(body: Any) -> str:
    return right(body) if body["messages"][-1]["content"].startswith("Decide") else "later"


def billed(fake: FakeUpstream) -> float:
    """By the upstream's own log."""
    return (
        sum(
            call.input * PRICES[call.model]["input"] + call.output * PRICES[call.model]["output"]
            for call in fake.calls
            if call.billed
        )
        / 1e6
    )


def settings_for(fake: FakeUpstream) -> dict[str, Any]:
    """Of which the judge is nobody: it is one of those that it would compare."""
    fake.answers |= {"fake-strong": "<prompt>Answer with the word only.</prompt>", "fake-nano": only_toxic}
    return {
        "upstreams": {"fake": {"base_url": fake.url, "api_key": "sk-ours"}},
        "models": {"meta": "fake-strong", "judge": "fake-nano", "production": ["fake-nano"]},
        "prices": {name: dict(price) for name, price in PRICES.items()},
        "compile": {"min_examples": 20},
        "margin": {"default": 0.1, "text": 0.1},
    }


def configured(settings: dict[str, Any]) -> None:
    Path("cuecard.yaml").write_text(yaml.safe_dump(settings))
