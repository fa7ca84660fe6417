"""What a proof shows, for a person at a terminal of 80 columns."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from textwrap import wrap

from compiler.proof import Proof
from compiler.rollout import Entry
from proxy.dossier import Dossier, Stand
from proxy.gates import gates, in_words
from proxy.opinion import opinion_lines
from proxy.plot import plot
from proxy.share import in_percent

WIDTH = 80


def stand_line(stand: Stand, name: str = "") -> str:
    served = f"serves {in_percent(stand.traffic)}" if stand.traffic else "serves nothing"
    by = f" by {stand.card} on {stand.model}" if stand.card else ""
    why = f": {stand.reason}" if stand.reason else ""
    return f"{name}{stand.stage}, {served}{by}{why}"


def proof_lines(dossier: Dossier) -> Iterator[str]:
    if proof := dossier.proof:
        yield from _evidence(proof, dossier.begun)
    elif dossier.view.compiled and dossier.view.task.trust == "proven":
        yield "no proof of this card was begun yet"
    if dossier.usd:
        yield f"spent on proving so far: ${dossier.usd:.4f}"
    for line in opinion_lines(dossier.feedback):
        yield from wrapped(line)
    if said := _said(dossier):
        yield said
    yield from entry_lines(dossier.entries)


def entry_lines(entries: Iterable[Entry], *, with_task: bool = False) -> Iterator[str]:
    for entry in entries:
        when = moment(entry.time)
        about = f" {entry.task}" if with_task else ""
        what, why = (f" ({entry.what})" if entry.what else ""), (f": {entry.why}" if entry.why else "")
        yield from wrapped(f"{when}  {entry.who}  {entry.act}{about}{what}{why}")


def _evidence(proof: Proof, number: int) -> Iterator[str]:
    margin = proof.evidence.margin
    shown = f"{proof.pairs:,} pairs, {in_words(proof.bound)}, margin {in_percent(margin)}"
    yield from wrapped(f"proof {number} of {proof.card}, since {moment(proof.since)}: {shown}")
    if proof.history:
        yield "at most so much worse:"
        yield from plot([*proof.history, (proof.pairs, proof.bound)], margin)
    if proof.outcomes:
        counted = ", ".join(f"{outcome} {number:,}" for outcome, number in proof.outcomes.most_common())
        yield from wrapped(f"pairs by outcome: {counted}")
    for gate in gates(proof):
        yield from wrapped(f"{gate.mark:6}  {gate.name:7}  {gate.reason}", indent=17)


def _said(dossier: Dossier) -> str:
    said = dossier.said
    parts = []
    if said.approved:
        parts.append(f"approved: {said.approved}")
    if said.most < 1:
        parts.append(f"at most {in_percent(said.most)} of the requests")
    if said.paused:
        parts.append(f"paused: {said.paused}")
    return "; ".join(parts)


def moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def wrapped(text: str, indent: int = 4, first: str = "", width: int = WIDTH) -> list[str]:
    """Names are not broken at their hyphens."""
    return wrap(text, width, initial_indent=first, subsequent_indent=" " * indent, break_on_hyphens=False)
