"""A recorded request, run once more on the card's model, off the path: a pair."""

from dataclasses import dataclass
from typing import Any

from compiler.card import Card
from compiler.errors import ModelBusy, ModelFailed
from compiler.families import Family
from compiler.judge import Judge
from compiler.llm import Llm, Purpose, Reply
from compiler.observation import Observation, input_of
from compiler.program import rewrite
from compiler.proof import Ran
from compiler.score import Answer, Pair, Question, Scored, in_text, score
from compiler.task import Task

ROOM, ROOM_TIMES = 256, 4  # tokens: how much longer than the incumbent's an answer may become


@dataclass(frozen=True)
class Shadow:
    """Runs pairs of one task on one card. Raises BudgetExceeded, ModelBusy and ModelFailed: then nothing is known of
    that pair, and it has to be run again."""

    llm: Llm
    task: Task
    card: Card
    judge: Judge | None

    async def run(self, position: int, observation: Observation, purpose: Purpose, *, last: bool = False) -> Ran:
        """`last`: a candidate that fails once more has failed, and the incumbent would have answered; a judge that does
        gave no verdict. Everything that was answered is kept in the purpose's scope: a second time it costs nothing."""
        reply: Reply | None = None
        try:
            reply = await self.llm.complete(self.card.model, self._body(observation), purpose)
        except ModelBusy:
            raise
        except ModelFailed:
            if not last:
                raise
        return Ran(
            position,
            await self._scored(observation, reply, purpose, last=last),
            observation.answer.strip() if self.card.contract.kind == "label" else None,
            observation.model,
            reply.model if reply else "",
            (observation.seconds, reply.seconds) if reply and not reply.flex else None,
            (observation.cost, reply.usual_cost if reply else 0.0),
            in_text(reply.as_answer()) if reply else "",
        )

    def _body(self, observation: Observation) -> dict[str, Any]:
        """As the proxy would send it, but whole, and with a cap on its tokens: a budget has to know the most."""
        family = Family.of(self.card.model, self.llm.models.families)
        body = rewrite(observation.request, self.card.program, self.card.model, family, replaces=self.task.system)
        for name in ("stream", "stream_options", "service_tier"):
            body.pop(name, None)
        cap = "max_completion_tokens" if family.openai or family.reasoning else "max_tokens"
        if not isinstance(body.get(cap), int):
            body[cap] = most_tokens(observation)
        return body

    async def _scored(self, observation: Observation, reply: Reply | None, purpose: Purpose, *, last: bool) -> Scored:
        pair = Pair(
            input_of(observation),
            Answer(observation.answer, tuple(observation.tool_calls), "stop"),
            reply.as_answer() if reply else None,
            observation.expected,
            streamed=observation.request.get("stream") is True,
        )
        found = score(pair, self.card.contract)
        if not isinstance(found, Question):
            return found
        if self.judge is None:
            return found.without_judge()
        return await self.judge.settle(found, self.task.system or self.task.description, purpose, last=last)


def most_tokens(observation: Observation) -> int:
    """That another answer to it may take."""
    return ROOM + ROOM_TIMES * (observation.usage[2] if len(observation.usage) > 2 else 0)
