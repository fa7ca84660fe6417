"""Real models under live traffic: an app that declares nothing asks a 1.5B model; how far does the proof let a smaller
one answer, and what is lost by the data's own labels?

    .venv/bin/python -m bench.ramp                    # a 0.5B model, then one of 135M that nobody should promote
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from compiler.score import Outcome
from compiler.store import Store
from compiler.task import of_variant
from proxy.demo.app import App
from proxy.demo.fetch import CANDIDATE, INCUMBENT, TINY, Weights, default_cache
from proxy.demo.gold import Gold, measure
from proxy.demo.known import Known, known
from proxy.demo.play import upstreams
from proxy.demo.rows import Kind
from proxy.demo.server import cuecard
from proxy.demo.setting import LOCAL, MARGIN, Setting
from proxy.demo.spend import Purse

PROMPT = "Classify the message below. Answer with exactly one of these labels: {labels}.\nMessage: {{text}}"


def _intents(name: str, *labels: str) -> Kind:
    return Kind(name, PROMPT.format(labels=", ".join(labels)), {label: label for label in labels})


TASKS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        _intents("money", "exchange_rate", "transfer", "bill_due", "freeze_account"),
        _intents(
            *("home", "alarm", "weather", "play_music", "shopping_list"),
            *("recipe", "traffic", "make_call", "translate"),
        ),
    )
}
MODELS: Mapping[str, Weights] = {"0.5b": CANDIDATE, "135m": TINY}
COMPILE_WITHIN = 600.0  # seconds
GOLD = 48  # test rows, on both arms, for the loss by the data's own labels
PRICES = {  # o1-pro's and gpt-5-nano's: so dear that a hundred calls a day are worth a compile
    "qwen2.5-coder-1.5b": {"input": 150.0, "output": 600.0},
    "candidate": {"input": 0.05, "cached_input": 0.005, "output": 0.4},
}


def setting_of(size: str) -> Setting:
    return replace(
        LOCAL,
        cheap="small/candidate",
        weights={"big": INCUMBENT, "small": MODELS[size]},
        prices=PRICES,
        compile_usd=5.0,
        background_usd=20.0,
        meta_calls=8,
        scoring_calls=200,
    )


@dataclass
class Ramp:
    """What became of one task."""

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
    gold: Gold = field(default_factory=Gold)
    seconds: float = 0.0

    @property
    def gold_loss(self) -> float:
        return (self.gold.own - self.gold.served) / self.gold.of if self.gold.of else 0.0

    def note(self, now: Known) -> None:
        stand, proof = now.stand, now.proof
        if stand is None:
            return
        self.stage, self.reason = stand.stage, stand.reason
        if proof and not now.compiles:
            self.traffic = stand.traffic
            self.most_traffic = max(self.most_traffic, stand.traffic)
            self.pairs, self.outcomes, self.bound = proof.pairs, Counter(proof.outcomes), proof.bound
            worse = proof.outcomes["different"] + proof.outcomes["broken"]
            self.worse = worse / proof.pairs if proof.pairs else 0.0


async def ramp(tasks: Sequence[str], size: str, cache: Path, *, calls: int, say: Console) -> list[Ramp]:
    """One task after the other, each until it is kept, or out of texts, or `calls` were made; then what its card does
    on rows that no request was made of."""
    setting = setting_of(size)
    async with AsyncExitStack() as stack:
        models = await upstreams(setting, cache, say, stack)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cuecard-ramp-")))
        url = await stack.enter_async_context(cuecard(await asyncio.to_thread(setting.write, folder, models)))
        app = await stack.enter_async_context(App(url, Purse(setting)))
        found = []
        for name in tasks:
            run = _Run(app, setting, TASKS[name], folder / "store", Ramp(name, size))
            await run.ask(cache, calls, say)
            found.append(await run.measured(cache))
        return found


@dataclass
class _Run:
    app: App
    setting: Setting
    kind: Kind
    store: Path
    found: Ramp
    name: str = ""  # Cuecard's, once it has one

    async def ask(self, cache: Path, calls: int, say: Console) -> None:
        found, began, told = self.found, time.monotonic(), ""
        rows = [*self.kind.rows("train", cache), *self.kind.rows("dev", cache)]
        for number, (text, _) in enumerate(rows[:calls], 1):
            answer = await self.app.ask(self.setting.current, self.kind.messages(text))
            found.routes[answer.route] += 1
            self.name = of_variant(answer.task) or self.name
            if number % 10 and number != calls:
                continue
            if now := await self._compiled():
                found.note(now)
            line = f"{found.task}: {number} calls, {found.stage}, {found.pairs} pairs, bound {found.bound:.3f}"
            if line != told:
                say.print(f"{line}, traffic {found.traffic:.2f}, {dict(found.routes)}", highlight=False)
            told = line
            if found.stage in ("kept", "paused"):
                break
        found.seconds = time.monotonic() - began

    async def measured(self, cache: Path) -> Ramp:
        now = self._known()
        if now and now.card:
            rows = self.kind.rows("test", cache)[:GOLD]
            self.found.gold = await measure(self.app, self.setting, self.kind, now.card, rows)
        return self.found

    def _known(self) -> Known | None:
        if not self.name:
            return None
        with Store(self.store) as store:
            return known(store, self.name)

    async def _compiled(self) -> Known | None:
        """Once no compile is under way: there are few texts, and what comes before a card is no pair."""
        async with asyncio.timeout(COMPILE_WITHIN):
            while (now := self._known()) and now.compiles:  # noqa: ASYNC110
                await asyncio.sleep(1)  # another process compiles
        return now


def table(found: Sequence[Ramp]) -> Table:
    shown = Table(title=f"Real models, margin {MARGIN}", title_justify="left")
    for heading in ("task", "model", "stage"):
        shown.add_column(heading)
    for heading in ("calls", "pairs", "worse", "bound", "traffic", "gold own", "gold card", "gold loss", "s"):
        shown.add_column(heading, justify="right")
    for one in found:
        gold = [f"{right / one.gold.of:.2f}" if one.gold.of else "-" for right in (one.gold.own, one.gold.served)]
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
