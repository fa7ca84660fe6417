"""What was measured, for people."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.quality.figures import Bar, Measured, agreement, wilson
from bench.quality.results import Result
from proxy.demo.setting import LOCAL

SEARCHES = ("card", "gepa")


def quality(found: Measured) -> Table:
    table = Table(title="Right by the gold answers, with 95 % intervals", title_justify="left")
    table.add_column("task")
    table.add_column("arm")
    for heading in ("right", "of", "95 %", "served", "same as\ncurrent", "$ for 1,000\nanswers", "s an\nanswer"):
        table.add_column(heading, justify="right")
    table.add_column("prompt", overflow="fold")
    for task, arms in found.items():
        for number, (name, one) in enumerate(arms.items(), 1):
            low, high = wilson(sum(one.right), len(one.right))
            current = arms.get("incumbent")
            table.add_row(
                task if number == 1 else "",
                name,
                f"{one.accuracy:.2f}",
                str(len(one.right)),
                f"{low:.2f} - {high:.2f}",
                f"{one.served(current):.2f}" if current and name == "card" else "",
                f"{agreement(one, current):.2f}" if current else "-",
                f"{one.usd_per_1000:.3f}",
                "-" if one.kept else f"{one.gold_seconds / len(one.right):.2f}",
                "kept" if one.kept else escape(one.winner),
                end_section=number == len(arms),
            )
    return table


def reasons(found: Measured) -> list[str]:
    """Why there is no card, and what a search had at best then."""
    kept = [one for arms in found.values() for one in arms.values() if one.kept]
    best = {one.task: "" if one.best is None else f" (best seen: {one.best:.2f})" for one in kept}
    return [f"{one.task} is kept: {one.kept}{best[one.task]}" for one in kept]


def searches(found: Measured) -> Table:
    table = Table(title="What the searches took, as the models' servers saw it", title_justify="left")
    table.add_column("task")
    table.add_column("arm")
    headings = ("meta\ncalls", "candidate\ncalls", "failed", "input\ntokens", "of them\ncached", "output\ntokens")
    for heading in (*headings, "$ as\npriced", "s", "best\nseen"):
        table.add_column(heading, justify="right")
    for task, arms in found.items():
        for name in SEARCHES:
            if one := arms.get(name):
                table.add_row(task, name, *_search(one))
    return table


def _search(one: Result) -> list[str]:
    both = (one.meta, one.candidate)
    return [
        *(str(tally.calls) for tally in both),
        str(sum(tally.failed for tally in both)),
        *(f"{sum(getattr(tally, name) for tally in both):,}" for name in ("input", "cached", "output")),
        f"{sum(tally.usd for tally in both):.4f}",
        f"{one.seconds:.0f}",
        "-" if one.best is None else f"{one.best:.2f}",
    ]


def verdicts(bars: Sequence[Bar]) -> Table:
    table = Table("bar", "wanted", "seen", "", title="Bars (told only: in brackets)", title_justify="left")
    for bar in bars:
        verdict = "" if bar.seen is None else "pass" if bar.passed else "[red]FAIL[/]"
        seen = "not measured" if bar.seen is None else escape(bar.seen)
        table.add_row(bar.name, bar.wanted, seen, f"({verdict})" if bar.told and verdict else verdict)
    return table


def footnote() -> str:
    return f"{LOCAL.footnote} The meta model is the current one."


def as_json(found: Measured, bars: Sequence[Bar]) -> dict[str, Any]:
    """Figures only: no text of a data set."""
    shown = {}
    for task, arms in found.items():
        shown[task] = {name: _figures(one, arms.get("incumbent")) for name, one in arms.items()}
    return {"tasks": shown, "bars": [bar.__dict__ for bar in bars]}


def _figures(one: Result, current: Result | None) -> dict[str, Any]:
    told = ("kept", "winner", "best", "rewritten", "seconds", "gold_seconds")
    return {
        "right": sum(one.right),
        "of": len(one.right),
        "interval": wilson(sum(one.right), len(one.right)),
        "agreement": agreement(one, current) if current else None,
        **{name: getattr(one, name) for name in told},
        **{name: getattr(one, name).to_json() for name in ("meta", "candidate", "gold")},
        "breaches": sum(one.breached),
        "served": one.served(current) if current else None,
        "usd_per_1000": one.usd_per_1000,
    }
