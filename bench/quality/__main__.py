"""A compiled prompt on a cheap model, beside the same model without, with demonstrations, and with GEPA's prompt:
`make quality`, or `python -m bench.quality --help`.

The models are real and run on this machine. What was measured is kept, a file for each task and arm: the same command
goes on where it was ended.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from bench.quality import report
from bench.quality.arms import ARMS, MODELS, Work, measure, record
from bench.quality.counting import Counting, Side
from bench.quality.figures import Measured, bars
from bench.quality.results import Result, Results
from bench.quality.tasks import BY_NAME, GOLD_AT_MOST, SPECS, TRAFFIC, Spec, rows
from compiler.example import Example
from proxy.demo.fetch import CANDIDATE, INCUMBENT, Weights, default_cache, fetch_weights
from proxy.demo.llama import llama_server
from proxy.demo.setting import LOCAL

AT_ONCE = 2  # tasks, and what a server answers at a time: while one asks the small model, the other asks the big one
CONTEXT = 8_192
WEIGHTS: dict[Side, Weights] = {"big": INCUMBENT, "small": CANDIDATE}
CURRENT = "incumbent"


@dataclass(frozen=True)
class Run:
    """`traffic`, `gold`: rows of a task at most."""

    results: Results
    cache: Path
    traffic: int
    gold: int
    say: Console

    def kept(self, spec: Spec, arm: str) -> Result | None:
        return self.results.get(spec.name, arm, self._fingerprint(spec))

    def missing(self, specs: Sequence[Spec], arms: Sequence[str]) -> list[Spec]:
        return [spec for spec in specs if any(self.kept(spec, arm) is None for arm in arms)]

    def found(self, specs: Sequence[Spec], arms: Sequence[str]) -> Measured:
        every = {spec.name: {arm: self.kept(spec, arm) for arm in arms} for spec in specs}
        return {task: {arm: one for arm, one in its.items() if one} for task, its in every.items() if any(its.values())}

    async def task(self, spec: Spec, arms: Sequence[str], counting: Counting) -> None:
        """The current model's answers and the plain cheap one's side by side, then arm after arm."""
        async with asyncio.TaskGroup() as group:
            known = group.create_task(self._known(spec, counting))
            if "plain" in arms:
                group.create_task(self._arm("plain", Work(spec, counting)))
        work, current = known.result()
        for arm in arms:
            if arm not in (CURRENT, "plain"):
                await self._arm(arm, work, current)

    async def _known(self, spec: Spec, counting: Counting) -> tuple[Work, Result]:
        asked, _ = rows(spec, self.cache, traffic=self.traffic, gold=self.gold)
        texts = [text for text, _ in asked]
        answers = self.results.recorded(spec.name, self._fingerprint(spec))
        if answers is None:
            began = time.monotonic()
            answers = await record(Work(spec, counting), texts)
            self.results.record(spec.name, self._fingerprint(spec), answers)
            self._tell(spec, f"{len(answers)} calls recorded, {time.monotonic() - began:.0f} s")
        traffic = [Example(text, said) for text, said in zip(texts, answers, strict=True) if said.strip()]
        work = Work(spec, counting, traffic)
        return work, await self._arm(CURRENT, work)

    async def _arm(self, arm: str, work: Work, current: Result | None = None) -> Result:
        if kept := self.kept(work.spec, arm):
            return kept
        _, gold = rows(work.spec, self.cache, traffic=self.traffic, gold=self.gold)
        made = await measure(work, arm, gold, current)
        self.results.put(made, self._fingerprint(work.spec))
        how = f"kept: {made.kept}" if made.kept else made.winner
        took = f"{made.seconds:.0f} + {made.gold_seconds:.0f} s"
        self._tell(work.spec, f"{arm} {made.accuracy:.2f} right, {took}{', ' + how if how else ''}")
        return made

    def _tell(self, spec: Spec, line: str) -> None:
        self.say.print(f"{time.strftime('%H:%M:%S')} {spec.name}: {line}", highlight=False, markup=False)

    def _fingerprint(self, spec: Spec) -> str:
        return spec.fingerprint(self.traffic, self.gold)


async def measure_all(run: Run, specs: Sequence[Spec], arms: Sequence[str]) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(spec: Spec, counting: Counting) -> None:
        async with turn:
            await run.task(spec, arms, counting)

    async with models(run.cache) as counting, asyncio.TaskGroup() as group:
        for spec in specs:
            group.create_task(one(spec, counting))


@asynccontextmanager
async def models(cache: Path) -> AsyncIterator[Counting]:
    """Both, a thread each, behind what counts."""
    files = {side: await asyncio.to_thread(fetch_weights, WEIGHTS[side], cache) for side in MODELS}
    big, small = (
        llama_server(files[side], alias=MODELS[side], threads=1, parallel=AT_ONCE, ctx=CONTEXT)
        for side in ("big", "small")
    )
    async with big as big_url, small as small_url:
        counting = Counting({"big": big_url, "small": small_url}, LOCAL.prices)
        async with counting.serving():
            yield counting


@click.command()
@click.option("--task", "names", multiple=True, type=click.Choice(list(BY_NAME)), default=tuple(BY_NAME))
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), default=tuple(ARMS))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where results are kept.")
@click.option("--fresh", is_flag=True, help="Forget what was kept of these tasks and arms.")
@click.option("--traffic", type=click.IntRange(8, TRAFFIC), default=TRAFFIC, help="Recorded calls of a task, at most.")
@click.option("--gold", type=click.IntRange(1, GOLD_AT_MOST), default=GOLD_AT_MOST, help="Test rows, at most.")
@click.option("--only-report", is_flag=True, help="Show what is there, measure nothing.")
@click.option("--json", "kept", type=click.Path(dir_okay=False, path_type=Path), help="Keep the figures.")
@click.option("--check", is_flag=True, help="Exit code 1 where a bar is missed.")
def main(
    names: tuple[str, ...],
    arms: tuple[str, ...],
    out: Path | None,
    fresh: bool,
    traffic: int,
    gold: int,
    only_report: bool,
    kept: Path | None,
    check: bool,
) -> None:
    """Measure each arm on each task, and tell what all that was measured comes to."""
    cache, say = default_cache(), Console(width=max(120, Console().width))
    run = Run(Results(out or cache / "quality"), cache, traffic, gold, say)
    specs = [spec for spec in SPECS if spec.name in names]
    if fresh:
        forget(run.results, names, arms)
    if not only_report and (missing := run.missing(specs, arms)):
        asyncio.run(measure_all(run, missing, arms))
    found = run.found(specs, list(ARMS))
    told = bars(found)
    say.print(report.quality(found))
    say.print(*report.reasons(found), sep="\n", highlight=False, markup=False)
    say.print(report.searches(found), report.verdicts(told), report.footnote())
    if kept:
        kept.write_text(json.dumps(report.as_json(found, told), indent=1) + "\n", "utf-8")
    if check and not all(bar.passed or bar.told for bar in told):
        sys.exit(1)


def forget(results: Results, names: Sequence[str], arms: Sequence[str]) -> None:
    """All of a task, or with some arms only theirs: the recorded traffic stays."""
    for name in names:
        if set(arms) == set(ARMS):
            results.forget_all(name)
        for arm in arms:
            results.forget(name, arm)


if __name__ == "__main__":
    main()
