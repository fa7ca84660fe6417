"""What a card has to pass before it serves, each gate with its figures. Pure."""

from collections.abc import Iterator
from math import expm1
from typing import NamedTuple

from compiler.evidence import ALARM, TRUSTED, UNPROVEN
from compiler.proof import ENOUGH_MONEY, ENOUGH_TIMES, Proof, slower
from proxy.share import in_percent

Figures = str
MOST_LOG = 30.0  # of a sum that is shown


class Gate(NamedTuple):
    """`passed` None: too little is known yet."""

    name: str
    passed: bool | None
    reason: Figures

    @property
    def mark(self) -> str:
        return {True: "passed", False: "closed", None: "waits"}[self.passed]


def gates(proof: Proof) -> list[Gate]:
    return [Gate(*found) for found in (_loss(proof), _drift(proof), *_judge(proof), *_labels(proof))] + [
        Gate(*_latency(proof)),
        Gate(*_money(proof)),
    ]


def _loss(proof: Proof) -> tuple[str, bool | None, Figures]:
    evidence, bound = proof.evidence, in_words(proof.bound)
    if evidence.futility.futile:
        return "loss", False, f"worse than your model by more than the margin of {in_percent(evidence.margin)}"
    most = UNPROVEN * evidence.margin
    wanted = f"serves from {in_percent(most)} on, all of the requests at {in_percent(evidence.margin)}"
    return "loss", True if proof.bound <= most else None, f"{bound}; {wanted}"


def _drift(proof: Proof) -> tuple[str, bool | None, Figures]:
    drift = proof.evidence.drift
    stays = not drift.drifted
    found = "no sign that its answers became worse" if stays else "its answers became worse than they were"
    return "drift", stays, f"{found}: {expm1(min(drift.capital.log, MOST_LOG)):,.0f} of {ALARM:,.0f}"


def _judge(proof: Proof) -> Iterator[tuple[str, bool | None, Figures]]:
    if proof.scoring.judge is None:
        yield "judge", True, "none: every answer that differs counts as worse"
    elif not proof.outcomes["judged"]:
        yield "judge", True, f"{proof.scoring.judge} was not needed: no answers differ"
    elif proof.kappa is None:
        yield "judge", None, f"{proof.scoring.judge} is not calibrated yet"
    else:
        seen = f"{proof.scoring.judge} sees at least {in_percent(proof.kappa)} of a loss"
        yield "judge", proof.kappa >= TRUSTED, f"{seen}; {in_percent(TRUSTED)} is needed"


def _labels(proof: Proof) -> Iterator[tuple[str, bool | None, Figures]]:
    if proof.scoring.kind != "label":
        return
    segments = proof.evidence.segments
    if worse := segments.worse():
        yield "labels", False, f"much worse where your model answers {' or '.join(map(_named, worse))}"
    elif not segments.covered:
        yield "labels", None, "half of the requests at most, until every label that is not rare has enough pairs"
    else:
        yield "labels", True, "none is much worse than the others"


def _named(label: str | None) -> str:
    return "one of many others" if label is None else repr(label)


def _latency(proof: Proof) -> tuple[str, bool | None, Figures]:
    if len(proof.seconds) < ENOUGH_TIMES:
        return "latency", None, f"{len(proof.seconds)} of {ENOUGH_TIMES} pairs with their times"
    slow = slower(proof)
    return "latency", slow is None, slow or "as fast as your model, or faster"


def _money(proof: Proof) -> tuple[str, bool | None, Figures]:
    theirs, ours = proof.usd
    figures = f"${ours:.4f} where your model takes ${theirs:.4f}, over {proof.priced} pairs"
    if proof.priced < ENOUGH_MONEY:
        return "money", None, f"{figures}; {ENOUGH_MONEY} are needed"
    return "money", ours < theirs, figures


def in_words(bound: float) -> str:
    return "nothing is known yet" if bound >= 1 else f"at most {100 * bound:.1f} % worse (95 % sure)"
