"""The join at the end: what the upstream wrote down, what the clients got, what the ledger and the metrics say.

The upstream's log and the plan of each request say what has to be in the books: exactly, for a request that went its
way; between two bounds, for the output of an answer that was cut and for what a killed worker had in hand.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.soak.load import (
    ANSWERED,
    BROKEN,
    COMPILED,
    DIED,
    FALLBACK,
    HTTP_429,
    HTTP_500,
    HTTP_502,
    HTTP_504,
    HUNG_UP,
    NAMES,
    ORIGINAL,
    UNASKED,
    Load,
    Loss,
)
from bench.soak.server import Kill
from bench.soak.traffic import CANDIDATE, CHEAP, EMBED, INCUMBENT, PRICES, STRONG, Kind, Plan, Traffic
from bench.soak.upstream import ARRIVED, CHANGED, PART, REFUSED, WHOLE

DEATH_SECONDS = 2.0  # after a kill, in which its connections are seen to end
QUEUED_SECONDS = 0.25  # a connection so young may have waited for the killed worker to accept it
MEASURES = ("calls", "requests", "input", "output", "cost")
Sums = dict[str, float]

ROUTED = frozenset((COMPILED, FALLBACK))
AFTER = {  # what a client may get after a fault; after one not named here, as after none
    "reset": {HTTP_502},
    "http_500": {HTTP_500},
    "http_429": {HTTP_429},
    "both_500": {HTTP_500},
    "stall": {HTTP_504},
    "half": {HTTP_502},
    "cut": {BROKEN},
    "stall_midway": {BROKEN},
    "card_cut_shown": {BROKEN, FALLBACK},  # the card may have been late before that
    "card_late": {FALLBACK},
    "card_garbage": {FALLBACK},
    "card_500": {FALLBACK},
    "card_reset": {FALLBACK},
    "card_cut": {FALLBACK},
    "hang_before": {HUNG_UP},
    "hang_midway": {HUNG_UP},
    "hang_upload": {HUNG_UP},
}


def allowed(kind: Kind, fault: str) -> frozenset[int] | set[int]:
    if fault == "half" and kind.path != "/v1/chat/completions":
        return {BROKEN}  # its head has gone to the client
    return AFTER.get(fault) or (ROUTED if kind.carded else {ORIGINAL})


def mark_deaths(load: Load, kills: Iterable[Kill]) -> None:
    """Requests that ended with the worker that had them."""
    workers = [kill for kill in kills if kill.role == "worker"]
    for loss in load.losses:
        for kill in workers:
            if _died(loss, kill):
                load.outcomes[loss.number] = DIED
                kill.in_flight += 1
                break


def _died(loss: Loss, kill: Kill) -> bool:
    if not -0.1 <= loss.at - kill.at <= DEATH_SECONDS:
        return False
    return loss.port in kill.ports or -DEATH_SECONDS < loss.opened - kill.at + QUEUED_SECONDS < QUEUED_SECONDS * 2


@dataclass
class Bounds:
    """What the books may say at least and at most, and what the upstream's own log adds up to."""

    low: Sums = field(default_factory=lambda: dict.fromkeys(MEASURES, 0.0))
    high: Sums = field(default_factory=lambda: dict.fromkeys(MEASURES, 0.0))

    def add(self, model: str, low: "Bill | None", high: "Bill") -> None:
        for bill, sums in ((low, self.low), (high, self.high)):
            if bill:
                sums["calls"] += 1
                sums["input"] += bill.input
                sums["output"] += bill.output
                sums["cost"] += bill.usd(model)

    def excuse(self, kills: int, largest: "Bill") -> None:
        """A worker notes a call when its last byte has left: a kill may fall between the two, for one request."""
        for name, by in zip(MEASURES, (1, 1, largest.input, largest.output, largest.cost), strict=True):
            self.low[name] -= kills * by


@dataclass(frozen=True)
class Bill:
    input: int = 0
    output: int = 0

    def usd(self, model: str) -> float:
        return (self.input * PRICES[model]["input"] + self.output * PRICES[model]["output"]) / 1e6

    @property
    def cost(self) -> float:
        """At most."""
        return self.usd(STRONG)


@dataclass
class Joined:
    ledger: Bounds = field(default_factory=Bounds)
    served: list[int] = field(default_factory=lambda: [0, 0])  # client requests in the metrics, at least and at most
    calls: list[int] = field(default_factory=lambda: [0, 0])  # upstream calls in the metrics, at least and at most
    upstream_calls: int = 0  # that arrived there
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # by kind, fault, outcome
    faults: int = 0
    died: int = 0
    unanswered: list[int] = field(default_factory=list)  # answered by the upstream, and not to the client
    unexpected: list[tuple[int, str]] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)  # asked of the upstream more than once


def join(traffic: Traffic, load: Load, logs: tuple[bytes, bytes], kills: int) -> Joined:
    """`kills`: of workers."""
    found = Joined(served=[-kills, 0], calls=[-kills, 0])
    found.ledger.excuse(kills, largest(traffic))
    words = dict(load.oddities)
    for number in range(load.asked):
        outcome, states = load.outcomes[number], (logs[CANDIDATE][number], logs[INCUMBENT][number])
        if outcome == UNASKED:
            continue
        plan = traffic.plan(number)
        _judge(found, number, plan, outcome, states, words.get(number, ""))
        for arm in (CANDIDATE, INCUMBENT) if plan.kind.carded else (INCUMBENT,):
            _bill(found, traffic, plan, outcome, arm, states[arm])
        _count(found, plan, outcome, states)
    return found


def largest(traffic: Traffic) -> Bill:
    answers = traffic.answers.values()
    return Bill(max(answer.input for answer in answers), max(answer.output for answer in answers))


def _judge(found: Joined, number: int, plan: Plan, outcome: int, states: tuple[int, int], words: str) -> None:
    found.outcomes[plan.kind.name, plan.fault, NAMES[outcome]] += 1
    found.faults += bool(plan.fault)
    found.died += outcome == DIED
    for state in states:
        if state & CHANGED:
            found.changed.append(number)
        if state & ARRIVED > 1 and plan.kind.method == "POST" and not plan.fault.endswith("reset"):
            found.repeated.append(number)
    if outcome == DIED or outcome in allowed(plan.kind, plan.fault):
        return
    found.unexpected.append((number, f"{plan.kind.name}, {plan.fault or 'no fault'}: {NAMES[outcome]} {words}"))
    if states[INCUMBENT] & WHOLE and outcome not in ANSWERED:
        found.unanswered.append(number)


def _bill(found: Joined, traffic: Traffic, plan: Plan, outcome: int, arm: int, state: int) -> None:
    """One upstream call, as it has to stand in the ledger: see `Exchange.billed` and `Entry.booked` for its rules."""
    kind, fault = plan.kind, plan.fault
    arrived = state & ARRIVED
    found.upstream_calls += arrived
    uncertain = outcome in (DIED, HUNG_UP)
    found.calls[0] += bool(arrived) and outcome != DIED
    found.calls[1] += bool(arrived or state & PART or uncertain)
    model = CHEAP if arm == CANDIDATE else EMBED if kind.path == "/v1/embeddings" else STRONG
    if not arrived and not uncertain:
        return
    told = kind.path == "/v1/chat/completions" or (kind.path == "/v1/embeddings" and (state & WHOLE or uncertain))
    if not told and not state & REFUSED:
        return  # it streamed by and told no usage: a request, but no charge
    answer = traffic.answers[kind.name, plan.variant, arm]
    if fault == "card_garbage" and arm == CANDIDATE:
        answer = traffic.garbage[kind.name, plan.variant]
    full = Bill(answer.input, answer.output)
    if state & REFUSED:
        low = full = Bill()
    elif state & WHOLE and outcome in ANSWERED and (arm == INCUMBENT or outcome == COMPILED or fault == "card_garbage"):
        low = full
    else:  # how much of the output came is known to nobody else
        low = Bill(answer.input)
    if fault in ("reset", "stall", "card_reset"):
        full = low
    found.ledger.add(model, None if outcome == DIED or (uncertain and not _is_sure(state, kind)) else low, full)


def _is_sure(state: int, kind: Kind) -> bool:
    """Whether a call that the client hung up on is certain to be in the ledger."""
    return bool(state & ARRIVED) and kind.path == "/v1/chat/completions"


def _count(found: Joined, plan: Plan, outcome: int, states: tuple[int, int]) -> None:
    reached = any(state & (ARRIVED | PART) for state in states)
    found.served[0] += outcome != DIED and (outcome != HUNG_UP or reached)
    found.served[1] += 1
    booked = plan.kind.path != "/v1/files" and plan.kind.method == "POST"
    if booked or outcome in (HTTP_500, HTTP_429):
        found.ledger.low["requests"] += outcome in ANSWERED
        found.ledger.high["requests"] += outcome in ANSWERED or outcome == DIED


def ledger_sums(report: Mapping[str, Any]) -> Sums:
    sums = dict.fromkeys(MEASURES, 0.0)
    for task in report["tasks"].values():
        for row in task["rows"]:
            sums["calls"] += row["calls"]
            sums["requests"] += row["requests"]
            sums["input"] += row["input"] + row["cached_input"] + row["cache_write"]
            sums["output"] += row["output"] + row["reasoning"]
            sums["cost"] += row["cost"]
    return sums


def metrics_sums(text: str) -> Sums:
    """`calls`: a request's last call and those that fell back before it."""
    sums = dict.fromkeys((*MEASURES, "in_flight", "dropped"), 0.0)
    names = {
        "cuecard_requests_total": ("calls", "requests"),
        "cuecard_fallbacks_total": ("calls",),
        "cuecard_cost_usd_total": ("cost",),
        "cuecard_inflight_requests": ("in_flight",),
        "cuecard_observations_dropped_total": ("dropped",),
    }
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "cuecard_tokens_total":
                output = sample.labels["type"] in ("output", "reasoning")
                sums["output" if output else "input"] += sample.value
            for name in names.get(sample.name, ()):
                sums[name] += sample.value
    return sums
