"""The search for one cheap model's best prompt: from the app's own, by rungs that each have to be worth their calls.

A prompt takes the best one's place only where it lost less on the very same examples; which examples those are, and in
what order prompts are tried, follows from the task alone: killed and begun again, a compile asks the same questions and
finds the answers that it paid for.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Protocol

from compiler.errors import BudgetExceeded, ModelRefused
from compiler.evidence import Futility
from compiler.example import Example, Split, choose_demonstrations
from compiler.guard import refuse, showable, with_invariants
from compiler.marks import JUDGED, VERDICT_CALLS, Mark, Marker, OutOfCalls, score_of
from compiler.meta import Mistake, format_of, with_labels
from compiler.program import Prompt
from compiler.steps import Score
from compiler.task import Contract, Task
from compiler.tokens import TokenCounter

BLOCK = 8  # examples at a time: behind by BEHIND after one, or not ahead after two, a prompt is given up
BEHIND = 2.0
AHEAD = 1.5  # answers by which a prompt has to be better than the app's own
LOOKED_AT = 12  # examples on which mistakes are looked for
REFLECTIONS, FRUITLESS = 4, 2  # at most, and without success
DRAWS = 3  # of demonstrations, at random; the first of them before a meta model is asked anything
JUDGED_DEV, JUDGED_HOLDOUT = 10, 20  # of kinds where each example takes three calls
FEWEST = 4  # demonstrations of which no half is tried
TIE = 1e-9
BROKEN_SHARE = 0.1  # of answers that break the contract: then the format is said once more
ORIGINAL = "original"

Tell = Callable[..., None]
"""Of a step: its name, its line, and its scores."""


@dataclass(frozen=True)
class Candidate:
    name: str
    prompt: Prompt


@dataclass
class Found:
    """The best prompt of one model. `sealed`: its marks on the sealed holdout; none where it was not looked at.
    `hopeless`: why no proof would end well."""

    model: str
    best: Candidate
    marks: list[Mark]
    original: list[Mark]
    scores: list[Score]
    sealed: list[Mark] = field(default_factory=list)
    holdout: tuple[Example, ...] = ()
    usd_per_call: float | None = None  # of the app's own model
    hopeless: str = ""

    @property
    def loss(self) -> float:
        return sum(mark.loss for mark in self.marks) / len(self.marks) if self.marks else 1.0


class Writer(Protocol):
    """A meta model. Raises ModelRefused where there is no prompt in what it wrote, or it may be asked no more."""

    async def rules(self, model: str) -> str: ...

    async def better(self, prompt: str, mistakes: Sequence[Mistake], model: str) -> str: ...

    async def invariants(self) -> Sequence[str]:
        """What every prompt has to hold word for word."""


@dataclass
class Ladder:
    """`from_traffic`: what is shown has to be such that everybody may read it."""

    task: Task
    contract: Contract
    examples: Split
    marker: Marker
    writer: Writer
    margin: float
    seed: str
    tell: Tell
    from_traffic: bool
    found: Found = field(init=False)

    async def climb(self) -> Found:
        """Raises ModelFailed, and BudgetExceeded while nothing is known of the app's own prompt, or where a later day's
        money lets it go on; else the money's end is the search's."""
        await self._headroom()
        if self._is_good():
            self.tell("good already", "the app's own prompt is left as it is", ())
        else:
            await self._search()
        await self._open_the_seal()
        return self.found

    @property
    def _dev(self) -> tuple[Example, ...]:
        return self.examples.dev[-JUDGED_DEV:] if self._judged else self.examples.dev

    @property
    def _holdout(self) -> tuple[Example, ...]:
        return self.examples.holdout[-JUDGED_HOLDOUT:] if self._judged else self.examples.holdout

    @property
    def _judged(self) -> bool:
        """Whether each example takes a judge's calls too."""
        return self.marker.judge is not None and self.contract.kind in JUDGED

    @property
    def _spare(self) -> int:
        most = self.marker.most_calls(len(self._holdout))
        differing = self.marker.judge is not None and not self._judged
        return most + differing * VERDICT_CALLS * (len(self._holdout) // 4)

    def _affords(self, examples: int) -> bool:
        return self.marker.allowance.left - self._spare >= self.marker.most_calls(examples)

    async def _headroom(self) -> None:
        own = Candidate(ORIGINAL, Prompt(self.task.instructions))
        marks = await self.marker.mark(own.prompt, self._dev)
        self.found = Found(self.marker.model, own, marks, marks, [score_of(ORIGINAL, marks)])
        self._tell_score("headroom", self.found.scores[0])

    def _is_good(self) -> bool:
        return self.found.loss <= self.margin / 2 and not any(mark.broken for mark in self.found.marks)

    async def _search(self) -> None:
        try:
            await self._seeds()
            await self._reflect()
            for number in range(2, DRAWS + 1):
                await self._draw(number)
            await self._fewer()
        except OutOfCalls:
            self.tell("search", "ends here: the calls that it may take are used up", ())
        except BudgetExceeded as error:
            if error.scope == "day":
                raise
            self.tell("search", f"ends here: {error}", ())

    async def _seeds(self) -> None:
        broken = sum(bool(mark.broken) for mark in self.found.original)
        if broken >= BROKEN_SHARE * len(self.found.original):
            await self._try(Candidate("original + format", self._prompt(self._with_format(self.task.own_words))))
        if shown := self._demonstrations(None):
            await self._try(Candidate("original + demonstrations", self._prompt(self.task.own_words, shown)))
            await self._draw(1)
        if not self._can_improve():
            return
        if not self._affords(len(self._dev)):  # what could not be tried is not paid for
            raise OutOfCalls
        rules = await self._written("rules", self.writer.rules(self.marker.model))
        if rules is None:
            return
        await self._try(Candidate("rules", self._prompt(rules)))
        if shown := self._shown_by_best or shown:
            await self._try(Candidate("rules + demonstrations", self._prompt(rules, shown)))

    @property
    def _wanted(self) -> float:
        """By so many answers the next prompt has to be better; on few examples one is a good deal."""
        return AHEAD if self.found.best.name == ORIGINAL and len(self._dev) > 2 * BLOCK else 0.0

    def _can_improve(self) -> bool:
        return self._most_gain(self.found.marks) > self._wanted

    def _most_gain(self, marks: Sequence[Mark]) -> float:
        least = -1.0 if self._judged else 0.0
        return sum(mark.loss - least for mark in marks)

    async def _reflect(self) -> None:
        """The meta model sees what goes wrong, on examples that choose nothing."""
        fruitless = 0
        for number in range(REFLECTIONS):
            shown = [e for e in self.examples.reflect if not self.found.best.prompt.shows(e.input)][::-1]
            looked_at = shown[number * LOOKED_AT :][:LOOKED_AT]
            if not looked_at or fruitless >= FRUITLESS or not self._can_improve():
                return
            if not self._affords(len(looked_at) + len(self._dev)):
                return
            best = self.found.best
            mistakes = await self._mistakes(best.prompt, looked_at)
            if not mistakes:
                return
            base = best.prompt.system or self.task.own_words or self.task.wording
            writing = self.writer.better(base, mistakes, self.marker.model)
            better = await self._written(f"reflection {number + 1}", writing)
            taken = better is not None and await self._try(
                Candidate(f"reflection {number + 1}", self._prompt(better, self._shown_by_best))
            )
            fruitless = 0 if taken else fruitless + 1

    async def _mistakes(self, prompt: Prompt, examples: Sequence[Example]) -> list[Mistake]:
        marks = await self.marker.mark(prompt, examples)
        wrong = [(e, mark) for e, mark in zip(examples, marks, strict=True) if mark.loss > 0]
        return [Mistake(prompt.content(e.input), e.expected, mark.answer) for e, mark in wrong]

    @property
    def _shown_by_best(self) -> tuple[Example, ...]:
        """Its demonstrations in the form of the prompts that are written."""
        best = self.found.best.prompt
        return best.demonstrations if best.frame == self.task.frame else ()

    async def _draw(self, number: int) -> None:
        """Other demonstrations under the best instructions. Which are shown matters: among a few, one that the app's
        own model got wrong misleads."""
        shown = self._demonstrations(Random(f"{self.seed}:{number}"))
        if shown and self._can_improve() and self._affords(len(self._dev)):
            best = self.found.best.prompt
            base = best.system if best.frame == self.task.frame else self.task.own_words
            await self._try(Candidate(f"other demonstrations {number}", self._prompt(base, shown)))

    async def _fewer(self) -> None:
        """Half of them, where that is as good: each is paid for on every call."""
        name = f"{self.found.best.name}, fewer"
        while len(shown := self.found.best.prompt.demonstrations) > FEWEST and self._affords(len(self._dev)):
            best = self.found.best
            half = Candidate(name, replace(best.prompt, demonstrations=shown[: len(shown) // 2]))
            if not await self._try(half, tie=True):
                return

    async def _try(self, candidate: Candidate, *, tie: bool = False) -> bool:
        """Whether it took the best one's place. In blocks, and no further than it can still win; `tie`: where it is
        cheaper, to be as good is to win."""
        if not self._affords(len(self._dev)):
            raise OutOfCalls
        marks: list[Mark] = []
        best, wanted = self.found.marks, -TIE if tie else self._wanted
        for start in range(0, len(self._dev), BLOCK):
            marks += await self.marker.mark(candidate.prompt, self._dev[start : start + BLOCK])
            gain = sum(b.loss - mark.loss for b, mark in zip(best, marks, strict=False))
            idle = gain <= 0 and start > 0 and not tie
            if gain <= -BEHIND or idle or gain + self._most_gain(best[len(marks) :]) <= wanted:
                break
        whole = len(marks) == len(self._dev)
        scored = score_of(candidate.name, marks, stopped=not whole)
        self.found.scores.append(scored)
        wins = whole and gain > wanted and self._saves(marks)
        self._tell_score(candidate.name, scored, "the best so far" if wins else "")
        if wins:
            self.found.best, self.found.marks = candidate, marks
        return wins

    def _saves(self, marks: Sequence[Mark]) -> bool:
        """Whether a call costs less than one of the app's own model."""
        theirs = self.incumbent_usd
        return theirs is None or sum(mark.usd for mark in marks) < theirs * len(marks)

    @cached_property
    def incumbent_usd(self) -> float | None:
        """Of a call of the app's own model, as far as its price is known: the same tokens in, at the same cache rate,
        and as many out as the wanted answers have here."""
        name, tokens = self.task.incumbent, TokenCounter()
        rates = self.marker.llm.prices.rates(name) if name else None
        if rates is None or not self.found.original:
            return None
        usages = [mark.usage for mark in self.found.original]
        out = sum(tokens.text(example.expected) for example in self._dev)
        total = rates.cost_of(sum(u.input for u in usages), sum(u.cached_input for u in usages), 0, out)
        return total / len(usages)

    async def _open_the_seal(self) -> None:
        """Once, for the one that was chosen; no further than until it is clear that it fails."""
        found = self.found
        found.holdout, found.usd_per_call = self._holdout, self.incumbent_usd
        final = self.marker.judge is None or self._judged  # no judge may yet call a difference a tie
        chosen_by = found.marks if final else []  # elsewhere it can only be worse
        if _futile(chosen_by, self.margin):
            found.hopeless = f"loses {_lost(found.marks)} of {len(found.marks)} with {found.best.name!r}"
            return
        try:
            for start in range(0, len(self._holdout), BLOCK):
                block = self._holdout[start : start + BLOCK]
                if self.marker.allowance.left < len(block) * (1 + VERDICT_CALLS * (self.marker.judge is not None)):
                    break
                found.sealed += await self.marker.sealed(found.best.prompt, block)
                if _futile([*chosen_by, *found.sealed], self.margin):
                    found.hopeless = f"loses {_lost(found.sealed)} of {len(found.sealed)} sealed examples"
                    break
        except BudgetExceeded as error:
            if error.scope == "day":
                raise
            self.tell("sealed examples", f"not all looked at: {error}", ())
        self._tell_score("sealed examples", score_of(found.best.name, found.sealed), found.hopeless)

    def _demonstrations(self, random: Random | None) -> tuple[Example, ...]:
        shown = choose_demonstrations(self._showable, self.contract, random=random)
        return tuple(Example(self.task.content(one.input), one.expected) for one in shown)

    @cached_property
    def _showable(self) -> list[Example]:
        examples = self.examples.reflect
        if not self.from_traffic:
            return [*examples]
        texts = [
            self.task.content(e.input) if self.contract.kind == "label" else f"{e.input}\n{e.expected}"
            for e in examples
        ]
        return [example for example, fits in zip(examples, showable(texts), strict=True) if fits]

    def _prompt(self, system: str, shown: tuple[Example, ...] = ()) -> Prompt:
        return Prompt(system, shown, self.task.frame)

    def _with_format(self, text: str) -> str:
        said = f"Answer in this form and with nothing else: {format_of(self.contract)}."
        return with_labels(f"{text}\n\n{said}", self.contract)

    async def _written(self, name: str, writing: Awaitable[str]) -> str | None:
        """A prompt with all that the app's own forbids and demands, and with nothing of its traffic."""
        try:
            text = with_invariants(await writing, await self.writer.invariants())
            refuse(text, self.task.wording, self._values, self._allowed)
        except ModelRefused as error:
            self.tell(name, f"not taken: {error}", ())
            return None
        return text

    @cached_property
    def _values(self) -> list[str]:
        """What no prompt may quote: the data of all examples, the sealed ones too, and answers in free form."""
        every = self.examples.every
        answers = [] if self.contract.kind == "label" else [example.expected for example in every]
        return [*(self.task.content(example.input) for example in every), *answers]

    @property
    def _allowed(self) -> Sequence[str]:
        return (*self.contract.labels, *self.contract.keys, self._with_format(""))

    def _tell_score(self, name: str, scored: Score, more: str = "") -> None:
        stopped = ", no further" if scored.stopped else ""
        self.tell(name, f"{scored} as wanted{stopped}" + (f"; {more}" if more else ""), (scored,))


def _futile(marks: Sequence[Mark], margin: float) -> bool:
    futility = Futility(margin)
    for mark in marks:
        futility.add(mark.loss)
    return futility.futile


def _lost(marks: Sequence[Mark]) -> str:
    return f"{sum(max(0.0, mark.loss) for mark in marks):.4g}"
