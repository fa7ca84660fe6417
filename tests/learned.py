"""Tasks that were learned from requests, in a store: as the learner does it, without a server."""

import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from compiler.observation import Observation, Observations
from compiler.recognition.discovery import Discovery
from compiler.recognition.structure import CHAT, structure_key
from compiler.store import Store

WORDS = (
    *("parcel", "invoice", "refund", "login", "colour", "delivery", "password"),
    *("broken", "late", "missing", "twice", "today", "lamp", "box"),
)
TOXIC = "Decide whether the comment is toxic. Answer with yes or no, nothing else.\nComment: {}"
SUMMARY = "Summarise the mail for a colleague, in one sentence of at most ten words.\nMail: {}"
TITLE = "Write a title for the article below: five words, no full stop.\nArticle: {}"


def mails() -> Iterator[str]:
    """Texts, none twice."""
    for number in count():
        chosen = [WORDS[(number * 7 + k * k * 3 + number // 15) % len(WORDS)] for k in range(6 + number % 5)]
        yield f"{' '.join(chosen).capitalize()}, case {number * 37}"


def request(prompt: str, text: str, model: str = "fake-strong") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt.format(text)}]}


def observed(body: dict[str, Any], *, tenant: str = "default", template: str = "", answer: str = "yes") -> Observation:
    structure = structure_key(tenant, CHAT, body)
    usage = [50, 0, 1, 0]
    return Observation(time.time(), tenant, structure, body["model"], template, body, answer, [], usage, 0.001, 0.5)


def some(prompt: str, number: int = 20, **more: Any) -> list[Observation]:
    return [observed(request(prompt, text), **more) for text in islice(mails(), number)]


def keep(folder: Path, *observations: Observation) -> None:
    with Observations(folder, retention_days=14) as kept:
        kept.add(observations)


def learn(folder: Path, *observations: Observation) -> None:
    """Keep them, and publish what is learned from all there is."""
    keep(folder, *observations)
    with Store(folder) as store, Observations(folder, retention_days=14) as kept:
        Discovery(store, kept).step()
