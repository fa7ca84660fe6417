"""`cuecard report` for a person at a terminal, from 80 columns on."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from textwrap import wrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from compiler.ledger import Sums
from compiler.pricing import PriceBook
from compiler.task import of_variant
from compiler.worth import Range, Worth
from proxy.funnel import MEANING, NANO, Funnel, Group, cost, count, dollars, total
from proxy.gates import in_words
from proxy.opinion import opinion_lines
from proxy.report import Report, TaskReport
from proxy.savings import Possible
from proxy.share import in_percent

TITLES = {"bill": "your app", "seen": "seen", "eligible": "eligible", "matched": "matched", "live": "live"}
BACKGROUND = ("compile", "shadow", "judge")  # roles
MONTH = 30  # days
NAME_WIDTH = 24
Line = tuple[str, str]  # what stands at the left, and the text beside it


def show_report(found: Report) -> None:
    console = Console(markup=False, highlight=False)  # a model's name is text
    if not found.tasks:
        console.print("nothing was called yet")
        return
    print_lines(console, funnel_lines(found.funnel))
    if found.possible:
        console.print("\nWhat could be saved, estimated from the last days, before any proof:")
        print_lines(console, possible_lines(found.possible))
    console.print()
    console.print(_table(found))
    outcomes = [(name, line) for name, task in sorted(found.tasks.items()) for line in task_lines(task, found.prices)]
    if outcomes:
        console.print("\nWhat became of each task:")
        print_lines(console, outcomes)
    said = [(name, line.strip()) for name, tally in found.feedback.items() for line in opinion_lines(tally)]
    if said:
        console.print("\nWhat users said of the answers, from 0 (bad) to 1 (good):")
        print_lines(console, said)


def print_lines(console: Console, lines: Iterable[Line]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold", max_width=NAME_WIDTH)
    grid.add_column(overflow="fold")
    for left, right in lines:
        grid.add_row(_named(left), Text(right))
    console.print(grid)


def _named(task: str) -> Text:
    """Recognised tasks have long names, of words with hyphens."""
    return Text("\n".join(wrap(task, NAME_WIDTH)), style="bold")


def funnel_lines(funnel: Funnel) -> Iterable[Line]:
    ours = total(group.amount for group in funnel.own)
    split = f"your app's {dollars(funnel.steps[0].amount.nano)}, Cuecard's own {dollars(ours.nano)}"
    yield "bill", f"{count(funnel.bill)}, {cost(funnel.bill)}: {split}"
    yield from _beside("+", funnel.own)
    for step in funnel.steps:
        yield from _beside("-", step.excluded)
        yield TITLES[step.name], f"{count(step.amount)}, {cost(step.amount, named=False)}: {MEANING[step.name]}"
    yield from _beside("=", funnel.served)
    if funnel.bill.unrecorded:
        yield "", f"asked that nothing of them be kept: {funnel.bill.unrecorded:,} requests"


def _beside(mark: str, groups: Iterable[Group]) -> Iterable[Line]:
    return (("", f"{mark} {group.sentence}") for group in groups)


def task_lines(task: TaskReport, prices: PriceBook) -> Iterator[str]:
    """Where its cards stand, and what that saved so far."""
    for stand in task.stands:
        variant = f"{stand.name}: " if stand.name != of_variant(stand.name) else ""
        served = f"{in_percent(stand.traffic)} of the calls" if stand.traffic else "none of the calls"
        loss = "as you vouched" if stand.bound is None and stand.traffic else in_words(stand.bound or 1.0)
        yield f"{variant}{stand.stage}, {served} on {stand.model}; {loss}"
    background = [(name, sums) for name in BACKGROUND if (sums := task.sums(name)).calls]
    if task.stands or task.replaced or background:
        spent = ", ".join(f"{name} {_usd(sums.cost)}" for name, sums in background)
        net, between = task.net_saving, task.saving_range(prices)
        if math.isinf(between.high):
            sure = ", give or take what is not known of your model"
        else:
            sure = f", {_signed(between.low)} to {_signed(between.high)}" if between.low < between.high else ""
        yield f"net saving {_signed(net)}{sure} (estimated)" + (f"; spent on {spent}" if spent else "")


def _signed(usd: float) -> str:
    return ("-" if usd < 0 else "+") + _usd(abs(usd))


def possible_lines(found: Sequence[Possible]) -> Iterable[Line]:
    for one in found:
        yield one.task, _in_words(one.worth) if one.worth else f"not known: {one.why_not}"


def _in_words(worth: Worth) -> str:
    calls = f"{worth.seen.calls_per_day:,.0f} calls a day"
    if worth.verdict == "no saving":
        return f"no saving: {worth.candidate} is no cheaper than {worth.incumbent} here ({calls})"
    month = Range(*(MONTH * usd for usd in worth.saving_per_day))
    compiling = f"{_usd(worth.compile_usd.low)} expected, {_usd(worth.compile_usd.high)} at most"
    return (
        f"{worth.verdict}: {_between(month, _usd)} a month on {worth.candidate} instead of {worth.incumbent}, "
        f"{calls}. Compile: {compiling}; proof: {_between(worth.proof_usd, _usd)}. "
        f"Calls to break even: {_between(worth.break_even_calls, _number)}; "
        f"days to pay back: {_between(worth.payback_days, _number)}."
    )


def _usd(usd: float) -> str:
    return dollars(round(usd * NANO))


def _number(value: float) -> str:
    return "never at worst" if math.isinf(value) else f"{math.ceil(value):,}"


def _between(ends: Range, shown: Callable[[float], str]) -> str:
    low, high = shown(ends.low), shown(ends.high)
    return low if low == high else f"{low} to {high}"


def _table(found: Report) -> Table:
    """Each task's name has a line of its own: it may be long."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("task\n  model", overflow="fold")
    table.add_column("for", no_wrap=True)
    for title in ("calls", "tokens\nin", "tokens\nout", "cost $", "baseline $\n(estimated)"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, task in sorted(found.tasks.items()):
        table.add_row(_named(name))
        for (model, use), sums in sorted(_by_use(task).items()):
            tokens = (str(sums.input + sums.cached_input + sums.cache_write), str(sums.output + sums.reasoning))
            baseline = f"{sums.baseline:.4f}" if sums.baselined else "-"
            table.add_row(f"  {model}", use, str(sums.calls + sums.unmetered), *tokens, _cost(sums), baseline)
    return table


def _by_use(task: TaskReport) -> dict[tuple[str, str], Sums]:
    """By model, and by route or role: reasons and endpoints are the funnel's."""
    found: dict[tuple[str, str], Sums] = {}
    for row, sums in task.rows.items():
        found.setdefault((row.model, row.route if row.role == "serve" else row.role), Sums()).add(sums)
    return found


def _cost(sums: Sums) -> str:
    """A `?` for calls that nobody knows the cost of."""
    unknown = sums.unpriced + sums.unmetered
    if not unknown:
        return f"{sums.cost:.4f}"
    return "?" if not sums.cost else f"{sums.cost:.4f} + ?"
