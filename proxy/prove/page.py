"""The report as one page of HTML for who decides: it needs nothing else, and asks nobody for anything."""

from pathlib import Path

from proxy.prove.plots import Bars, bars, line
from proxy.prove.report import Report
from proxy.prove.result import Result
from proxy.replay.page import dollars, environment, parts, put
from proxy.replay.present import about
from proxy.share import in_percent

TEMPLATES = Path(__file__).parent
MOST_CHARS = 8_000  # of a text
NAME_CHARS = 50  # of a task, over its bar


def write(report: Report, path: Path) -> None:
    """Raises OSError."""
    put(render(report), path)


def render(report: Report) -> str:
    made = environment(TEMPLATES)
    made.filters |= {"exactly": in_percent, "tenth": lambda share: f"{100 * share:.1f} %", "cut": _cut}
    return made.get_template("proof.html").render(
        report=report, about=about(report.outcome), savings=savings(report), line=_line, parts=parts
    )


def savings(report: Report) -> Bars | None:
    """In 30 days where that is known of all, else of the log."""
    known = [result for result in report.results if result.saving]
    monthly = all(result.saving and result.saving.month is not None for result in known)
    return bars([(_short(result.case.task.name), *_saved(result, monthly=monthly)) for result in known])


def _saved(result: Result, *, monthly: bool) -> tuple[float, str, bool]:
    saving, passed = result.saving, result.verdict == "pass"
    assert saving
    usd = saving.month if monthly and saving.month is not None else saving.of_log
    when = "a month" if monthly else "in this log"
    return usd, f"{dollars(usd)} {when} ({in_percent(saving.share)}){'' if passed else ', not proven'}", passed


def _line(result: Result) -> object:
    return line(result.points, result.margin)


def _cut(text: str) -> str:
    more = len(text) - MOST_CHARS
    return text if more <= 0 else f"{text[:MOST_CHARS]}… ({more:,} more characters)"


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARS else f"{name[: NAME_CHARS - 1]}…"
