"""Who answers the gold rows, and with what prompt; two of them search for it first."""

import asyncio
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai

from bench.quality.counting import Counting, Line, Phase, Side
from bench.quality.evolved import VALIDATED, Calls, Evolved, Messages, evolve
from bench.quality.results import Result
from bench.quality.tasks import Spec, share
from compiler.card import Card
from compiler.endpoint import Endpoint, Endpoints
from compiler.errors import BudgetExceeded, CompileFailed
from compiler.example import Example
from compiler.llm import Llm
from compiler.models import Models, Options
from compiler.program import Prompt
from compiler.score import breach
from compiler.search import compile
from compiler.store import Store
from proxy.demo.rows import Row
from proxy.demo.setting import LOCAL, bare

CANDIDATE_CALLS, META_CALLS = 200, 8  # of a search, at most: what a compile has
REFLECTION_TOKENS = 1_500
SECONDS = 900.0
MARGIN = 0.1  # as in the other benches on these small models: below, most of them are kept
MINUTES = 40.0  # of a compile: two of them share two slow models
USD_PER_DAY = 100.0
FEW_LABELS, OTHERWISE_SHOWN = 5, 4
LEAST = 10
MODELS: Mapping[Side, str] = {"big": bare(LOCAL.current), "small": bare(LOCAL.cheap)}
TOLD = re.compile(r"\b(\d+)/(\d+)\b")


@dataclass(frozen=True)
class Found:
    """What a search came to: how a text is asked."""

    messages: Callable[[str], Messages]
    side: Side = "small"
    winner: str = ""
    kept: str = ""
    best: float | None = None
    rewritten: bool = False
    program: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    card: Card | None = None


@dataclass(frozen=True)
class Work:
    """A task, and what is known of it: its traffic with the current model's answers, oldest first."""

    spec: Spec
    counting: Counting
    traffic: Sequence[Example] = ()

    def client(self, arm: str, phase: Phase, side: Side) -> openai.AsyncOpenAI:
        url = self.counting.url(Line(self.spec.name, arm, phase), side)
        return openai.AsyncOpenAI(base_url=url, api_key="none", timeout=SECONDS, max_retries=2)

    async def answers(self, asked: Sequence[Messages], arm: str, phase: Phase, side: Side) -> list[str]:
        """One after the other, as the app asks."""
        found = []
        async with self.client(arm, phase, side) as sdk:
            for messages in asked:
                reply = await sdk.chat.completions.create(**self._body(side, messages))
                found.append(reply.choices[0].message.content or "")
        return found

    def _body(self, side: Side, messages: Messages) -> dict[str, Any]:
        tokens = self.spec.tokens
        return {"model": MODELS[side], "messages": messages, "temperature": 0, "max_tokens": tokens, "stream": False}

    @contextmanager
    def asking(self, arm: str, side: Side) -> Iterator[Callable[[Messages], str]]:
        """The same for a search that blocks. The big model writes, as warm as its server has it."""
        url = self.counting.url(Line(self.spec.name, arm, "search"), side)

        def ask(messages: Messages) -> str:
            body = self._body(side, messages)
            if side == "big":
                body |= {"max_tokens": REFLECTION_TOKENS, "temperature": openai.omit}
            return sdk.chat.completions.create(**body).choices[0].message.content or ""

        with openai.OpenAI(base_url=url, api_key="none", timeout=SECONDS, max_retries=2) as sdk:
            yield ask


async def incumbent(work: Work) -> Found:
    return Found(work.spec.messages, "big")


async def plain(work: Work) -> Found:
    return Found(work.spec.messages)


async def demonstrations(work: Work) -> Found:
    """What a competent person does first: an example or two of each label, or four, as turns before the text."""
    turns = [
        turn for example in shown(work.spec, work.traffic) for turn in _turns(work.spec.input(example.input), example)
    ]

    def messages(text: str) -> Messages:
        *system, asked = work.spec.messages(text)
        return [*system, *turns, asked]

    return Found(messages, rewritten=True)


def shown(spec: Spec, traffic: Sequence[Example]) -> list[Example]:
    if not spec.labels:
        return [*traffic[:OTHERWISE_SHOWN]]
    each = 2 if len(spec.labels) <= FEW_LABELS else 1
    by_label = [[one for one in traffic if one.expected.strip() == label][:each] for label in spec.labels]
    return [its[number] for number in range(each) for its in by_label if number < len(its)]


def _turns(asked: str, example: Example) -> Messages:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": example.expected}]


async def card(work: Work) -> Found:
    """Ours. What it takes is counted on the way to the models, not by it."""
    steps: list[str] = []
    line = Line(work.spec.name, "card", "search")
    sides: tuple[Side, ...] = ("big", "small")
    endpoints = Endpoints({side: Endpoint(side, work.counting.url(line, side), keyless=True) for side in sides})
    models = Models(LOCAL.meta, (LOCAL.cheap,), endpoints, prices=LOCAL.prices)
    options = Options(concurrency=1, max_minutes=MINUTES, margin=MARGIN, margin_text=MARGIN)
    examples = [Example(work.spec.input(one.input), one.expected) for one in work.traffic]
    task = work.spec.task()
    with tempfile.TemporaryDirectory(prefix="cuecard-quality-") as folder, Store(Path(folder)) as store:
        async with Llm(models, store, usd_per_day=USD_PER_DAY) as llm:
            try:
                made = await compile(
                    task, examples, models, options=options, llm=llm, on_step=lambda step: steps.append(str(step))
                )
            except (CompileFailed, BudgetExceeded) as error:
                kept = str(error) or type(error).__name__
                return Found(work.spec.messages, "big", kept=kept, best=best_told(steps), steps=tuple(steps))
    return Found(
        lambda text: made.program.messages(work.spec.input(text)),
        winner=made.winner,
        best=best_told(steps),
        rewritten=made.program != Prompt(task.instructions),
        program=made.to_json(),
        steps=tuple(steps),
        card=made,
    )


def best_told(steps: Sequence[str]) -> float | None:
    """The largest share (`31/40`) that a search spoke of; with less under it, it counts something else."""
    shares = [int(part) / int(whole) for step in steps for part, whole in TOLD.findall(step) if int(whole) >= LEAST]
    return max((share for share in shares if share <= 1), default=None)


async def evolved(work: Work) -> Found:
    def search() -> Evolved:
        with work.asking("gepa", "small") as small, work.asking("gepa", "big") as big:
            return evolve(
                work.spec,
                work.traffic,
                small=Calls(small, CANDIDATE_CALLS),
                big=Calls(big, META_CALLS),
                validated=min(VALIDATED, len(work.traffic) // 4),
            )

    made = await asyncio.to_thread(search)
    rewritten = made.instruction != work.spec.instruction
    return Found(
        lambda text: work.spec.messages(text, made.instruction),
        winner="evolved" if rewritten else "seed",
        best=made.score,
        rewritten=rewritten,
        program={"instruction": made.instruction},
        steps=made.told,
    )


ARMS: Mapping[str, Callable[[Work], Awaitable[Found]]] = {
    "incumbent": incumbent,
    "plain": plain,
    "demonstrations": demonstrations,
    "card": card,
    "gepa": evolved,
}


async def measure(work: Work, arm: str, gold: Sequence[Row], current: Result | None) -> Result:
    """Search, then answer the gold rows. `current`: the incumbent's result, for what is kept on it."""
    search, asks = Line(work.spec.name, arm, "search"), Line(work.spec.name, arm, "gold")
    work.counting.forget(search)
    work.counting.forget(asks)
    started = time.monotonic()
    found = await ARMS[arm](work)
    searched = time.monotonic()
    if found.kept and current:
        answers = [*current.answers]
    else:
        answers = await work.answers([found.messages(text) for text, _ in gold], arm, "gold", found.side)
    took = current.gold if found.kept and current else work.counting.tally(asks, found.side)
    contract = found.card.contract if found.card else None
    return Result(
        task=work.spec.name,
        arm=arm,
        answers=tuple(answers),
        right=tuple(share(work.spec, a, right) == 1.0 for a, (_, right) in zip(answers, gold, strict=True)),
        gold=took,
        gold_seconds=time.monotonic() - searched,
        meta=work.counting.tally(search, "big"),
        candidate=work.counting.tally(search, "small"),
        seconds=searched - started,
        winner=found.winner,
        kept=found.kept,
        best=found.best,
        rewritten=found.rewritten,
        breached=tuple(breach(a, "stop", contract) is not None for a in answers) if contract else (),
        program=found.program,
        steps=found.steps,
    )


async def record(work: Work, texts: Sequence[str]) -> list[str]:
    """The app's traffic: what its own model answers."""
    work.counting.forget(Line(work.spec.name, "incumbent", "traffic"))
    return await work.answers([work.spec.messages(text) for text in texts], "incumbent", "traffic", "big")
