"""A log of two tasks of the same app: a cheap model can do the one, and does not get the other right."""

import asyncio
import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import tenacity
import yaml
from click.testing import CliRunner, Result

from proxy.cli import main
from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream
from tests.learned import TOXIC, mails, request

URGENT = "Say how soon the message has to be answered: now, today or later. Only the word.\nMessage: {}"
TOXIC_NAME, URGENT_NAME = "decide-whether-comment-toxic", "say-how-soon-message-answered"
START, STEP = 1_790_000_000, 4_000.0  # Unix seconds


def answer_to(text: str) -> str:
    words = ("now", "today", "later") if text.startswith("Say how soon") else ("yes", "no")
    return words[len(text) % len(words)]


def calls(prompt: str, number: int = 100, *, start: int = 0) -> list[dict[str, Any]]:
    """One a bit more than an hour, oldest first."""
    return [
        call_of(request(prompt, text), START + STEP * at)
        for at, text in enumerate(islice(mails(), start, start + number), start)
    ]


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


@pytest.fixture(autouse=True)
def retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **kwargs: tenacity.wait_none())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a configuration, and an environment without a key."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "CUECARD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def settings(tmp_path: Path, fake: FakeUpstream) -> dict[str, Any]:
    fake.answers |= {"fake-strong": "<prompt>Answer with the word only.</prompt>", "fake-nano": only_toxic}
    return {
        "upstreams": {"fake": {"base_url": fake.url, "api_key": "sk-ours"}},
        "models": {"meta": "fake-strong", "judge": "fake-nano", "production": ["fake-nano"]},  # which nobody asks
        "prices": {name: dict(price) for name, price in PRICES.items()},
        "compile": {"min_examples": 20},
        "margin": {"default": 0.1, "text": 0.1},
    }


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return logged(tmp_path / "log.jsonl", calls(TOXIC), calls(URGENT))


def configured(settings: dict[str, Any]) -> None:
    Path("cuecard.yaml").write_text(yaml.safe_dump(settings))


@pytest.fixture
def prove(settings: dict[str, Any]) -> Callable[..., Any]:
    async def prove(*words: str, code: int = 0) -> Result:
        """In a thread: the command has an event loop of its own, the fake upstream runs in this one."""
        configured(settings)
        done = await asyncio.to_thread(CliRunner().invoke, main, ["prove", *words])
        assert done.exit_code == code, done.output + str(done.exception)
        return done

    return prove


@pytest.fixture
def told(prove: Callable[..., Any]) -> Callable[..., Any]:
    async def told(*words: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await prove(*words, "--json", code=code)).stdout)
        return found

    return told
