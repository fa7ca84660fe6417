"""A proof of a log, said on a terminal of 80 columns. What is shown may be a log's: nothing of it moves the cursor."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.beside import plain
from proxy.funnel import count
from proxy.prove.report import Report
from proxy.prove.result import Result
from proxy.replay.page import dollars
from proxy.share import in_percent
from proxy.showing import wrapped

LISTED = 10  # tasks that were not tried


def say(report: Report, console: Console) -> None:
    def lines(text: str, indent: int) -> None:
        for line in wrapped(plain(text), indent=indent + 4, first=" " * indent):
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    lines(report.sentence, -4)
    if report.results:
        console.print(_table(report.results))
    for text, indent in (*_reasons(report), *_untried(report), *_costs(report)):
        lines(text, indent)


def _table(results: Sequence[Result]) -> Table:
    table = Table("task", "verdict")
    for title in ("at most worse", "pairs", "differ", "saves"):
        table.add_column(title, justify="right", no_wrap=True)
    for result in results:
        proof, saving = result.proof, result.saving
        table.add_row(
            Text(plain(result.case.task.name), overflow="fold"),
            result.verdict,
            in_percent(proof.bound) if proof and proof.bound < 1 else "-",
            f"{proof.pairs:,}" if proof else "-",
            in_percent(result.differing / proof.pairs) if proof and proof.pairs else "-",
            f"{100 * saving.share:.0f} %" if saving and result.verdict == "pass" else "-",
        )
    return table


def _reasons(report: Report) -> Iterator[tuple[str, int]]:
    """Each with its indent."""
    for result in report.results:
        on = f" on {result.card.model}" if result.card else ""
        yield f"{result.case.task.name}: {result.verdict}{on}: {result.reason}", 0
        if result.verdict == "pass" and result.saving and result.saving.month is not None:
            month = dollars(result.saving.month)
            yield f"saves an estimated {month} in 30 days, at the log's traffic and prices", 4
        for note in result.notes:
            yield note, 4


def _untried(report: Report) -> Iterator[tuple[str, int]]:
    if report.untried or report.groups:
        yield "not tried:", 0
    for one in report.untried[:LISTED]:
        yield f"{one.task} ({one.requests.calls:,} calls, {dollars(one.requests.usd)}): {one.reason}", 4
    if more := report.untried[LISTED:]:
        calls, usd = (sum(getattr(one.requests, name) for one in more) for name in ("calls", "usd"))
        yield f"{len(more):,} tasks more ({calls:,} calls, {dollars(usd)}): see the report", 4
    for group in report.groups:
        yield f"{count(group.amount)}, {dollars(group.amount.usd)}: they {group.words}", 4


def _costs(report: Report) -> Iterator[tuple[str, int]]:
    parts = [f"{cost.model} ({cost.role}) {dollars(cost.usd)}" for cost in report.costs]
    paid = f"{dollars(report.usd)} of at most {dollars(report.max_usd)}"
    yield f"paid: {paid}{': ' if parts else ''}{', '.join(parts)}", 0
