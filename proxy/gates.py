"""What a card has to pass before it serves, each gate with its figures. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from compiler.evidence import DRIFTED, FAR
from compiler.proof import ENOUGH_MONEY, ENOUGH_TIMES, LEAST_KAPPA, Proof, slower
from proxy.share import in_percent

Figures = str


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
    if evidence.is_futile:
        return "loss", False, f"worse than your model by more than the margin of {in_percent(evidence.margin)}"
    most = FAR * evidence.margin
    wanted = f"serves from {in_percent(most)} on, all of the requests at {in_percent(evidence.margin)}"
    return "loss", True if proof.bound <= most else None, f"{bound}; {wanted}"


def _drift(proof: Proof) -> tuple[str, bool | None, Figures]:
    stays = not proof.evidence.has_drifted
    found = "no sign that its answers became worse" if stays else "its answers became worse than they were"
    return "drift", stays, f"{found}: {proof.evidence.drift:,.0f} of {DRIFTED:,.0f}"


def _judge(proof: Proof) -> Iterator[tuple[str, bool | None, Figures]]:
    if proof.scoring.judge is None:
        yield "judge", True, "none: every answer that differs counts as worse"
    elif proof.kappa is None:
        yield "judge", None, f"{proof.scoring.judge} is not calibrated yet"
    else:
        seen = f"{proof.scoring.judge} sees at least {in_percent(proof.kappa)} of a loss"
        yield "judge", proof.kappa >= LEAST_KAPPA, f"{seen}; {in_percent(LEAST_KAPPA)} is needed"


def _labels(proof: Proof) -> Iterator[tuple[str, bool | None, Figures]]:
    if proof.scoring.kind != "label":
        return
    if worse := proof.segments.worse():
        yield "labels", False, f"much worse where your model answers {worse!r}"
    elif (most := proof.segments.most()) < 1:
        yield (
            "labels",
            None,
            f"at most {in_percent(most)} of the requests until every label that is not rare has enough pairs",
        )
    else:
        yield "labels", True, "none is much worse than the others"


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
