"""From a task and its examples to the best card, or to the reason why there is none."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from compiler.card import Card, Sealed
from compiler.errors import CompileFailed, ModelFailed, ModelRefused, NothingWorks
from compiler.example import Example, Split, are_short, choose_demonstrations, read_contract, split
from compiler.guard import invariants, refuse, with_invariants
from compiler.judge import Judge, judge_for, scoring_of, secret
from compiler.ladder import Found, Ladder
from compiler.llm import Llm, Purpose
from compiler.marks import Allowance, Marker, most_tokens
from compiler.meta import (
    ANALYSE,
    REFLECT,
    WRITE_PROMPT,
    Analysis,
    Mistake,
    ask_for_analysis,
    ask_for_better,
    ask_for_prompt,
    read_analysis,
    read_prompt,
)
from compiler.models import Models, Options
from compiler.program import Prompt
from compiler.steps import Score, Step, Steps
from compiler.store import Store
from compiler.task import Contract, Task
from compiler.tokens import TokenCounter

META_SECONDS = 300.0  # for one answer: a reasoning model thinks, a slow one writes slowly
META_TOKENS = {ANALYSE: 1_000, WRITE_PROMPT: 1_500, REFLECT: 1_500}  # of an answer, besides what is thought
LONGER = 1.5  # times what it replaces, where that is more


def scope_of(task: Task, version: int) -> str:
    """The account a compile is paid from, and under which its answers are kept until it ends."""
    return f"compile:{task.name}@{version}:{task.definition()}"


async def compile(
    task: Task,
    examples: Sequence[Example],
    models: Models,
    *,
    options: Options = Options(),
    version: int = 1,
    llm: Llm | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    from_traffic: bool | None = None,
) -> Card:
    """Compile `task` for the cheapest production model that will do. `examples` oldest first; may be empty.
    `from_traffic`: they are recorded, so that what a prompt shows of them has to be fit for everybody's eyes; by
    default where the task was recognised.

    Raises CompileFailed (the meta model failed or refused; time ran out), NothingWorks (no production model is good
    enough with any prompt) and BudgetExceeded. Killed and called again with the same `llm` store, it pays again only
    for the calls that were in flight.
    """
    if llm is None:
        with Store.temporary() as store:
            async with Llm(models, store, usd_per_day=options.max_usd) as own:
                return await compile(
                    task,
                    examples,
                    models,
                    options=options,
                    version=version,
                    llm=own,
                    on_step=on_step,
                    from_traffic=from_traffic,
                )
    contract = task.contract or read_contract(examples)
    traffic = task.recognised if from_traffic is None else from_traffic
    parts = split(examples, enough=options.min_examples)
    work = _Compile(task, contract, parts, models, llm, options, version, on_step, traffic)
    try:
        async with asyncio.timeout(options.max_minutes * 60):
            return await work.run()
    except TimeoutError:
        raise CompileFailed(f"took longer than {options.max_minutes:g} minutes") from None
    except ModelFailed as error:
        raise CompileFailed(str(error)) from error


class _Told(NamedTuple):
    """What the steps so far have taken."""

    calls: int
    usd: float
    seconds: float


@dataclass
class _Compile:
    task: Task
    contract: Contract
    examples: Split
    models: Models
    llm: Llm
    options: Options
    version: int
    on_step: Callable[[Step], None]
    from_traffic: bool
    steps: list[Step] = field(default_factory=list)
    allowances: list[Allowance] = field(default_factory=list)
    looks: int = 0

    def __post_init__(self) -> None:
        self._told = _Told(0, self._spent, time.monotonic())

    async def run(self) -> Card:
        first = self.models.production[0]
        if self.contract.kind == "tool_call":
            own = Prompt(self.task.instructions)
            return self._card(own, first, "original", ("no prompt is written for calls of tools yet",))
        if why := self._not_scored(first):
            return await self._unscored(first, why)
        found: list[Found] = []
        for model in self.models.production:
            found.append(await self._climb(model))
            if not found[-1].hopeless:
                break
        best = found[-1]
        if best.hopeless:
            if self.task.trust == "proven":
                reasons = "; ".join(f"{one.model} {one.hopeless}" for one in found)
                raise NothingWorks(f"no cheaper model is good enough: {reasons}", looks=self.looks)
            best = min(found, key=lambda one: one.loss)  # whoever declares a task vouches for it
        return self._of(best)

    def _not_scored(self, model: str) -> str | None:
        if not self.examples.dev:
            return f"not scored: fewer than {self.options.min_examples} examples"
        judged = judge_for(self.llm, model, self.task.incumbent) is not None
        if self.contract.kind == "text" and not judged and not are_short(self.examples.dev):
            return "not scored: free text can only be compared by a judge"
        return None

    async def _unscored(self, model: str, why: str) -> Card:
        """What the meta model writes, with demonstrations where there are any."""
        try:
            written = with_invariants(await self._writer.rules(model), await self._writer.invariants())
            refuse(written, self.task.wording, (), ())
        except ModelRefused:
            self.llm.forget(self._scope)  # the next try asks again
            raise
        frame = self.task.frame
        shown = choose_demonstrations([] if self.from_traffic else self.examples.reflect, self.contract)
        name = "rules + demonstrations" if shown else "rules"
        return self._card(Prompt(written, shown, frame), model, name, (why,))

    async def _climb(self, model: str) -> Found:
        if problem := self.llm.unusable(model):
            raise CompileFailed(problem)
        judge = judge_for(self.llm, model, self.task.incumbent)
        arms = [arm for arm in (model, self.task.incumbent) if arm]
        allowance = Allowance(self.options.calls)
        self.allowances.append(allowance)
        marker = Marker(
            self.llm,
            model,
            self.contract,
            self._purpose,
            Judge(self.llm, judge, secret(self.llm.store), arms=arms) if judge else None,
            self.task.system or self.task.description,
            self.options.concurrency,
            allowance,
            most_tokens(self.examples.every),
        )
        margin = self.options.margin_text if self.contract.kind == "text" else self.options.margin
        ladder = Ladder(
            self.task,
            self.contract,
            self.examples,
            marker,
            self._writer,
            margin,
            self._scope,
            lambda name, line, scores: self._tell(name, model, line, scores),
            self.from_traffic,
        )
        found = await ladder.climb()
        self.looks += bool(found.sealed)
        if found.hopeless:
            self._tell("not good enough", model, found.hopeless, ())
        else:
            self._tell("chosen", model, found.best.name, ())
        return found

    def _of(self, found: Found) -> Card:
        labels = self.contract.kind == "label"
        sealed = [
            Sealed(mark.loss, mark.outcome, example.expected.strip() if labels else None)
            for mark, example in zip(found.sealed, found.holdout, strict=False)
        ]
        if not self.from_traffic or any(example.times > 1 for example in self.examples.every):
            sealed = []  # no sample of the traffic: users chose them, or what comes again and again is in it once
        card = self._card(found.best.prompt, found.model, found.best.name, (), found)
        ours = sum(mark.usd for mark in found.marks) / len(found.marks)
        return replace(card, sealed=tuple(sealed), usd_per_call=(found.usd_per_call, ours))

    @cached_property
    def _writer(self) -> "_MetaModel":
        return _MetaModel(self)

    @property
    def _scope(self) -> str:
        return scope_of(self.task, self.version)

    @property
    def _purpose(self) -> Purpose:
        return Purpose(self.task.name, "compile", self._scope, self.options.max_usd)

    @property
    def _spent(self) -> float:
        return self.llm.budget.spent(f"budget:{self._scope}")

    @property
    def _calls(self) -> int:
        return self._writer.calls + sum(allowance.made for allowance in self.allowances)

    @cached_property
    def _before(self) -> list[Step]:
        """What a compile that was killed had done: its answers are kept, and what they cost is said there."""
        return Steps(self.llm.store).get(self.task.name, self._scope)

    def _tell(self, name: str, model: str, line: str, scores: Sequence[Score] = ()) -> None:
        done = len(self.steps)
        now, spent = time.monotonic(), self._spent
        step = Step(
            name,
            model,
            line,
            calls=self._calls - self._told.calls,
            usd=spent - self._told.usd,
            seconds=now - self._told.seconds,
            scores=tuple(scores),
        )
        if done < len(self._before) and (self._before[done].name, self._before[done].line) == (name, line):
            step = replace(step, usd=max(step.usd, self._before[done].usd), seconds=self._before[done].seconds)
        self._told = _Told(self._calls, spent, now)
        self.steps.append(step)
        if done >= len(self._before):
            Steps(self.llm.store).put(self.task.name, self._scope, self.steps)
        self.on_step(step)

    def _card(
        self, prompt: Prompt, model: str, winner: str, notes: tuple[str, ...], found: Found | None = None
    ) -> Card:
        tokens = TokenCounter()
        original = Prompt(self.task.instructions).opening()
        literals = prompt.frame.literals if prompt.frame else ()  # of the app's message, which is sent without them
        everything = json.dumps([[e.input, e.expected] for e in self.examples.every])
        dialogues = " ".join(self._writer.dialogues)
        return Card(
            task=self.task.name,
            version=self.version,
            definition=self.task.definition(),
            model=model,
            program=prompt,
            contract=self.contract,
            winner=winner,
            static_tokens=tokens.messages(prompt.opening(), model),
            original_tokens=tokens.messages(original, model) + sum(tokens.text(text, model) for text in literals),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            compile_usd=self._spent,
            provenance={
                "meta_model": self.models.meta,
                "dialogues": dialogues,
                "examples": hashlib.sha256(everything.encode("utf-8", "surrogatepass")).hexdigest()[:16],
            },
            scores=tuple(found.scores) if found else (),
            notes=notes,
            scoring=scoring_of(self.contract, judge_for(self.llm, model, self.task.incumbent)),
            steps=tuple(self.steps),
            looks=self.looks,
        )


class _MetaModel:
    """Writes for one compile; never asked more often than its options allow."""

    def __init__(self, work: _Compile) -> None:
        self._work = work
        self.calls = 0
        self.dialogues: list[str] = []
        self._found: Analysis | None = None

    async def rules(self, model: str) -> str:
        work, found = self._work, await self._analysis()
        names = work.task.frame.names if work.task.frame else ()
        messages = ask_for_prompt(work.task.wording, self._examples, work.contract, model, names=names, found=found)
        return read_prompt(await self._ask(WRITE_PROMPT, messages), work.contract)

    async def better(self, prompt: str, mistakes: Sequence[Mistake], model: str) -> str:
        messages = ask_for_better(prompt, mistakes, self._work.contract, model)
        return read_prompt(await self._ask(REFLECT, messages), self._work.contract)

    async def invariants(self) -> Sequence[str]:
        """Of the app's words that a card's prompt stands for, and of them alone what the meta model says."""
        own = self._work.task.own_words
        told = [rule for rule in (await self._analysis()).invariants if rule in own]
        return [*dict.fromkeys([*invariants(own), *told])]

    async def _analysis(self) -> Analysis:
        """Once, where there are examples. A meta model that has nothing to say may still write."""
        if not self._work.examples.reflect:
            return Analysis()
        if self._found is None:
            messages = ask_for_analysis(self._work.task.wording, self._examples)
            try:
                self._found = read_analysis(await self._ask(ANALYSE, messages))
            except ModelRefused:
                self._found = Analysis()
        return self._found

    @cached_property
    def _own_tokens(self) -> int:
        return TokenCounter().text(self._work.task.wording)

    @cached_property
    def _examples(self) -> list[Example]:
        """A few of each kind, and of a recognised task their data alone."""
        task, shown = self._work.task, self._work.examples.reflect
        chosen = choose_demonstrations(shown, self._work.contract) or shown
        return [Example(task.content(one.input), one.expected) for one in chosen]

    async def _ask(self, dialogue: str, messages: Sequence[dict[str, Any]]) -> str:
        work = self._work
        if self.calls >= work.options.meta_calls:
            raise ModelRefused("the meta model may be asked no more")
        self.calls += 1
        purpose = replace(work._purpose, timeout=META_SECONDS)
        most = max(META_TOKENS[dialogue], int(LONGER * self._own_tokens))
        reply = await work.llm.ask(work.models.meta, messages, purpose, max_tokens=most)
        if dialogue not in self.dialogues:
            self.dialogues.append(dialogue)
        work._tell(dialogue.partition(".")[0], work.models.meta, f"{work.models.meta} answered")
        if reply.refused:
            raise ModelRefused("the meta model refused")
        if reply.finish_reason == "length":
            raise ModelRefused("the meta model's answer was cut off")
        return reply.text
