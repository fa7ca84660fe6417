"""What the demo says before its story and after it, no wider than 80 columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from compiler.evidence import UNPROVEN
from proxy.demo.gold import Gold
from proxy.demo.known import SERVING
from proxy.demo.setting import MARGIN, Setting, bare
from proxy.demo.tale import COLUMNS, Tale
from proxy.funnel import NANO, dollars
from proxy.report import TaskReport
from proxy.share import in_percent

__all__ = ["Result", "introduce", "show"]

PROMPT_LINES = 12
PROVING = ("shadow", "judge")  # roles
NEXT = """\
Where to look next, in your own server's folder: `cuecard tasks` (what it
recognised), `cuecard report` (where each dollar goes), `cuecard show NAME` (the
evidence as a plot, each gate, the prompt), `cuecard diffs NAME --worst 20`; in
Grafana the same over time (`docker compose up`, grafana/dashboards)."""


@dataclass(frozen=True)
class Result:
    """`money` None: nothing was booked under the task's name."""

    tale: Tale
    money: TaskReport | None
    gold: Gold

    def usd(self, *roles: str) -> float:
        return self.money.sums(*roles).cost if self.money else 0.0

    @property
    def paid_back_after(self) -> float | None:
        """Answers of the card until its compile and proof are paid; inf: never, None: there is no card that may."""
        known = self.tale.known
        if known is None or known.card is None or known.stage not in SERVING:
            return None
        theirs, ours = known.card.usd_per_call
        if theirs is None or ours is None:
            return None
        return self.usd("compile", *PROVING) / (theirs - ours) if theirs > ours else float("inf")


def introduce(say: Console, setting: Setting) -> None:
    current, cheap = bare(setting.current), bare(setting.cheap)
    _print(
        say,
        f"An app asks {current} two kinds of question through Cuecard, in turn. It has Cuecard's base URL; it names no "
        f"task, and the configuration declares none. {cheap} is there to take over what it can be proven to answer no "
        "worse.",
    )
    _print(
        say,
        f"The margin is {in_percent(MARGIN)} here: a card serves a share of the calls such that share × loss stays "
        f"under it, 95 % sure, and none while it may be over {in_percent(UNPROVEN * MARGIN)} worse. A demo asks a "
        "hundred calls; under the default margin, 2 %, half of the calls are served after 130 pairs at the least.",
    )


def show(say: Console, setting: Setting, results: Sequence[Result], seconds: float) -> None:
    for result in results:
        _show_prompt(say, result.tale)
    _print_table(say, _stages(results))
    for result in results:
        if result.tale.stage not in SERVING:
            _print(say, f"{result.tale.kind.name}: {_why(result.tale)}")
    _print_table(say, _money(results))
    _print(
        say,
        f"Money is of the calls since a task was recognised; what {bare(setting.current)} would have cost is "
        "estimated. "
        f"Paid back: after so many answers of the card, with what its proof has cost so far. {setting.footnote}",
    )
    _print_table(say, _accuracies(setting, results))
    of = max((result.gold.of for result in results), default=0)
    noise = f": a difference under about {100 / of**0.5:.0f} points is noise" if of else ""
    _print(
        say,
        f"Accuracy is against CLINC150's own labels, {of} test rows of each{noise}. No label was seen by any model: "
        f"what is proven is parity with {bare(setting.current)}. Took {seconds:.0f} s.",
    )
    _print(say, NEXT, whole=True)


def _print(say: Console, text: str, *, whole: bool = False) -> None:
    say.print(f"\n{text}", markup=False, highlight=False, soft_wrap=whole, width=None if whole else COLUMNS)


def _print_table(say: Console, table: Table) -> None:
    say.print()
    say.print(table, width=COLUMNS)


def _why(tale: Tale) -> str:
    stand = tale.known.stand if tale.known else None
    if stand is None:
        return "not taken up for a compile: too few calls, or not worth it"
    return stand.reason or f"the demo ended while it was {tale.stage}"


def _show_prompt(say: Console, tale: Tale) -> None:
    card = tale.known.card if tale.known else None
    if card is None:
        return
    shown = len(card.program.demonstrations)
    with_shown = f" and {shown} answers of the app's model as examples" if shown else ""
    _print(say, f"{tale.kind.name}: the prompt that was compiled ({card.winner}){with_shown}:")
    lines = (card.program.system or "the app's own").splitlines()
    more = [f"… and {len(lines) - PROMPT_LINES} lines more"] if len(lines) > PROMPT_LINES else []
    say.print("\n".join([*lines[:PROMPT_LINES], *more]), markup=False, style="dim", width=COLUMNS)


def _stages(results: Sequence[Result]) -> Table:
    headings = ("calls", "answered\nby the card", "share\nserved now", "pairs", "at most worse,\n95 % sure")
    table = _table("Where each task stands", "task", "stage")
    for heading in headings:
        table.add_column(heading, justify="right")
    for result in results:
        tale, proof = result.tale, result.tale.known.proof if result.tale.known else None
        figures = (str(proof.pairs), f"{proof.bound:.1%}") if proof else ("-", "-")
        table.add_row(
            *(tale.kind.name, tale.stage, str(tale.calls), str(tale.served), in_percent(tale.traffic), *figures)
        )
    return table


def _money(results: Sequence[Result]) -> Table:
    table = _table("US dollars", "task")
    for heading in ("the app's model\nwould cost", "was paid", "compile", "proof", "net\nsaving", "paid back\nafter"):
        table.add_column(heading, justify="right")
    for result in results:
        net = result.money.net_saving if result.money else 0.0
        baseline = result.money.sums("serve").baseline if result.money else 0.0
        spent = (baseline, result.usd("serve"), result.usd("compile"), result.usd(*PROVING))
        table.add_row(result.tale.kind.name, *map(_dollars, spent), _dollars(net), _answers(result.paid_back_after))
    return table


def _accuracies(setting: Setting, results: Sequence[Result]) -> Table:
    current, cheap = bare(setting.current), bare(setting.cheap)
    table = _table("Answered as labelled", "task", current, f"{cheap},\nthe app's prompt", "what Cuecard\nlets answer")
    for result in results:
        gold = result.gold
        table.add_row(result.tale.kind.name, *(_share(n, gold.of) for n in (gold.own, gold.cheap, gold.served)))
    return table


def _table(title: str, *headings: str) -> Table:
    return Table(*headings, title=title, title_justify="left", title_style="bold")


def _share(right: int, of: int) -> str:
    return f"{right / of:.0%} ({right}/{of})" if of else "-"


def _dollars(usd: float) -> str:
    return f"{'-' if usd < 0 else ''}{dollars(round(abs(usd) * NANO))}"


def _answers(count: float | None) -> str:
    if count is None:
        return "-"
    return "never" if count == float("inf") else f"{count:,.0f} answers"
