"""From the upstream's whole bill to what a card answers: where every dollar stops on its way, and why. Pure.

Money is counted in whole billionths of a dollar. Floats added up in another order differ in their last digits, so that
a step and what it leaves out would not add up to the step before; a row of the ledger is rounded once, and from there
on every sum is exact.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

from compiler.ledger import Row, Sums

StepName = Literal["bill", "seen", "eligible", "matched", "live"]
STEPS: tuple[StepName, ...] = ("bill", "seen", "eligible", "matched", "live")
NANO = 1_000_000_000
APP_ROLES = frozenset(("serve", "conductor", "expert"))  # what answers the app; any other role is Cuecard's own work
EARLIER, UNHEARD = "earlier", "unheard"

MEANING: Mapping[StepName, str] = {
    "bill": "your app's calls",
    "seen": "chat completions whose body was read",
    "eligible": "one text in, one text out: a card could serve them",
    "matched": "belong to a task",
    "live": "answered by a card, or tried on one",
}


class Stop(NamedTuple):
    """At which step a request goes no further, and the end of the sentence "412 calls, $18.20, …"."""

    step: StepName
    words: str


STOPS: Mapping[str, Stop] = {
    "not_chat": Stop("seen", "arrived on {endpoint}: metered, not yet optimisable"),
    EARLIER: Stop("seen", "booked by a version of Cuecard that kept no reasons"),
    UNHEARD: Stop("seen", "left alone for a reason that this version of Cuecard does not know"),
    "bypass": Stop("eligible", "asked to be left as they are (X-Cuecard-Bypass)"),
    "internal_error": Stop("eligible", "passed on as they came after an error in Cuecard: please report it"),
    "tools": Stop("eligible", "offered tools: not yet optimisable"),
    "multi_turn": Stop("eligible", "were conversations of several turns: not yet optimisable"),
    "not_text": Stop("eligible", "carried images, audio or files: not optimisable"),
    "n": Stop("eligible", "asked for more than one answer (n)"),
    "logprobs": Stop("eligible", "asked for log probabilities"),
    "logit_bias": Stop("eligible", "set logit_bias, which belongs to one model's vocabulary"),
    "prediction": Stop("eligible", "set a predicted output"),
    "audio": Stop("eligible", "asked for audio"),
    "modalities": Stop("eligible", "asked for something other than text"),
    "unknown_parameter": Stop("eligible", "set a parameter that Cuecard does not know"),
    "unrecognised": Stop("matched", "belonged to no known task"),
    "busy": Stop("matched", "came while Cuecard was busy with serving, and were not looked at"),
    "unknown_task": Stop("matched", "named a task that is not declared, or is another tenant's"),
    "catch_all": Stop("matched", "were free chat under a general system prompt: never compiled"),
    "ignored": Stop("live", "belonged to a task that you said to leave alone"),
    "off": Stop("live", "came while Cuecard was switched off (`cuecard off`)"),
    "observe": Stop("live", "belonged to a task in mode observe"),
    "unproven": Stop("live", "belonged to a task that is not proven yet"),
    "control": Stop("live", "stayed with your model to compare the card with: chosen by chance"),
    "no_card": Stop("live", "belonged to a task that was not compiled yet"),
    "compiling": Stop("live", "came while their task was being compiled"),
    "kept": Stop("live", "belonged to a task whose last compile gave no card"),
    "paused": Stop("live", "belonged to a task that a person paused, or whose answers became worse"),
    "json_schema": Stop("live", "set a JSON schema that the card's model can't take"),
    "no_upstream_key": Stop("live", "had a card whose model's upstream has no key of ours"),
    "breaker_open": Stop("live", "had a card whose model was failing"),
}
"""Every value of `proxy.decide.REASONS`, and two of the funnel's own."""

SERVED = {
    "compiled": "answered by a card",
    "fallback": "tried on a card, then answered by the current model: both calls are paid",
    "cached": "answered from the cache",
}
"""What the last step is made of, by route."""


OWN = {
    "compile": "Cuecard's own: writing and scoring prompts",
    "shadow": "Cuecard's own: the cheap model's answers for a proof",
    "judge": "Cuecard's own: comparing two answers",
}
OWN_OTHER = "Cuecard's own"


@dataclass(frozen=True)
class Amount:
    """`nano`: billionths of a dollar. `unknown`: calls whose cost nobody knows, for want of a price or of usage, and
    `models` those that they went to. `unrecorded`: requests that asked that nothing of them be kept."""

    calls: int = 0
    requests: int = 0
    failed: int = 0
    unknown: int = 0
    unrecorded: int = 0
    nano: int = 0
    models: frozenset[str] = frozenset()

    @classmethod
    def of(cls, row: Row, sums: Sums) -> Self:
        unknown = sums.unpriced + sums.unmetered
        return cls(
            calls=sums.calls + sums.unmetered,
            requests=sums.requests,
            failed=sums.failed,
            unknown=unknown,
            unrecorded=sums.unrecorded,
            nano=round(sums.cost * NANO),
            models=frozenset((row.model,)) if unknown else frozenset(),
        )

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.calls + other.calls,
            self.requests + other.requests,
            self.failed + other.failed,
            self.unknown + other.unknown,
            self.unrecorded + other.unrecorded,
            self.nano + other.nano,
            self.models | other.models,
        )

    @property
    def usd(self) -> float:
        return self.nano / NANO

    def to_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "requests": self.requests,
            "failed": self.failed,
            "unknown_cost": self.unknown,
            "unknown_cost_models": sorted(self.models),
            "unrecorded": self.unrecorded,
            "usd": self.usd,
        }


@dataclass(frozen=True)
class Group:
    """Calls that share a reason (or role, or route), with what is to be said of them; `endpoint` where that differs."""

    reason: str
    amount: Amount
    words: str
    endpoint: str = ""

    @property
    def sentence(self) -> str:
        return f"{count(self.amount)}, {cost(self.amount)}, {self.words}"

    def to_json(self) -> dict[str, Any]:
        shown = {"reason": self.reason, "endpoint": self.endpoint, **self.amount.to_json()}
        return {**shown, "sentence": self.sentence}


@dataclass(frozen=True)
class Step:
    """What came so far, and what of the step before did not; dearest first."""

    name: StepName
    amount: Amount
    excluded: tuple[Group, ...] = ()

    def to_json(self) -> dict[str, Any]:
        excluded = [group.to_json() for group in self.excluded]
        return {"name": self.name, "meaning": MEANING[self.name], **self.amount.to_json(), "excluded": excluded}


@dataclass(frozen=True)
class Funnel:
    """`bill` is all that the upstreams were asked for: the app's calls, the first of `steps`, and Cuecard's `own`.
    `served` is the last step by route."""

    bill: Amount
    own: tuple[Group, ...]
    steps: tuple[Step, ...]
    served: tuple[Group, ...]

    def step(self, name: StepName) -> Step:
        return self.steps[STEPS.index(name)]

    def to_json(self) -> dict[str, Any]:
        return {
            "bill": self.bill.to_json(),
            "own": [group.to_json() for group in self.own],
            "steps": [step.to_json() for step in self.steps],
            "served": [group.to_json() for group in self.served],
        }


def stop_of(row: Row) -> str:
    """The reason why a row's calls went no further, a key of STOPS; "" where a card took part."""
    if row.route in SERVED:
        return ""
    reason = row.reason or EARLIER
    return reason if reason in STOPS else UNHEARD


def is_matched(row: Row) -> bool:
    """Whether its calls came as far as their task."""
    stop = stop_of(row)
    return not stop or STOPS[stop].step == "live"


def build_funnel(rows: Iterable[tuple[str, Row, Sums]]) -> Funnel:
    """`rows` as the ledger gives them: (task, row, sums)."""
    own: dict[str, Amount] = {}
    served: dict[str, Amount] = {}
    stopped: dict[tuple[str, str], Amount] = {}
    for _, row, sums in rows:
        amount = Amount.of(row, sums)
        if row.role not in APP_ROLES:
            _add(own, row.role, amount)
        elif reason := stop_of(row):
            _add(stopped, (reason, row.endpoint if reason == "not_chat" else ""), amount)
        else:
            _add(served, row.route, amount)
    steps = _steps(total(served.values()), stopped)
    return Funnel(
        bill=steps[0].amount + total(own.values()),
        own=_sorted(Group(role, amount, OWN.get(role, OWN_OTHER)) for role, amount in own.items()),
        steps=steps,
        served=_sorted(Group(route, amount, SERVED[route]) for route, amount in served.items()),
    )


def _steps(live: Amount, stopped: Mapping[tuple[str, str], Amount]) -> tuple[Step, ...]:
    """From the last to the first: a step is what the next one took, and what that left out."""
    groups: dict[StepName, list[Group]] = {name: [] for name in STEPS}
    for (reason, endpoint), amount in stopped.items():
        stop = STOPS[reason]
        groups[stop.step].append(Group(reason, amount, stop.words.format(endpoint=_shown(endpoint)), endpoint))
    steps: list[Step] = []
    amount = live
    for name in reversed(STEPS):
        steps.append(Step(name, amount, _sorted(groups[name])))
        amount += total(group.amount for group in groups[name])
    return tuple(reversed(steps))


def total(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, Amount())


def count(amount: Amount) -> str:
    calls = f"{amount.calls:,} call{'' if amount.calls == 1 else 's'}"
    return f"{calls} ({amount.failed:,} failed)" if amount.failed else calls


def cost(amount: Amount, *, named: bool = True) -> str:
    """Never $0 for what may have cost something. `named`: with the models that the calls of unknown cost went to."""
    if not amount.unknown:
        return dollars(amount.nano)
    whose = f" ({', '.join(sorted(amount.models))})" if named else ""
    if amount.unknown == amount.calls:
        return f"cost unknown{whose}"
    return f"{dollars(amount.nano)} and {amount.unknown:,} of unknown cost{whose}"


def dollars(nano: int) -> str:
    """Cents from a dollar on, else as many digits as it takes to see something."""
    if 0 < nano < 500:
        return "less than $0.000001"
    shown = f"{nano / NANO:,.{2 if nano >= NANO else 4 if nano >= NANO // 1_000 else 6}f}"
    while shown.endswith("0") and shown[-3] != ".":
        shown = shown[:-1]
    return f"${shown}"


def _shown(endpoint: str) -> str:
    return endpoint if endpoint.startswith("/") else "a path that Cuecard does not know"


def _add(sums: dict[Any, Amount], key: Any, amount: Amount) -> None:
    sums[key] = sums.get(key, Amount()) + amount


def _sorted(groups: Iterable[Group]) -> tuple[Group, ...]:
    def dearest_first(group: Group) -> tuple[int, int, str, str]:
        return -group.amount.nano, -group.amount.calls, group.reason, group.endpoint

    return tuple(sorted(groups, key=dearest_first))
