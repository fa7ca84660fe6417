"""A plan: a task's program of several calls. Experts' prompts in a graph without cycles, and a synthesis. Pure.

A prompt refers to its inputs as `{{name}}`: a slot of the task, or another node's output. `compiler.plan_check` says
whether a plan can be run, `compiler.run` runs it.
"""

import graphlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

from compiler.errors import PlanError
from compiler.json_text import values_in
from compiler.schema import Schema

MOST_ANSWER_CHARS = 100_000  # of a model's answer that is looked at for a plan
MAX_TOKENS, TIMEOUT = 500, 30.0  # where a plan says nothing
SYNTHESIS = "synthesis"  # no node's id


@dataclass(frozen=True)
class Node:
    """One expert's call, or with `map_over` (one of the inputs) one call for each item of that input.

    `inputs`: names of slots and of other nodes. `output`: the JSON schema of its answer (of one call); None: text.
    `timeout`: seconds of the node from the moment its inputs are there, all calls and retries included. `optional`:
    it may fail, and who refers to it reads "(not available)".
    """

    id: str
    expert: str
    prompt: str
    inputs: tuple[str, ...] = ()
    output: Schema | None = None
    max_tokens: int = MAX_TOKENS
    timeout: float = TIMEOUT
    optional: bool = False
    map_over: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "inputs": [*self.inputs]}

    @classmethod
    def from_json(cls, data: Any, where: str = "a node") -> Self:
        read = _Reader(data, where)
        return cls(
            read.text("id"),
            read.text("expert"),
            read.text("prompt"),
            read.names("inputs"),
            read.object("output"),
            read.count("max_tokens", MAX_TOKENS),
            read.seconds("timeout", TIMEOUT),
            read.flag("optional"),
            read.text("map_over") if read.has("map_over") else None,
        )


@dataclass(frozen=True)
class Synthesis:
    """The call that answers. `needs`: names of nodes, and of slots that it reads too.

    `quorum`: how many of the nodes it needs must have succeeded, whichever these are; None: all that are not optional,
    and one at least.
    """

    expert: str
    prompt: str
    needs: tuple[str, ...]
    quorum: int | None = None
    max_tokens: int = MAX_TOKENS
    timeout: float = TIMEOUT

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "needs": [*self.needs]}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        read = _Reader(data, "the synthesis")
        return cls(
            read.text("expert"),
            read.text("prompt"),
            read.names("needs"),
            read.count("quorum") if read.has("quorum") else None,
            read.count("max_tokens", MAX_TOKENS),
            read.seconds("timeout", TIMEOUT),
        )


@dataclass(frozen=True)
class Plan:
    """`slots`: names of the values that a run is given. What is built by hand or read may have faults."""

    slots: tuple[str, ...]
    nodes: tuple[Node, ...]
    synthesis: Synthesis

    @cached_property
    def by_id(self) -> Mapping[str, Node]:
        return {node.id: node for node in self.nodes}

    @cached_property
    def needed(self) -> tuple[Node, ...]:
        """The nodes among what the synthesis needs."""
        return tuple(self.by_id[name] for name in self.synthesis.needs if name in self.by_id)

    def before(self, node: Node) -> tuple[Node, ...]:
        """The nodes whose output it reads."""
        return tuple(self.by_id[name] for name in node.inputs if name in self.by_id)

    def ordered(self) -> list[Node]:
        """Each node behind those that it reads. Raises PlanError where they read each other in a circle, and names
        it."""
        graph = {node.id: [other.id for other in self.before(node)] for node in self.nodes}
        try:
            return [self.by_id[id] for id in graphlib.TopologicalSorter(graph).static_order()]
        except graphlib.CycleError as error:
            circle = " → ".join(error.args[1])
            raise PlanError(f"the nodes read each other in a circle: {circle}", code="cycle") from None

    def in_words(self) -> str:
        """For a person: a line for each node, in an order in which they can run, and one for the synthesis."""
        lines = [f"given: {', '.join(self.slots) or 'nothing'}"]
        for node in self.ordered():
            each = f", for each of {node.map_over}" if node.map_over else ""
            form = "text" if node.output is None else "JSON"
            maybe = " (may fail)" if node.optional else ""
            lines.append(f"{node.id} = {node.expert}({', '.join(node.inputs)}){each} → {form}{maybe}")
        quorum = f", {self.synthesis.quorum} of them at least" if self.synthesis.quorum else ""
        lines.append(f"answer = {self.synthesis.expert}({', '.join(self.synthesis.needs)}){quorum}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "plan",
            "slots": [*self.slots],
            "nodes": [node.to_json() for node in self.nodes],
            "synthesis": self.synthesis.to_json(),
        }

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Raises PlanError (code "form") where a field is missing or of another type; what has no meaning here is left
        out."""
        read = _Reader(data, "the plan")
        nodes = read.list("nodes")
        return cls(
            read.names("slots"),
            tuple(Node.from_json(node, f"node {number}") for number, node in enumerate(nodes, 1)),
            Synthesis.from_json(data.get("synthesis")),
        )


def read_plan(answer: str) -> Plan:
    """The plan in a model's answer: JSON, alone, in a fence or among words; not validated yet.

    Raises PlanError, and nothing else, whatever the answer is: "size", "unreadable" (no plan in it), or "form".
    """
    if len(answer) > MOST_ANSWER_CHARS:
        raise PlanError(f"the answer has {len(answer)} characters, a plan has {MOST_ANSWER_CHARS}", code="size")
    for value in values_in(answer):
        if isinstance(value, dict) and "nodes" in value:
            return Plan.from_json(value)
    raise PlanError("there is no plan in the answer", code="unreadable")


@dataclass(frozen=True)
class _Reader:
    """The fields of one JSON object, by type."""

    data: Any
    where: str

    def __post_init__(self) -> None:
        if not isinstance(self.data, Mapping):
            raise PlanError(f"{self.where} is no object", code="form")

    def has(self, name: str) -> bool:
        return self.data.get(name) is not None

    def text(self, name: str) -> str:
        value = self.data.get(name)
        return value if isinstance(value, str) else self._refuse(name, "a text")

    def list(self, name: str) -> "list[Any]":
        value = self.data.get(name, [])
        return value if isinstance(value, list) else self._refuse(name, "a list")

    def names(self, name: str) -> tuple[str, ...]:
        values = self.list(name)
        return tuple(values) if all(isinstance(one, str) for one in values) else self._refuse(name, "a list of names")

    def object(self, name: str) -> Schema | None:
        value = self.data.get(name)
        return value if value is None or isinstance(value, dict) else self._refuse(name, "an object")

    def count(self, name: str, default: int | None = None) -> int:
        value = self.data.get(name, default)
        fits = isinstance(value, int) and not isinstance(value, bool)
        return int(value) if fits else self._refuse(name, "a whole number")

    def seconds(self, name: str, default: float) -> float:
        value = self.data.get(name, default)
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits:
            self._refuse(name, "a number of seconds")
        return float(max(-1, min(value, 10**9)))  # a longer whole number may be too large for a float

    def flag(self, name: str) -> bool:
        value = self.data.get(name, False)
        return value if isinstance(value, bool) else self._refuse(name, "true or false")

    def _refuse(self, name: str, wanted: str) -> Any:
        raise PlanError(f"{self.where} has no usable {name!r}: it has to be {wanted}", code="form")
