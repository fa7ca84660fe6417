"""Plans to test with, experts that do as they are told, and the plainest way in which a plan can be run."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compiler.expert import LINGER, Answer
from compiler.plan import Node, Plan, Synthesis
from compiler.pricing import Usage
from compiler.references import GAP, chat

CALL_USD = 0.01


def node(name: str, *inputs: str, **more: Any) -> Node:
    told = "; ".join(f"{{{{{one}}}}}" for one in inputs)
    return Node(name, "nano", f"{name} of {told}", inputs, **more)


def synthesis(*needs: str, **more: Any) -> Synthesis:
    told = "; ".join(f"{{{{{name}}}}}" for name in needs)
    return Synthesis("mini", f"answer of {told}", needs, **more)


def plan(*nodes: Node, needs: Sequence[str] = (), slots: Sequence[str] = ("text",), **more: Any) -> Plan:
    return Plan((*slots,), nodes, synthesis(*(needs or [nodes[-1].id]), **more))


def told(messages: Sequence[Mapping[str, Any]]) -> str:
    """The prompt with its data, without what follows a broken answer, and without the nonce."""
    user = next(one["content"] for one in messages if one["role"] == "user")
    return re.sub(r"-[0-9a-f]{16}>", ">", user)


def id_of(messages: Sequence[Mapping[str, Any]]) -> str:
    return told(messages).partition(" ")[0]


@dataclass
class Fakes:
    """Experts. `seconds` and `faults` are by the first word of a prompt, a node's id: how long it takes, and what its
    calls do, one after the other ("ok" after the last): "ok", an answer or its text, an exception, "hang", or "deaf":
    hang and be slow to heed a cancellation."""

    seconds: dict[str, float] = field(default_factory=dict)
    faults: dict[str, list[Any]] = field(default_factory=dict)
    usd: float = CALL_USD
    asked: list[str] = field(default_factory=list)
    began: list[tuple[str, float]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    chats: list[list[Mapping[str, Any]]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    cancelled: int = 0

    async def ask(self, expert: str, messages: Sequence[Mapping[str, Any]], max_tokens: int, timeout: float) -> Answer:
        id = id_of(messages)
        self.asked.append(id)
        self.began.append((id, asyncio.get_running_loop().time()))
        self.texts.append(told(messages))
        self.chats.append([*messages])
        self.timeouts.append(timeout)
        queue = self.faults.get(id, [])
        fault = queue.pop(0) if queue else "ok"
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.seconds.get(id, 1.0) if fault not in ("hang", "deaf") else 1e9)
        except asyncio.CancelledError:
            self.cancelled += 1
            if fault == "deaf":
                await asyncio.sleep(LINGER / 2)
            raise
        finally:
            self.running -= 1
        if isinstance(fault, BaseException):
            raise fault
        if isinstance(fault, Answer):
            return fault
        return Answer(said(told(messages)) if fault == "ok" else fault, self.usd, Usage(len(told(messages)), 7))

    async def strong(self, timeout: float) -> Answer:
        self.asked.append("strong")
        await asyncio.sleep(5.0)
        return Answer("the strong answer", 1.0, Usage(100, 10))

    def most_usd(self, expert: str, messages: Sequence[Mapping[str, Any]], max_tokens: int) -> float | None:
        return 2 * self.usd


def said(prompt: str) -> str:
    """What a good expert answers: the same to the same prompt."""
    return f"[{prompt.partition(' ')[0]} read {len(prompt)}: {prompt[-30:]!r}]"


def interpreted(plan: Plan, values: Mapping[str, Any]) -> str:
    """The plan's answer where nothing fails, one call after the other."""
    known = dict(values)
    for one in plan.ordered():
        read = {name: known[name] for name in one.inputs}
        if one.map_over:
            each = [{**read, one.map_over: item} for item in read[one.map_over]]
            known[one.id] = [said(told(chat(one.prompt, values))) for values in each]
        else:
            known[one.id] = said(told(chat(one.prompt, read)))
    needs = {name: known.get(name, GAP) for name in plan.synthesis.needs}
    return said(told(chat(plan.synthesis.prompt, needs)))
