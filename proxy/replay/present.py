"""What a replay found, said to people: on a terminal, and as what the page shows."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from proxy.funnel import MEANING, NANO
from proxy.replay.outcome import NO_DAYS, Outcome, TaskOutcome
from proxy.replay.page import Bar, Page, TaskRow, dollars
from proxy.reporting import funnel_lines, possible_lines, print_lines

TITLES = {
    "not_chat": "Other endpoints",
    "tools": "Tools",
    "multi_turn": "Conversations",
    "not_text": "Images, audio, files",
    "n": "Several answers",
    "unknown_parameter": "Unknown parameters",
    "unrecognised": "No task recognised",
    "catch_all": "Free chat",
}


def say(outcome: Outcome, console: Console) -> None:
    """The same as `cuecard report`, of the log."""

    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    if not outcome.found.whole:
        line("partial: stopped before the end of the log")
    line(f"{about(outcome)}\n")
    print_lines(console, funnel_lines(outcome.funnel))
    tasks = [task for task in outcome.tasks if not task.match.catch_all]
    if tasks:
        line("\nWhat could be saved, estimated before any proof:")
        print_lines(console, possible_lines([task.possible for task in tasks]))
        console.print(_table(outcome, tasks))
    for note in _notes(outcome):
        line(note)


def page_of(outcome: Outcome) -> Page:
    bill, served = outcome.funnel.bill, outcome.funnel.step("matched").amount
    return Page(
        title="What Cuecard could save",
        about=about(outcome),
        total_usd=bill.usd,
        served_usd=served.usd,
        saving=outcome.saving,
        days=outcome.days,
        calls=bill.calls,
        bars=list(_bars(outcome)),
        tasks=[_row(outcome, task) for task in outcome.tasks if not task.match.catch_all],
        notes=list(_notes(outcome)),
        partial=not outcome.found.whole,
    )


def _row(outcome: Outcome, task: TaskOutcome) -> TaskRow:
    return TaskRow(
        name=task.match.name,
        template=task.match.template_text,
        model=task.model,
        calls_a_day=outcome.calls_a_day(task),
        usd=task.sums.cost,
        share=task.share,
        saving=task.saving,
        worth=task.possible.worth,
        why_not=task.possible.why_not,
    )


def _bars(outcome: Outcome) -> Iterator[Bar]:
    """Nothing in a log is live: what is left at the end are the recognised tasks."""
    bill, matched = outcome.funnel.bill, outcome.funnel.step("matched").amount
    left = bill.nano
    yield Bar("All calls", "", 0, bill.usd, bill.calls, bill.unknown)
    for step in outcome.funnel.steps:
        for group in step.excluded if step.name != "live" else ():
            left -= group.amount.nano
            title = TITLES.get(group.reason, group.reason.replace("_", " ").capitalize())
            amount = group.amount
            yield Bar(title, group.words, amount.usd, left / NANO, amount.calls, amount.unknown)
    yield Bar("Recognised tasks", MEANING["matched"], 0, matched.usd, matched.calls, matched.unknown)


def about(outcome: Outcome) -> str:
    """The files, and when the calls were made."""
    found = outcome.found
    names = [f"{name} ({form})" for name, form in found.reading.forms.items()]
    files = ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3:,} more files"
    times = f", {_day(found.first)} to {_day(found.last)}" if found.first is not None and found.last is not None else ""
    return f"{files}: {found.reading.calls:,} call{'' if found.reading.calls == 1 else 's'}{times}"


def _day(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")


def _notes(outcome: Outcome) -> Iterator[str]:
    found, reading = outcome.found, outcome.found.reading
    yield "Figures are estimates, at list prices. What a cheaper model can take over, only a proof on your calls shows."
    if counted := outcome.counted:
        yield f"Calls that named no usage, and whose tokens were counted: {counted:,}."
    if found.by_log:
        yield f"Calls that have no list price, and whose cost is the log's own: {found.by_log:,}."
    if found.log_usd:
        by_list = dollars(found.priced_usd)
        yield f"Calls whose cost the log names: {dollars(found.log_usd)} by the log, {by_list} by the list."
    if reading.passed_over:
        yield f"Passed over, for they are no calls of a model (spans, answers from a cache): {reading.passed_over:,}."
    if reading.unreadable:
        yield f"Could not be read: {reading.unreadable:,} ({'; '.join(reading.problems)})."
    if outcome.days is None:
        yield f"Calls a day, and with them savings, are not known: {NO_DAYS}."
    elif outcome.saving:
        yield "Ranges take every assumption at its worst and at its best. Savings are after what a control group costs."


def _table(outcome: Outcome, tasks: Sequence[TaskOutcome]) -> Table:
    table = Table("task", "model")
    for title in ("calls", "a day", "cost", "share"):
        table.add_column(title, justify="right", no_wrap=True)
    for task in tasks:
        a_day = outcome.calls_a_day(task)
        table.add_row(
            task.match.name,
            task.model,
            f"{task.sums.calls:,}",
            "-" if a_day is None else f"{a_day:,.1f}",
            dollars(task.sums.cost),
            f"{task.share:.1%}",
        )
    return table
