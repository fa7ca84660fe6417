"""From a task and its examples to the best card. First form of the ladder: four candidates, one model, one look."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from compiler.card import Card, Score
from compiler.errors import BudgetExceeded, CompileFailed, ModelFailed, ModelRefused
from compiler.example import Example, Split, choose_demonstrations, read_contract, split
from compiler.gather import gather
from compiler.judge import judge_for, scoring_of
from compiler.llm import Llm, Purpose
from compiler.meta import WRITE_PROMPT, ask_for_prompt, read_prompt
from compiler.models import Models, Options
from compiler.program import Prompt
from compiler.score import Scoring, same
from compiler.store import Store
from compiler.task import Contract, Task
from compiler.tokens import TokenCounter

META_TOKENS = 4_000
LONGEST_ANSWER = 1_024
CANDIDATES = ("description", "prompt", "description + demonstrations", "prompt + demonstrations")


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
    on_step: Callable[[str], None] = lambda line: None,
) -> Card:
    """Compile `task` for the cheapest production model. `examples` oldest first; may be empty.

    Raises CompileFailed (the meta model failed, refused or returned nothing; time ran out) and BudgetExceeded.
    Killed and called again with the same `llm` store, it pays again only for the calls that were in flight.
    """
    if llm is None:
        with Store.temporary() as store:
            async with Llm(models, store, usd_per_day=options.max_usd) as own:
                return await compile(task, examples, models, options=options, version=version, llm=own, on_step=on_step)
    contract = task.contract or read_contract(examples)
    examples_split = split(examples, enough=options.min_examples)
    model = models.production[0]
    scoring = scoring_of(contract, judge_for(llm, model, task.incumbent))
    work = _Compile(task, contract, examples_split, model, llm, options, version, scoring)
    try:
        async with asyncio.timeout(options.max_minutes * 60):
            return await work.run(models.meta, on_step)
    except TimeoutError:
        raise CompileFailed(f"took longer than {options.max_minutes:g} minutes") from None
    except ModelFailed as error:
        raise CompileFailed(str(error)) from error


@dataclass(frozen=True)
class _Compile:
    task: Task
    contract: Contract
    examples: Split
    model: str
    llm: Llm
    options: Options
    version: int
    scoring: Scoring

    async def run(self, meta_model: str, on_step: Callable[[str], None]) -> Card:
        if self.contract.kind == "tool_call":
            own = Prompt(self.task.instructions)
            return self._card(own, "description", (), ("no prompt is written for calls of tools yet",), meta_model)
        on_step(f"{self.task.name}: asking {meta_model} for a prompt that suits {self.model}")
        candidates = self._candidates(await self._write(meta_model))
        scores, notes = await self._score_all(candidates, on_step)
        winner = max(scores, key=lambda s: (s.share, -s.input_tokens)).name if scores else list(candidates)[-1]
        on_step(f"{self.task.name}: {winner} wins")
        return self._card(candidates[winner], winner, scores, notes, meta_model)

    async def _write(self, meta_model: str) -> str:
        messages = ask_for_prompt(self.task, self.examples.train, self.contract, self.model)
        reply = await self.llm.ask(meta_model, messages, self._purpose(), max_tokens=META_TOKENS)
        try:
            if reply.finish_reason == "length":
                raise ModelRefused("the meta model's answer was cut off")
            return read_prompt(reply.text, self.contract)
        except ModelRefused:
            self.llm.forget(scope_of(self.task, self.version))  # the next try asks again
            raise

    def _candidates(self, written: str) -> dict[str, Prompt]:
        shown = choose_demonstrations(self.examples.train, self.contract)
        systems = {"description": self.task.instructions, "prompt": written}
        found = {name: Prompt(system) for name, system in systems.items()}
        if shown:
            found |= {f"{name} + demonstrations": Prompt(system, shown) for name, system in systems.items()}
        return found

    async def _score_all(
        self, candidates: dict[str, Prompt], on_step: Callable[[str], None]
    ) -> tuple[tuple[Score, ...], tuple[str, ...]]:
        if not self.examples.held_out:
            return (), (f"not scored: fewer than {self.options.min_examples} examples",)
        if self.contract.kind not in ("label", "json"):
            return (), ("not scored: free text can only be compared by a judge",)
        scores: list[Score] = []
        try:
            for name, prompt in candidates.items():
                scores.append(await self._score(name, prompt))
                on_step(f"{self.task.name}: {name} {scores[-1].right}/{scores[-1].of}")
        except (BudgetExceeded, ModelFailed) as error:
            if not scores:
                raise
            return tuple(scores), (f"scoring stopped early: {error}",)
        return tuple(scores), ()

    async def _score(self, name: str, prompt: Prompt) -> Score:
        longest = max(len(e.expected) for e in self.examples.held_out)

        async def one(example: Example) -> tuple[bool, int, int]:
            cap = min(LONGEST_ANSWER, 16 + longest)
            reply = await self.llm.ask(self.model, prompt.messages(example.input), self._purpose(), max_tokens=cap)
            right = same(reply.text, example.expected, self.contract) is True
            return right, reply.usage.input, reply.usage.output

        calls = [partial(one, example) for example in self.examples.held_out]
        rights, inputs, outputs = zip(*await gather(calls, at_most=self.options.concurrency), strict=True)
        return Score(name, sum(rights), len(rights), sum(inputs), sum(outputs))

    def _purpose(self) -> Purpose:
        scope = scope_of(self.task, self.version)
        return Purpose(self.task.name, "compile", scope, self.options.max_usd)

    def _card(self, prompt: Prompt, winner: str, scores: tuple[Score, ...], notes: tuple[str, ...], meta: str) -> Card:
        tokens = TokenCounter()
        original = Prompt(self.task.instructions).opening()
        everything = json.dumps([[e.input, e.expected] for e in (*self.examples.train, *self.examples.held_out)])
        return Card(
            task=self.task.name,
            version=self.version,
            definition=self.task.definition(),
            model=self.model,
            program=prompt,
            contract=self.contract,
            winner=winner,
            static_tokens=tokens.messages(prompt.opening(), self.model),
            original_tokens=tokens.messages(original, self.model),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            compile_usd=self.llm.budget.spent(f"budget:{scope_of(self.task, self.version)}"),
            provenance={
                "meta_model": meta,
                "dialogue": WRITE_PROMPT,
                "examples": hashlib.sha256(everything.encode()).hexdigest()[:16],
            },
            scores=scores,
            notes=notes,
            scoring=self.scoring,
        )
