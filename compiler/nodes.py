"""The nodes of a plan at work: each starts the moment its inputs are there, and ends when nobody waits for it."""

import asyncio
from asyncio import Task
from collections.abc import Callable, Mapping
from typing import Any

from compiler.chunk import items_of
from compiler.errors import BudgetExceeded, ModelFailed
from compiler.expert import Experts, Question, end
from compiler.plan import Node, Plan
from compiler.references import GAP, chat
from compiler.trace import Noted, Trace


class Nodes:
    """Of one run. `seconds`: when the last of them has to be done, on the clock of `experts`; `grace`: seconds that
    stragglers get once the quorum is reached."""

    def __init__(
        self, plan: Plan, values: Mapping[str, Any], experts: Experts, trace: Trace, *, seconds: float, grace: float
    ) -> None:
        self._plan, self._values, self._experts, self._trace = plan, values, experts, trace
        self._ends, self._grace = seconds, grace
        self._tasks: dict[str, Task[Any]] = {}
        self._over_cap: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self) -> str:
        """Why the synthesis can't be asked; "" where it can. None of them works any more then.

        Raises BudgetExceeded, before anything is asked, where there are more nodes than calls."""
        self._trace.nodes = {node.id: Noted(node.id, node.expert) for node in self._plan.nodes}
        self._experts.purse.check(0.0, calls=len(self._plan.nodes) + 1)
        for node in self._plan.ordered():
            self._tasks[node.id] = asyncio.create_task(self._node(node))
        try:
            return await self._quorum()
        finally:
            self._over_cap.cancel()
            await end(self._tasks.values())

    async def _quorum(self) -> str:
        """Waits until every node that the synthesis needs is done, or its quorum is reached and the grace is over, or a
        cap is. Of a quorum that is reached or out of reach nothing that happens later takes anything away."""
        needed = {self._tasks[node.id] for node in self._plan.needed}
        ends = self._ends
        in_grace = False
        while True:
            pending = {task for task in needed if not task.done()}
            reached = self._suffice(self._has_succeeded)
            if reached and (self._over_cap.done() or not pending):
                return ""
            if self._over_cap.done():
                return self._over_cap.result()
            if not self._suffice(lambda node: not self._has_failed(node)):
                return self._lost()
            if reached and not in_grace:
                in_grace, ends = True, min(ends, self._experts.clock() + self._grace)
            left = ends - self._experts.clock()
            if left <= 0:
                return "" if reached else f"no quorum after {self._ends:g} s"
            await asyncio.wait({*pending, self._over_cap}, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _suffice(self, is_there: Callable[[Node], bool]) -> bool:
        """Whether these make a quorum; where none is given, all that are not optional do, and one at least."""
        quorum, needed = self._plan.synthesis.quorum, self._plan.needed
        count = sum(is_there(node) for node in needed)
        if quorum is not None:
            return count >= quorum
        return count > 0 and all(node.optional or is_there(node) for node in needed)

    def _has_succeeded(self, node: Node) -> bool:
        return self.output(node.id) is not GAP

    def _has_failed(self, node: Node) -> bool:
        return self._tasks[node.id].done() and not self._has_succeeded(node)

    def _lost(self) -> str:
        failed = [self._trace.nodes[node.id] for node in self._plan.needed if self._has_failed(node)]
        return "; ".join(f"{noted.id} failed: {noted.error}" for noted in failed)

    def output(self, name: str) -> Any:
        """What stands for a reference: GAP where a node has not succeeded."""
        if name not in self._tasks:
            return self._values[name]
        task = self._tasks[name]
        return task.result() if task.done() and not task.cancelled() else GAP

    async def _node(self, node: Node) -> Any:
        """Its output; GAP where it failed."""
        noted = self._trace.nodes[node.id]
        try:
            with noted.ending(self._experts.clock):
                values = await self._inputs(node)
                noted.given(values, self._experts.clock())
                async with asyncio.timeout(node.timeout):
                    work = self._asked if node.map_over is None else self._mapped
                    value = await work(node, values, self._experts.clock() + node.timeout)
                noted.done(value, self._experts.clock())
                return value
        except BudgetExceeded as error:
            if not self._over_cap.done():
                self._over_cap.set_result(str(error))
        except ModelFailed:
            pass
        return GAP

    async def _inputs(self, node: Node) -> dict[str, Any]:
        """Once they are all there. Raises ModelFailed as soon as one failed that is not optional."""
        pending = {self._tasks[other.id] for other in self._plan.before(node)}
        while True:
            for other in self._plan.before(node):
                if self._has_failed(other) and not other.optional:
                    raise ModelFailed(f"its input {other.id!r} is not available")
            if not pending:
                return {name: self.output(name) for name in node.inputs}
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    async def _asked(self, node: Node, values: Mapping[str, Any], ends: float, item: int | None = None) -> Any:
        left = min(ends, self._ends) - self._experts.clock()
        messages = chat(node.prompt, values, node.output)
        question = Question(node.expert, messages, node.max_tokens, left, node.output, item, keep=1)
        return await self._experts.value(question, self._trace.nodes[node.id])

    async def _mapped(self, node: Node, values: Mapping[str, Any], ends: float) -> list[Any]:
        """An output for each item, in their order. In that of an optional node "(not available)" stands for items that
        failed, unless all did."""
        name = node.map_over or ""
        items = items_of(values[name])
        self._experts.purse.check(0.0, calls=len(items) + 1)
        tasks = [
            asyncio.create_task(self._asked(node, {**values, name: item}, ends, number))
            for number, item in enumerate(items)
        ]
        try:
            pending = {*tasks}
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
                for error in (task.exception() for task in tasks if task in done):
                    if error and not (node.optional and isinstance(error, ModelFailed)):
                        raise error
        finally:
            await end(tasks)
        if tasks and all(task.exception() for task in tasks):
            tasks[0].result()
        return [GAP.value if task.exception() else task.result() for task in tasks]
