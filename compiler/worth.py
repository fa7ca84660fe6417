"""What compiling a task could save, as a range, and whether that pays for the compile and its proof. Pure.

An estimate from what a task's traffic was seen to be, prices, and a few assumptions that are all in `Assumed`. In each
range the low end takes every assumption at its worst, the high end at its best; the truth is in between, and only the
proof tells where. US dollars, tokens, days.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from compiler.pricing import PriceBook, Rates
from compiler.task import Kind

Verdict = Literal["worth it", "perhaps", "not worth it", "no saving"]
DAYS, TIMES = 30, 3  # worth it: the calls of so many days are more than so many times those that break even


class Range(NamedTuple):
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """None: never."""
        return {name: value if math.isfinite(value) else None for name, value in self._asdict().items()}


@dataclass(frozen=True)
class Seen:
    """A task's traffic: calls a day, and the mean tokens of one on the app's own model. `cached_input` is a part of
    `input`, and reasoning a part of `output`."""

    calls_per_day: float
    input: float
    output: float
    cached_input: float = 0.0
    kind: Kind | None = None  # of its output; None: not known

    @property
    def cached_share(self) -> float:
        return min(1.0, self.cached_input / self.input) if self.input else 0.0


class Assumed(NamedTuple):
    """What is not known before a compile.

    `growth`: tokens that a compiled prompt is longer by. They are static and stand first, so that the same share of
    them is cached as of the rest. `output`: length of a candidate's answers, the incumbent's being 1. `servable`: share
    of a task's calls that its card serves, from half of them to all but the `control` group, each of which is a pair.
    `p_ok`: chance that a compile leads to a proof. The compile: `meta_calls` of the meta model, with so many tokens,
    and `scored` calls of the candidate. The judge reads both answers twice, in either order.
    """

    growth: Range = Range(0, 1_500)
    output: Range = Range(0.8, 1.2)
    servable: Range = Range(0.5, 0.98)
    p_ok: float = 0.5
    control: float = 0.02
    meta_calls: int = 6
    meta_input: int = 4_000
    meta_output: int = 2_000
    scored: int = 500
    judge_static: int = 400
    judge_output: Range = Range(20, 300)

    def pairs(self, kind: Kind | None) -> Range:
        """That a proof takes until all may be served: free text (margin .05) at 10 and at 40 % disagreement between the
        two models, the rest (margin .02) at 0 and at 10 %."""
        return Range(285, 1_430) if kind == "text" else Range(257, 2_400)

    def judged(self, kind: Kind | None) -> Range:
        """Share of the pairs that need the judge: all where text is free, else those that differ."""
        return Range(1, 1) if kind == "text" else Range(0, 1) if kind is None else Range(0, 0.1)


@dataclass(frozen=True)
class Terms:
    """Prices, and who would do what; `max_usd` bounds a compile."""

    prices: PriceBook
    production: tuple[str, ...]
    meta: str
    judge: str
    max_usd: float = 2.0
    assumed: Assumed = Assumed()

    def unpriced(self, incumbent: str) -> tuple[str, ...]:
        """The models without a known price: while there are any, nothing can be said, nor is anything compiled."""
        names = dict.fromkeys((incumbent, *self.production, self.meta, self.judge))
        return tuple(name for name in names if self.prices.rates(name) is None)


@dataclass(frozen=True)
class Worth:
    """Of one task on one candidate. Dollars are a call's where nothing else is said.

    `saving`: incumbent − candidate, of a call that the card serves; below 0 where the candidate is dearer.
    `net_saving`: of any call of the task: servable × saving − control × pair; the control group is compared for ever.
    `compile_usd`: what is expected, and the bound.
    `break_even_calls`: N* = (compile + pairs × (candidate + judge)) / (p_ok × net saving), in calls of the task;
    infinite without a saving.
    `payback_days`: until then from today, the pairs of the proof gathered first: (pairs + N*) / calls a day.
    """

    incumbent: str
    candidate: str
    seen: Seen
    incumbent_usd: float
    candidate_usd: Range
    saving: Range
    net_saving: Range
    compile_usd: Range
    pairs: Range
    proof_usd: Range
    break_even_calls: Range
    payback_days: Range

    @property
    def saving_per_day(self) -> Range:
        """Never below 0: what saves nothing is left alone."""
        return Range(*(max(0.0, self.seen.calls_per_day * usd) for usd in self.net_saving))

    @property
    def verdict(self) -> Verdict:
        """`worth it` even at worst, `not worth it` even at best: calls of 30 days against 3 × N*."""
        expected = self.seen.calls_per_day * DAYS
        if self.net_saving.high <= 0:
            return "no saving"
        if expected <= TIMES * self.break_even_calls.low:
            return "not worth it"
        return "worth it" if expected > TIMES * self.break_even_calls.high else "perhaps"

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "incumbent": self.incumbent,
            "candidate": self.candidate,
            "calls_per_day": self.seen.calls_per_day,
            "mean_input_tokens": self.seen.input,
            "mean_cached_input_tokens": self.seen.cached_input,
            "mean_output_tokens": self.seen.output,
            "incumbent_usd_per_call": self.incumbent_usd,
            "candidate_usd_per_call": self.candidate_usd.to_json(),
            "saving_usd_per_served_call": self.saving.to_json(),
            "net_saving_usd_per_call": self.net_saving.to_json(),
            "saving_usd_per_day": self.saving_per_day.to_json(),
            "compile_usd": {"expected": self.compile_usd.low, "at_most": self.compile_usd.high},
            "proof_pairs": self.pairs.to_json(),
            "proof_usd": self.proof_usd.to_json(),
            "break_even_calls": self.break_even_calls.to_json(),
            "payback_days": self.payback_days.to_json(),
        }


def best(seen: Seen, incumbent: str, terms: Terms) -> Worth | None:
    """On the production model that could save the most; None where a price is missing (`Terms.unpriced`)."""
    if terms.unpriced(incumbent):
        return None
    found = [worth(seen, incumbent, candidate, terms) for candidate in terms.production]
    return max(found, key=lambda worth: worth.net_saving.high)


def worth(seen: Seen, incumbent: str, candidate: str, terms: Terms) -> Worth:
    """Raises LookupError where a price is missing."""
    assumed, calls_per_day = terms.assumed, seen.calls_per_day
    own = _rates(incumbent, terms).cost_of(seen.input, seen.cached_input, 0, seen.output)
    cheap = _candidate(seen, _rates(candidate, terms), assumed)
    saving = Range(own - cheap.high, own - cheap.low)
    if _rates(candidate, terms) == _rates(incumbent, terms):  # shorter answers alone are no reason to expect any
        saving = Range(min(0.0, saving.low), 0.0)
    pair = _pair(seen, cheap, _rates(terms.judge, terms), assumed)
    net = Range(
        min(share * saving.low for share in assumed.servable) - assumed.control * pair.high,
        max(share * saving.high for share in assumed.servable) - assumed.control * pair.low,
    )
    pairs = assumed.pairs(seen.kind)
    proof = Range(pairs.low * pair.low, pairs.high * pair.high)
    compiling = Range(min(terms.max_usd, _compile(cheap, _rates(terms.meta, terms), assumed)), terms.max_usd)
    calls = Range(
        _per(compiling.low + proof.low, assumed.p_ok * net.high),
        _per(compiling.high + proof.high, assumed.p_ok * net.low),
    )
    days = Range(_per(pairs.low + calls.low, calls_per_day), _per(pairs.high + calls.high, calls_per_day))
    return Worth(incumbent, candidate, seen, own, cheap, saving, net, compiling, pairs, proof, calls, days)


def _candidate(seen: Seen, rates: Rates, assumed: Assumed) -> Range:
    """cost(input + growth, of which the share seen is cached, output × factor)."""
    found = []
    for growth, factor in zip(assumed.growth, assumed.output, strict=True):
        longer = seen.input + growth
        found.append(rates.cost_of(longer, longer * seen.cached_share, 0, seen.output * factor))
    return Range(*found)


def _pair(seen: Seen, cheap: Range, judge: Rates, assumed: Assumed) -> Range:
    """candidate + share judged × 2 orders × judge(instructions + input + both answers)."""
    found = []
    for candidate, share, output, factor in zip(
        cheap, assumed.judged(seen.kind), assumed.judge_output, assumed.output, strict=True
    ):
        read = assumed.judge_static + seen.input + seen.output * (1 + factor)
        found.append(candidate + share * 2 * judge.cost_of(read, 0, 0, output))
    return Range(*found)


def _compile(cheap: Range, meta: Rates, assumed: Assumed) -> float:
    """meta calls × meta(input, output) + scoring calls × candidate, its prompt at its longest."""
    return (
        assumed.meta_calls * meta.cost_of(assumed.meta_input, 0, 0, assumed.meta_output) + assumed.scored * cheap.high
    )


def _per(amount: float, by: float) -> float:
    return amount / by if by > 0 else math.inf


def _rates(model: str, terms: Terms) -> Rates:
    rates = terms.prices.rates(model)
    if rates is None:
        raise LookupError(f"no price is known for {model}")
    return rates
