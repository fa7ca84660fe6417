"""How good a prompt is on a cheap model: its answers to examples, held against those that are wanted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from compiler.errors import ModelBusy, ModelFailed
from compiler.example import Example
from compiler.gather import gather
from compiler.judge import Judge
from compiler.llm import Llm, Purpose, Reply
from compiler.pricing import Usage
from compiler.program import Prompt
from compiler.score import Answer, Outcome, Pair, Question, Scored, caught, score, shown_early
from compiler.steps import Score
from compiler.task import Contract

LONGEST_ANSWER = 1_024  # tokens
ANSWER_ROOM = 16  # tokens more than the longest wanted answer has characters
JUDGED = ("text", "code")  # kinds of which only a judge can tell how different an answer is
VERDICT_CALLS = 2


class Mark(NamedTuple):
    """`loss` from -1 to 1, 1: worse than what is wanted. `broken`: why production would not have served it."""

    loss: float
    answer: str
    broken: str | None
    usage: Usage
    usd: float
    outcome: Outcome = "broken"


class OutOfCalls(Exception):
    pass


@dataclass
class Allowance:
    """Calls that one production model may still be asked, the judge's beside it among them."""

    left: int
    made: int = 0

    def take(self, calls: int) -> None:
        """Raises OutOfCalls."""
        if calls > self.left:
            raise OutOfCalls
        self.left -= calls
        self.made += calls


@dataclass(frozen=True)
class Marker:
    """Of one task and one cheap model. What was answered once in a compile costs nothing the second time."""

    llm: Llm
    model: str
    contract: Contract
    purpose: Purpose
    judge: Judge | None
    instructions: str
    concurrency: int
    allowance: Allowance
    most_tokens: int
    _known: dict[tuple[Prompt, str], Mark] = field(default_factory=dict)

    def most_calls(self, examples: int) -> int:
        """That as many may take."""
        return examples * (1 + VERDICT_CALLS * (self.judge is not None and self.contract.kind in JUDGED))

    async def mark(self, prompt: Prompt, examples: Sequence[Example]) -> list[Mark]:
        """To choose by: what production would not serve counts as lost, and a judge is only asked where nothing else
        can tell. Raises OutOfCalls before anything is asked; BudgetExceeded, ModelBusy, and ModelFailed where the model
        answers nothing."""
        new = [example for example in examples if (prompt, example.input) not in self._known]
        if self.most_calls(len(new)) > self.allowance.left:
            raise OutOfCalls
        calls = [partial(self._one, prompt, example) for example in new]
        found = await gather(calls, at_most=self.concurrency)
        failures = [one for one in found if isinstance(one, ModelFailed)]
        if failures and len(failures) == len(found):
            raise failures[0]
        for example, one in zip(new, found, strict=True):
            mark = Mark(1.0, "", "failed", Usage(), 0.0) if isinstance(one, ModelFailed) else one
            self._known[prompt, example.input] = mark
        return [self._known[prompt, example.input] for example in examples]

    async def _one(self, prompt: Prompt, example: Example) -> Mark | ModelFailed:
        """One example that its upstream refuses says something of the prompt on it, and nothing of the others."""
        self.allowance.take(1)
        try:
            reply = await self._ask(prompt, example)
        except ModelBusy:
            raise
        except ModelFailed as error:
            return error
        given = reply.as_answer()
        if broken := caught(given, self.contract, streamed=False):
            return _mark(1.0, reply, broken)
        found = score(Pair(example.input, _wanted(example), given), self.contract)
        scored = await self._settled(found, judge=self.contract.kind in JUDGED)
        return _mark(scored.d, reply, outcome=scored.outcome)

    async def sealed(self, prompt: Prompt, examples: Sequence[Example]) -> list[Mark]:
        """By the definition of d that the proof has, with its judge wherever answers differ. Raises as `mark` does."""

        async def one(example: Example) -> Mark:
            self.allowance.take(1)
            reply = await self._ask(prompt, example)
            streamed = shown_early(self.contract.kind, len(reply.text))  # then a broken answer would be seen
            found = score(Pair(example.input, _wanted(example), reply.as_answer(), streamed=streamed), self.contract)
            scored = await self._settled(found, judge=True)
            broken = scored.reason if scored.outcome == "fallback" else None
            return _mark(scored.d, reply, broken, scored.outcome)

        return await gather([partial(one, example) for example in examples], at_most=self.concurrency)

    async def _ask(self, prompt: Prompt, example: Example) -> Reply:
        return await self.llm.ask(self.model, prompt.messages(example.input), self.purpose, max_tokens=self.most_tokens)

    async def _settled(self, found: Scored | Question, *, judge: bool) -> Scored:
        if isinstance(found, Scored):
            return found
        if self.judge is None or not judge:
            return found.without_judge()
        self.allowance.take(VERDICT_CALLS)
        return await self.judge.settle(found, self.instructions, self.purpose, last=True)


def score_of(name: str, marks: Sequence[Mark], *, stopped: bool = False) -> Score:
    return Score(
        name,
        round(sum(1 - max(0.0, mark.loss) for mark in marks), 6),
        len(marks),
        sum(mark.usage.input for mark in marks),
        sum(mark.usage.output for mark in marks),
        sum(mark.usd for mark in marks),
        stopped,
    )


def most_tokens(examples: Sequence[Example]) -> int:
    """That an answer may take: as many as the longest wanted one has characters, and some."""
    return min(LONGEST_ANSWER, ANSWER_ROOM + max((len(example.expected) for example in examples), default=0))


def _mark(loss: float, reply: Reply, broken: str | None = None, outcome: Outcome = "broken") -> Mark:
    return Mark(loss, reply.text, broken, reply.usage, reply.usual_cost or 0.0, outcome)


def _wanted(example: Example) -> Answer:
    return Answer(example.expected, finish_reason="stop")
