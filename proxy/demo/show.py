"""What the demo found, no wider than 80 columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from proxy.demo.rows import TEST_ROWS
from proxy.demo.setting import Setting, bare

__all__ = ["Measured", "Result", "accuracies", "money", "paid_back", "show", "show_prompt"]


@dataclass
class Measured:
    right: int = 0
    of: int = 0
    fallbacks: int = 0
    usd: float = 0.0

    def __str__(self) -> str:
        return f"{self.right / self.of:.0%} ({self.right}/{self.of})" if self.of else "-"

    @property
    def per_1000(self) -> str:
        return f"{self.usd / self.of * 1_000:.4f}" if self.of else "-"


@dataclass(frozen=True)
class Result:
    """One task: its three accuracies, its card, and its part of /admin/report."""

    name: str
    before: Measured
    plain: Measured
    after: Measured
    state: dict[str, Any]
    report: dict[str, Any]

    @property
    def break_even(self) -> float | None:
        """Calls until the compile is paid back; inf: never, None: not measured."""
        before, after = self.before, self.after
        if not (before.of and after.of and self.state["card"]):
            return None
        saved = before.usd / before.of - after.usd / after.of
        return self.report["compile_usd"] / saved if saved > 0 else float("inf")


def show(say: Console, setting: Setting, results: Sequence[Result], seconds: float) -> None:
    for result in results:
        show_prompt(say, result)
    say.print(accuracies(setting, results), money(results))
    for result in results:
        say.print(paid_back(result), highlight=False)
    say.print(
        f"Accuracy is against CLINC150's own labels, {TEST_ROWS} test rows a task: a difference under about "
        f"{100 / TEST_ROWS**0.5:.0f} points is noise. {setting.footnote} "
        "The break-even is from the measured calls, the net saving from estimated baselines. "
        f"Took {seconds:.0f} s.",
        highlight=False,
    )


def show_prompt(say: Console, result: Result) -> None:
    card = result.state["card"]
    if card is None:
        say.print(f"{result.name}: no card, {result.state['state']['reason']}", markup=False)
        return
    shown = len(card["program"]["demonstrations"])
    scores = ", ".join(f"{s['name']} {s['right']}/{s['of']}" for s in card["scores"])
    say.print(
        f"\n{result.name}: compiled prompt ({card['winner']}; {shown} demonstrations; held-out: {scores})",
        markup=False,
        highlight=False,
    )
    say.print(card["program"]["system"], markup=False, style="dim")


def accuracies(setting: Setting, results: Sequence[Result]) -> Table:
    current, cheap = bare(setting.current), bare(setting.cheap)
    table = Table("task", current, f"{cheap}\nalone", f"{cheap}\nwith the card", title="answered as labelled")
    for result in results:
        table.add_row(result.name, str(result.before), str(result.plain), str(result.after))
    return table


def money(results: Sequence[Result]) -> Table:
    headers = ("1,000 calls\nbefore", "1,000 calls\nwith it", "its\ncompile", "net saving\nso far", "paid back\nafter")
    table = Table("task", title="US dollars, before the card and with it")
    for header in headers:
        table.add_column(header, justify="right")
    for result in results:
        compiled, net = result.report["compile_usd"], result.report["net_saving_usd_estimated"]
        per_call = (result.before.per_1000, result.after.per_1000)
        table.add_row(result.name, *per_call, f"{compiled:.4f}", f"{net:+.4f}", _calls(result.break_even))
    return table


def paid_back(result: Result) -> str:
    made, net = result.report["requests"], result.report["net_saving_usd_estimated"]
    so_far = f"after the {made} calls of this run the net saving is {'-' if net < 0 else ''}${abs(net):.4f} (estimated)"
    match result.break_even:
        case None:
            return f"{result.name}: when its compile is paid back was not measured; {so_far}."
        case calls if calls == float("inf"):
            return f"{result.name}: no cheaper a call, so its compile is never paid back; {so_far}."
        case calls:
            return f"{result.name}: its compile is paid back after {_calls(calls)}; {so_far}."


def _calls(count: float | None) -> str:
    if count is None:
        return "-"
    return "never" if count == float("inf") else f"{count:,.0f} calls"
