"""Which of two answers is better, asked of a third model in both orders.

What it compares is hostile data: it stands between tags that nobody who writes an answer can know.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compiler.errors import JudgeIsArm, ModelBusy, ModelFailed
from compiler.llm import Llm, Purpose, Reply
from compiler.meta import dialogue
from compiler.score import Question, Scored, Scoring
from compiler.store import Store
from compiler.task import Contract

RULES = "judge.v1"
MOST_CHARS = 60_000  # of all that a judge is shown: longer is refused, for a cut answer would be judged by its cut
VERDICT_TOKENS = 300
NONCE_CHARS = 16
SNAPSHOT = re.compile(r"(-\d{4}-\d{2}-\d{2}|-\d{8}|-\d{4}|[-:]latest|@.*)$")
LINE = re.compile(r"[*`_ ]*VERDICT: *(A|B|TIE)[*`_. ]*")  # some models can't but emphasise
PREFERS = {"A": 1.0, "TIE": 0.0, "B": -1.0}


@dataclass(frozen=True)
class Verdict:
    """From -1 to 1, 1: the candidate's answer is worse. The mean of both orders, so that a flip is a tie. `said`: the
    judge's own words, in the first order."""

    d: float
    said: str = field(default="", compare=False)


@dataclass(frozen=True)
class Unjudged:
    """No verdict, and asking again would bring none: too_long, refused, cut_off, unreadable or failed."""

    reason: str


def secret(store: Store) -> bytes:
    """What the nonces of this store are made from: drawn once, so that a question asked again after a kill is the same
    question, and its answer is kept."""
    with store.transact():
        if not (kept := store.get("judge:secret")):
            kept = secrets.token_hex(32)
            store.put("judge:secret", kept)
    return bytes.fromhex(kept)


def scoring_of(contract: Contract, judge: str | None) -> Scoring:
    """A card's definition of d. Another judge, or a new version of its rules, is another proof."""
    return Scoring(contract.kind, judge, RULES if judge else None)


def judge_for(llm: Llm, candidate: str, incumbent: str | None) -> str | None:
    """The configured judge, where it can compare these two; None where nobody can: then every difference is a loss.
    Said here alone, for cards and for their proofs."""
    judge = llm.models.judge
    if judge is None or is_arm(judge, (candidate, incumbent or "")) or llm.unusable(judge):
        return None
    return judge


def is_arm(judge: str, arms: Sequence[str]) -> bool:
    """Nobody judges an answer of his own. A snapshot is the same model, and so is another upstream's model of that
    name."""
    return _family(judge) in map(_family, arms)


def check(judge: str, arms: Sequence[str]) -> None:
    """Raises JudgeIsArm."""
    if is_arm(judge, arms):
        raise JudgeIsArm(
            f"the judge {judge} can't compare answers of {' and '.join(arms)}, one of which is the same model; "
            "set `models.judge` to one that is neither the current model nor a production model"
        )


class Judge:
    """Compares the answers of `arms`, none of which it may be. Raises JudgeIsArm, and ModelFailed where no background
    call may be made with it."""

    def __init__(self, llm: Llm, model: str, nonces: bytes, *, arms: Sequence[str]) -> None:
        check(model, arms)
        if problem := llm.unusable(model):
            raise ModelFailed(problem)
        self.model = model
        self._llm = llm
        self._nonces = nonces

    async def compare(self, question: Question, instructions: str, purpose: Purpose) -> Verdict | Unjudged:
        """Two calls, or one where that has no verdict, booked as `judge`.

        Raises BudgetExceeded, ModelBusy and ModelFailed: then nothing is known of this pair, and it has to be asked
        again. Both orders' answers are kept in the purpose's scope: a second time they cost nothing.
        """
        parts = (instructions, question.input, question.expected or "", question.incumbent, question.candidate)
        if sum(map(len, parts)) > MOST_CHARS:
            return Unjudged("too_long")
        first = await self._ask(question, question.incumbent, question.candidate, instructions, purpose)
        if isinstance(first, Unjudged):
            return first
        second = await self._ask(question, question.candidate, question.incumbent, instructions, purpose)
        return second if isinstance(second, Unjudged) else Verdict((first.d - second.d) / 2, first.said)

    async def settle(self, question: Question, instructions: str, purpose: Purpose, *, last: bool = False) -> Scored:
        """The pair's d. Raises as `compare` does; with `last` a call that fails is no verdict instead.

        A pair that is asked again for ever would be dropped, and those are not just any pairs: so a caller asks a few
        times, while other pairs are judged, and then says that it was the last time.
        """
        try:
            found = await self.compare(question, instructions, purpose)
        except ModelBusy:
            raise
        except ModelFailed:
            if not last:
                raise
            found = Unjudged("failed")
        if isinstance(found, Unjudged):
            return question.unjudged(found.reason)
        return question.answered(found.d, found.said)

    async def _ask(self, question: Question, a: str, b: str, instructions: str, purpose: Purpose) -> Verdict | Unjudged:
        messages = ask_for_verdict(question, a, b, instructions, self._nonces)
        reply = await self._llm.ask(
            self.model, messages, replace(purpose, role="judge", patient=True), max_tokens=VERDICT_TOKENS
        )
        return read_verdict(reply)


def ask_for_verdict(question: Question, a: str, b: str, instructions: str, nonces: bytes) -> list[dict[str, Any]]:
    """The dialogue: all that is data between tags that end in a nonce of this call."""
    texts = {
        "instructions": instructions,
        "input": question.input,
        "expected": "(not known)" if question.expected is None else question.expected,
        "A": a,
        "B": b,
    }
    values = {name: _sendable(text) for name, text in texts.items()}
    return dialogue(RULES, {**values, "nonce": _nonce([*values.values()], nonces)})


def _nonce(texts: Sequence[str], nonces: bytes) -> str:
    """Not known to who wrote these texts, in none of them, and the same whenever the same is asked."""
    text = "\0".join(f"{len(text)}:{text}" for text in texts)
    found = hmac.new(nonces, text.encode(), hashlib.sha256).hexdigest()
    while any(found[:NONCE_CHARS] in text for text in texts):
        found = hashlib.sha256(found.encode()).hexdigest()
    return found[:NONCE_CHARS]


def read_verdict(reply: Reply) -> Verdict | Unjudged:
    """Strict: the answer's last line, and no second one of its form anywhere; or the word alone."""
    text = reply.text.strip()
    if not text or reply.finish_reason == "content_filter":
        return Unjudged("refused")
    if reply.finish_reason not in ("", "stop"):
        return Unjudged("cut_off")
    if text in PREFERS:
        return Verdict(PREFERS[text])
    *before, last = (LINE.fullmatch(line) for line in text.split("\n"))
    if not last or any(before):
        return Unjudged("unreadable")
    return Verdict(PREFERS[last[1]], text.rpartition("\n")[0].strip())


def _sendable(text: str) -> str:
    """Half a surrogate pair, which JSON can name, has no bytes."""
    return text.encode("utf-8", "replace").decode()


def _family(model: str) -> str:
    return SNAPSHOT.sub("", model.rpartition("/")[2].lower())
