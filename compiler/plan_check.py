"""Whether a plan can be run and is worth it: one rule a function, each with a code of its own. Pure."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from compiler import schema
from compiler.errors import PlanError
from compiler.plan import SYNTHESIS, Node, Plan, Synthesis
from compiler.pricing import Rates
from compiler.references import DATA, references

NAME = re.compile(r"[^\W_][\w.-]{0,63}")
MOST_NODES, DEEPEST = 6, 3  # nodes; nodes one behind the other, without the synthesis
MOST_INPUTS = 20  # slots, and inputs of a node
MOST_PROMPT_CHARS = 12_000
MOST_TOKENS, MOST_SECONDS = 32_000, 600.0
CHARS_A_TOKEN = 4
FRAME_TOKENS = 12 + len(DATA) // CHARS_A_TOKEN  # of a call, around its prompt

CODES = {
    "unreadable": "no plan in a model's answer",
    "size": "an answer too long to be a plan, or too many slots",
    "form": "a field is missing or of another type",
    "nodes": "none, or more than may be",
    "name": "what is no name, or stands for something else already",
    "duplicate": "two of one id, or two that ask the same",
    "prompt": "empty, too long, or no text that can be sent",
    "reference": "an input that is neither slot nor node, or a prompt that refers to none of its inputs",
    "unused": "an input that the prompt doesn't refer to",
    "cycle": "nodes that read each other",
    "depth": "too many nodes one behind the other",
    "unreachable": "a node whose output nobody reads",
    "quorum": "more than the synthesis needs, or fewer than one",
    "map_over": "what is mapped over is none of the inputs",
    "schema": "a schema of an output that can't be checked",
    "expert": "one that nobody knows",
    "tokens": "no usable max_tokens",
    "timeout": "no usable timeout",
    "cost": "as dear as one call of the incumbent, or of unknown price",
    "values": "a run is not given what stands in the slots",
}
"""Of PlanError."""


@dataclass(frozen=True)
class Costs:
    """What one run is expected to cost. `rates`: of each expert. `slots`: tokens of the data in each slot, `outputs`:
    that an expert answers with (its cap where that is unknown), `items`: into which a mapped input falls.
    `incumbent`: USD of the one call that the plan would stand for."""

    rates: Mapping[str, Rates]
    incumbent: float
    slots: Mapping[str, float] = field(default_factory=dict)
    outputs: Mapping[str, float] = field(default_factory=dict)
    items: int = 5


def validate(plan: Plan, experts: Collection[str], costs: Costs | None = None) -> None:
    """Raises PlanError for the first fault there is; see CODES. Without `costs` what it costs is not looked at."""
    for check in CHECKS:
        check(plan)
    for where, part in _parts(plan):
        if part.expert not in experts:
            _refuse("expert", f"{where}: there is no expert {part.expert!r}, only {', '.join(sorted(experts))}")
    if costs:
        _is_cheaper(plan, costs)


def estimate(plan: Plan, costs: Costs) -> float:
    """USD of one run in which every node is asked once. Raises PlanError where an expert has no price."""
    sizes = {name: costs.slots.get(name, 0.0) for name in plan.slots}
    total = 0.0
    for node in plan.ordered():
        calls = costs.items if node.map_over else 1
        read = sum(sizes[name] * (1 if name == node.map_over else calls) for name in node.inputs)
        answered = calls * _answered(node, costs)
        total += _cost(node, calls * _own(node) + read, answered, calls, costs)
        sizes[node.id] = answered
    read = sum(sizes[name] for name in plan.synthesis.needs)
    return total + _cost(plan.synthesis, _own(plan.synthesis) + read, _answered(plan.synthesis, costs), 1, costs)


def _own(part: Node | Synthesis) -> float:
    return FRAME_TOKENS + len(part.prompt) / CHARS_A_TOKEN


def _answered(part: Node | Synthesis, costs: Costs) -> float:
    return min(costs.outputs.get(part.expert, part.max_tokens), part.max_tokens)


def _cost(part: Node | Synthesis, read: float, answered: float, calls: int, costs: Costs) -> float:
    if part.expert not in costs.rates:
        _refuse("cost", f"the expert {part.expert!r} has no known price")
    return calls * costs.rates[part.expert].cost_of(read / calls, 0, 0, answered / calls)


def _is_cheaper(plan: Plan, costs: Costs) -> None:
    usd = estimate(plan, costs)
    if not usd < costs.incumbent:
        _refuse("cost", f"it would cost ${usd:.6f} a run, one call of the current model ${costs.incumbent:.6f}")


def _has_few_parts(plan: Plan) -> None:
    if not plan.nodes:
        _refuse("nodes", "it has no nodes: one call is a prompt, not a plan")
    if len(plan.nodes) > MOST_NODES:
        _refuse("nodes", f"it has {len(plan.nodes)} nodes, {MOST_NODES} are allowed")
    for where, count in [("the plan", len(plan.slots)), *((w, len(_read_by(part))) for w, part in _parts(plan))]:
        if count > MOST_INPUTS:
            _refuse("size", f"{where} has {count} inputs, {MOST_INPUTS} are allowed")


def _has_names(plan: Plan) -> None:
    for name in (*plan.slots, *(node.id for node in plan.nodes)):
        if not NAME.fullmatch(name) or name == SYNTHESIS:
            _refuse("name", f"{name[:80]!r} can't be a name: letters, digits, `.`, `_`, `-`, at most 64")
    for id, count in Counter(node.id for node in plan.nodes).items():
        if count > 1:
            _refuse("duplicate", f"{count} nodes have the id {id!r}")
    if len({*plan.slots}) < len(plan.slots) or not plan.by_id.keys().isdisjoint(plan.slots):
        _refuse("name", "a name stands for two things: for two slots, or for a slot and a node")


def _has_prompts(plan: Plan) -> None:
    for where, part in _parts(plan):
        if not part.prompt.strip():
            _refuse("prompt", f"{where} has an empty prompt")
        if len(part.prompt) > MOST_PROMPT_CHARS:
            _refuse("prompt", f"{where}: its prompt has {len(part.prompt)} characters, {MOST_PROMPT_CHARS} are allowed")
        if any("\ud800" <= char <= "\udfff" for char in part.prompt):
            _refuse("prompt", f"{where}: its prompt has half a character in it, which can't be sent")


def _resolves(plan: Plan) -> None:
    known = {*plan.slots, *plan.by_id}
    for where, part in _parts(plan):
        read, told = _read_by(part), references(part.prompt)
        if missing := [name for name in read if name not in known]:
            _refuse("reference", f"{where}: {missing[0][:80]!r} is neither a slot nor a node")
        if len({*read}) < len(read):
            _refuse("duplicate", f"{where} names an input twice")
        if strange := [name for name in told if name not in read]:
            _refuse("reference", f"{where}: its prompt refers to {strange[0][:80]!r}, which is none of its inputs")
        if unused := [name for name in read if name not in told]:
            _refuse("unused", f"{where}: its prompt never refers to its input {unused[0]!r}")


def _asks_each_thing_once(plan: Plan) -> None:
    seen: dict[tuple[str, frozenset[str], str | None], str] = {}
    for node in plan.nodes:
        asked = (" ".join(node.prompt.split()), frozenset(node.inputs), node.map_over)
        if (other := seen.setdefault(asked, node.id)) != node.id:
            _refuse("duplicate", f"{other!r} and {node.id!r} ask the same of the same inputs")


def _is_shallow(plan: Plan) -> None:
    depth: dict[str, int] = {}
    for node in plan.ordered():
        depth[node.id] = 1 + max((depth[other.id] for other in plan.before(node)), default=0)
        if depth[node.id] > DEEPEST:
            _refuse("depth", f"{node.id!r} is the {depth[node.id]}th node of a chain, {DEEPEST} are allowed")


def _is_all_read(plan: Plan) -> None:
    reached: set[str] = set()
    todo = [*plan.needed]
    while todo:
        node = todo.pop()
        if node.id not in reached:
            reached.add(node.id)
            todo += plan.before(node)
    if lost := [node.id for node in plan.nodes if node.id not in reached]:
        _refuse("unreachable", f"nothing of {lost[0]!r} reaches the synthesis")


def _has_a_quorum(plan: Plan) -> None:
    quorum, needed = plan.synthesis.quorum, len(plan.needed)
    if quorum is not None and not 1 <= quorum <= needed:
        _refuse("quorum", f"a quorum of {quorum} of the {needed} nodes that the synthesis needs")


def _has_bounds(plan: Plan) -> None:
    for where, part in _parts(plan):
        if not 1 <= part.max_tokens <= MOST_TOKENS:
            _refuse("tokens", f"{where}: max_tokens has to be between 1 and {MOST_TOKENS}")
        if not (math.isfinite(part.timeout) and 0 < part.timeout <= MOST_SECONDS):
            _refuse("timeout", f"{where}: timeout has to be more than 0 and at most {MOST_SECONDS:.0f} seconds")


def _has_forms(plan: Plan) -> None:
    for node in plan.nodes:
        if node.map_over is not None and node.map_over not in node.inputs:
            _refuse("map_over", f"node {node.id!r} maps over {node.map_over[:80]!r}, which is none of its inputs")
        if node.output is not None and (problem := schema.fault(node.output)):
            _refuse("schema", f"node {node.id!r}: the schema of its output {problem}")


CHECKS: tuple[Callable[[Plan], None], ...] = (
    _has_few_parts,
    _has_names,
    _has_prompts,
    _has_forms,
    _resolves,
    _asks_each_thing_once,
    _is_shallow,
    _is_all_read,
    _has_a_quorum,
    _has_bounds,
)


def _parts(plan: Plan) -> list[tuple[str, Node | Synthesis]]:
    """Each call with what an error says of where it is."""
    return [*((f"node {node.id[:80]!r}", node) for node in plan.nodes), ("the synthesis", plan.synthesis)]


def _read_by(part: Node | Synthesis) -> tuple[str, ...]:
    return part.inputs if isinstance(part, Node) else part.needs


def _refuse(code: str, message: str) -> NoReturn:
    raise PlanError(message, code=code)
