"""Real models under live traffic: an app that declares nothing asks a 1.5B model; how far does the proof let a smaller
one answer, and what is lost by the data's own labels?

    .venv/bin/python -m bench.ramp                    # a 0.5B model, then one of 135M that nobody should promote
"""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import yaml
from openai import AsyncOpenAI
from rich.console import Console
from rich.table import Table

from compiler.card import Card
from compiler.proof import Proof, Proofs
from compiler.registry import Registry, TaskState
from compiler.score import Outcome, breach
from compiler.store import Store
from proxy import headers
from proxy.demo.fetch import CANDIDATE, INCUMBENT, TINY, Weights, default_cache, fetch_rows, fetch_weights
from proxy.demo.llama import llama_server
from proxy.demo.play import cuecard
from proxy.demo.rows import Row

TASKS: Mapping[str, tuple[str, ...]] = {
    "money": ("exchange_rate", "transfer", "bill_due", "freeze_account"),
    "home": ("alarm", "weather", "play_music", "shopping_list", "recipe", "traffic", "make_call", "translate"),
}
PROMPT = "Classify the message below. Answer with exactly one of these labels: {labels}.\nMessage: {text}"
MODELS: Mapping[str, Weights] = {"0.5b": CANDIDATE, "135m": TINY}
OWN, SMALL = "big/qwen2.5-coder-1.5b", "small/candidate"
MARGIN = 0.1
TOKENS = 16
COMPILE_WITHIN = 600.0  # seconds
GOLD_EACH = 12  # test rows of a label, on both arms, for the loss by the data's own labels
PRICES = {  # o1-pro's and gpt-5-nano's: so dear that a hundred calls a day are worth a compile
    "qwen2.5-coder-1.5b": {"input": 150.0, "output": 600.0},
    "candidate": {"input": 0.05, "cached_input": 0.005, "output": 0.4},
}


@dataclass
class Ramp:
    """What became of one task. `gold`: right by the data's labels, of the app's own model and of what the card would
    have served, out of `of` test rows."""

    task: str
    model: str
    stage: str = "never taken up"
    reason: str = ""
    pairs: int = 0
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    worse: float = 0.0  # mean d of the pairs: without a judge, all that differ
    bound: float = 1.0
    traffic: float = 0.0
    most_traffic: float = 0.0
    routes: Counter[str] = field(default_factory=Counter)
    gold: tuple[int, int] = (0, 0)
    of: int = 0
    seconds: float = 0.0

    @property
    def gold_loss(self) -> float:
        return (self.gold[0] - self.gold[1]) / self.of if self.of else 0.0


class App:
    """Asks as it always did: the prompt with its text in it, one call at a time, through the SDK."""

    def __init__(self, url: str, store: Path, name: str) -> None:
        self._sdk = AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", timeout=600, max_retries=0)
        self._store = store
        self.name = name

    async def ask(self, text: str) -> str:
        """The route that its answer took."""
        raw = await self._sdk.chat.completions.with_raw_response.create(
            model=OWN, messages=messages(self.name, text), temperature=0, max_tokens=TOKENS
        )
        return raw.headers[headers.ROUTE]

    def known(self) -> tuple[TaskState, Proof | None, Card | None] | None:
        """None until the task was taken up."""
        with Store(self._store) as store:
            registry = Registry(store)
            for name, task in registry.adopted().items():
                if TASKS[self.name][0] in task.description:
                    state = registry.state(name)
                    return state, Proofs(store).get(name), registry.card(name, state.version)
        return None

    async def compiled(self) -> tuple[TaskState, Proof | None, Card | None] | None:
        """The same, once no compile is under way: there are few texts, and what comes before a card is no pair."""
        async with asyncio.timeout(COMPILE_WITHIN):
            while (known := self.known()) and known[0].stage in ("observing", "compiling"):  # noqa: ASYNC110
                await asyncio.sleep(1)  # another process compiles
        return known

    async def close(self) -> None:
        await self._sdk.close()


def messages(task: str, text: str) -> list[Any]:
    return [{"role": "user", "content": PROMPT.format(labels=", ".join(TASKS[task]), text=text)}]


def rows(task: str, split: Any, cache: Path) -> list[Row]:
    found = [row for row in fetch_rows("clinc150", split, cache) if row[1] in TASKS[task]]
    random.Random(task).shuffle(found)
    return found


async def ramp(tasks: Sequence[str], size: str, cache: Path, *, calls: int, say: Console) -> list[Ramp]:
    """One task after the other, each until it is kept, or out of texts, or `calls` were made."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cuecard-ramp-")))
        servers = await _models(size, cache, stack)
        config = folder / "cuecard.yaml"
        config.write_text(yaml.safe_dump(_settings(folder, servers)), "utf-8")
        url = await stack.enter_async_context(cuecard(config))
        apps = [App(url, folder / "store", name) for name in tasks]
        for app in apps:
            stack.push_async_callback(app.close)
        found = [await _ask_on(app, size, cache, calls, say) for app in apps]
        for app, one in zip(apps, found, strict=True):
            await _measure(app, one, servers, cache)
        return found


async def _models(size: str, cache: Path, stack: AsyncExitStack) -> dict[str, str]:
    files = {"big": INCUMBENT, "small": MODELS[size]}
    aliases = dict(model.split("/", 1) for model in (OWN, SMALL))
    return {
        name: await stack.enter_async_context(
            llama_server(
                await asyncio.to_thread(fetch_weights, weights, cache), alias=aliases[name], threads=1, ctx=4096
            )
        )
        for name, weights in files.items()
    }


def _settings(folder: Path, servers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "listen": {"port": 0},
        "mode": "auto",
        "upstreams": {name: {"base_url": url, "api_key": "none"} for name, url in servers.items()},
        "models": {"meta": OWN, "judge": OWN, "production": [SMALL]},
        "margin": {"default": MARGIN},
        "background": {"usd_per_day": 20},
        "compile": {"concurrency": 1, "max_usd": 5},
        "capture": {"per_second": 100},
        "timeouts": {"candidate": "60s"},
        "prices": PRICES,
        "log": {"requests": False},
        "store": {"url": f"file:{folder / 'store'}"},
    }


async def _ask_on(app: App, size: str, cache: Path, calls: int, say: Console) -> Ramp:
    found, began, told = Ramp(app.name, size), time.monotonic(), ""
    for number, (text, _) in enumerate([*rows(app.name, "train", cache), *rows(app.name, "dev", cache)][:calls], 1):
        found.routes[await app.ask(text)] += 1
        if number % 10 and number != calls:
            continue
        if known := await app.compiled():
            _note(found, *known)
        line = f"{app.name}: {number} calls, {found.stage}, {found.pairs} pairs, bound {found.bound:.3f}"
        if line != told:
            say.print(f"{line}, traffic {found.traffic:.2f}, {dict(found.routes)}", highlight=False)
        told = line
        if found.stage in ("kept", "paused"):
            break
    found.seconds = time.monotonic() - began
    return found


def _note(found: Ramp, state: TaskState, proof: Proof | None, card: Card | None) -> None:
    found.stage, found.reason = state.stage, state.reason
    if proof and card and state.stage not in ("observing", "compiling"):
        found.traffic = state.traffic
        found.most_traffic = max(found.most_traffic, state.traffic)
        found.pairs, found.outcomes, found.bound = proof.pairs, Counter(proof.outcomes), proof.bound
        worse = proof.outcomes["different"] + proof.outcomes["broken"]
        found.worse = worse / proof.pairs if proof.pairs else 0.0


async def _measure(app: App, found: Ramp, servers: Mapping[str, str], cache: Path) -> None:
    """On rows that no request was made of: the app's own model, and the card with what falls back."""
    card = known[2] if (known := app.known()) else None
    if card is None:
        return
    each: Counter[str] = Counter()
    async with _asking(servers) as ask:
        for text, label in rows(app.name, "test", cache):
            each[label] += 1
            if each[label] > GOLD_EACH:
                continue
            own = await ask("big", messages(app.name, text))
            reply = await ask("small", card.program.messages(messages(app.name, text)[0]["content"]))
            served = own if breach(reply, "stop", card.contract) else reply
            found.gold = found.gold[0] + (own.strip() == label), found.gold[1] + (served.strip() == label)
            found.of += 1


@asynccontextmanager
async def _asking(servers: Mapping[str, str]) -> AsyncIterator[Any]:
    sdks = {name: AsyncOpenAI(base_url=url, api_key="none", timeout=600) for name, url in servers.items()}

    async def ask(name: str, said: Any) -> str:
        answer = await sdks[name].chat.completions.create(
            model=name, messages=said, temperature=0, max_tokens=TOKENS, stream=False
        )
        return answer.choices[0].message.content or ""

    try:
        yield ask
    finally:
        for sdk in sdks.values():
            await sdk.close()


def table(found: Sequence[Ramp]) -> Table:
    shown = Table(title=f"Real models, margin {MARGIN}", title_justify="left")
    for heading in ("task", "model", "stage"):
        shown.add_column(heading)
    for heading in ("calls", "pairs", "worse", "bound", "traffic", "gold own", "gold card", "gold loss", "s"):
        shown.add_column(heading, justify="right")
    for one in found:
        gold = [f"{right / one.of:.2f}" if one.of else "-" for right in one.gold]
        figures = (one.worse, one.bound, one.most_traffic)
        shown.add_row(
            *(one.task, one.model, one.stage, str(one.routes.total()), str(one.pairs)),
            *(f"{figure:.3f}" for figure in figures),
            *(*gold, f"{one.gold_loss:+.3f}", f"{one.seconds:.0f}"),
        )
    return shown


@click.command()
@click.option("--task", "tasks", multiple=True, type=click.Choice(list(TASKS)), default=tuple(TASKS))
@click.option("--model", "sizes", multiple=True, type=click.Choice(list(MODELS)), default=tuple(MODELS))
@click.option("--calls", type=click.IntRange(1), default=480, help="Of each task, at most.")
def main(tasks: tuple[str, ...], sizes: tuple[str, ...], calls: int) -> None:
    say = Console(width=120)
    found = [one for size in sizes for one in asyncio.run(ramp(tasks, size, default_cache(), calls=calls, say=say))]
    say.print(table(found))
    for one in found:
        say.print(f"{one.task} on {one.model}: {one.reason}; pairs {dict(one.outcomes)}; routes {dict(one.routes)}")


if __name__ == "__main__":
    main()
