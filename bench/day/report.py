"""A day for people: tables that fit 110 columns, and the bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from bench.day import books
from bench.day.books import BACKGROUND, Bill
from bench.day.load import Got
from bench.day.server import Stood
from bench.day.traffic import BY_NAME
from bench.day.upstream import Line

MARGIN, MARGIN_TEXT, SHARE, CENT = 0.02, 0.05, 0.15, 0.01


@dataclass(frozen=True)
class Seen:
    """What a run left. `dropped`: observations, by reason; `may_cost`: what proving each of Cuecard's tasks may cost in
    a day, by its own estimate at the end."""

    requests: int
    seconds: float
    failed: int
    got: Sequence[Got]
    lines: Sequence[Line]
    printed: Mapping[str, Any]
    stands: Mapping[str, Sequence[Stood]]
    dropped: Mapping[str, float]
    may_cost: Mapping[str, float]
    usd_per_day: float
    compile_usd: float


@dataclass(frozen=True)
class Bar:
    name: str
    wanted: str
    seen: str
    ok: bool


@dataclass
class Day:
    seen: Seen
    bills: dict[str, Bill] = field(init=False)
    total: Bill = field(init=False)

    def __post_init__(self) -> None:
        self.bills = books.bills(self.seen.got, self.seen.lines)
        self.total = books.total(self.bills.values())

    def bars(self) -> list[Bar]:
        return [*self._money(), *self._books(), *self._losses()]

    def _money(self) -> list[Bar]:
        seen, share = self.seen, self.total.proof_share
        found = [
            Bar(
                f"background on {day}, by the upstream's log",
                f"<= ${seen.usd_per_day:.2f}",
                f"${usd:.4f}",
                usd <= seen.usd_per_day,
            )
            for day, usd in books.peaks(seen.lines).items()
        ]
        dearest = max(books.compiles(seen.lines).values(), default=0.0)
        enough = share is not None and share <= SHARE
        told = "nothing saved" if share is None else f"{share:.1%}"
        return [
            *found,
            Bar("dearest compile", f"<= ${seen.compile_usd:.2f}", f"${dearest:.4f}", dearest <= seen.compile_usd),
            Bar("proof, of what was saved", f"<= {SHARE:.0%}", told, enough),
        ]

    def _books(self) -> list[Bar]:
        theirs, ours = books.by_role(self.seen.lines), books.booked(self.seen.printed)
        found = []
        for roles, name in ((("serve",), "serving"), (BACKGROUND, "background")):
            bill = [sum(usd for (role, _), (_, usd) in side.items() if role in roles) for side in (theirs, ours)]
            close = abs(bill[0] - bill[1]) < CENT / 2
            found.append(Bar(f"{name}: books, upstream", f"${bill[0]:.4f}", f"${bill[1]:.4f}", close))
        failed = self.seen.failed
        return [*found, Bar("requests without an answer", "0", str(failed), failed == 0)]

    def _losses(self) -> list[Bar]:
        found = []
        for name, bill in self.bills.items():
            if bill.routes["compiled"]:
                margin = MARGIN_TEXT if BY_NAME[name].form == "text" else MARGIN
                loss = bill.true_loss
                found.append(Bar(f"{name}: true loss x traffic", f"<= {margin:.0%}", f"{loss:.2%}", loss <= margin))
        return found

    def tasks(self) -> Table:
        table = Table(title="Tasks; USD by the upstream's log", title_justify="left")
        table.add_column("task")
        for heading in ("calls", "served\n1st %", "served\nlast %", "pairs", "own\nmodel", "serve", "compile"):
            table.add_column(heading, justify="right")
        for heading in ("shadow", "judge", "net\nsaving", "proof\n%"):
            table.add_column(heading, justify="right")
        table.add_column("stage")
        for name, bill in sorted(self.bills.items(), key=lambda item: -item[1].calls):
            stood = self.seen.stands.get(name, ())
            table.add_row(name, *_row(bill, sum(one.pairs for one in stood)), ", ".join(one.stage for one in stood))
        pairs = sum(one.pairs for each in self.seen.stands.values() for one in each)
        table.add_section()
        table.add_row("all", *_row(self.total, pairs), "")
        return table

    def why(self) -> Table:
        table = Table(title="Where each stood, and why", title_justify="left")
        for heading in ("task", "disagree, loss", "outcomes", "κ", "proof may\ncost a day", "reason"):
            table.add_column(heading)
        for kind, stood in self.seen.stands.items():
            known = BY_NAME.get(kind)
            for one in stood:
                told = ", ".join(f"{name} {number}" for name, number in sorted(one.outcomes.items()))
                kappa = "-" if one.kappa is None else f"{one.kappa:.2f}"
                true = f"{sum(known.misses):.1%}, {known.true_loss:.1%}" if known else "-"
                may = self.seen.may_cost.get(one.name)
                table.add_row(
                    f"{kind}\n({one.name})", true, told, kappa, "-" if may is None else f"${may:.2f}", one.reason
                )
        return table

    def times(self) -> Table:
        table = Table(title="Over the day, USD by the upstream's log up to then", title_justify="left")
        for heading in ("tenth", "saved", "proof", "compile", "proof, of the saving"):
            table.add_column(heading, justify="right")
        for number, (saved, proof, compiling) in enumerate(books.over_time(self.seen.got, self.seen.lines), 1):
            share = f"{proof / saved:.1%}" if saved > 0 else "-"
            table.add_row(str(number), f"{saved:.2f}", f"{proof:.3f}", f"{compiling:.3f}", share)
        return table

    def roles(self) -> Table:
        table = Table(title="The upstream's log beside Cuecard's books", title_justify="left")
        for heading in ("role", "model"):
            table.add_column(heading)
        for heading in ("calls", "booked", "USD", "booked"):
            table.add_column(heading, justify="right")
        theirs, ours = books.by_role(self.seen.lines), books.booked(self.seen.printed)
        for role, model in sorted({*theirs, *ours}):
            calls, usd = theirs.get((role, model), (0, 0.0))
            booked_calls, booked_usd = ours.get((role, model), (0, 0.0))
            table.add_row(role, model, f"{calls:,}", f"{booked_calls:,}", f"{usd:.4f}", f"{booked_usd:.4f}")
        return table

    def verdicts(self) -> Table:
        table = Table("bar", "wanted", "seen", "", title="Bars", title_justify="left")
        for bar in self.bars():
            table.add_row(bar.name, bar.wanted, bar.seen, "ok" if bar.ok else "[red]MISSED[/]")
        return table

    def words(self) -> str:
        seen = self.seen
        baseline, net = books.estimated(seen.printed)
        dropped = ", ".join(f"{reason} {number:,.0f}" for reason, number in sorted(seen.dropped.items()) if number)
        return (
            f"{seen.requests:,} requests in {seen.seconds:.0f} s, {seen.requests / seen.seconds:.0f} a second\n"
            f"Observations not captured: {dropped or 'none'}\n"
            f"Cuecard's own estimate: baseline ${baseline:.2f}, net saving ${net:.2f} of the calls that have one;\n"
            f"by the upstream's log the app's own model would have cost ${self.total.own:.2f}, net saving "
            f"${self.total.net:.2f}"
        )


def _row(bill: Bill, pairs: int) -> list[str]:
    share = bill.proof_share
    return [
        f"{bill.calls:,}",
        f"{bill.first:.0%}" if bill.first or bill.last else "-",
        f"{bill.last:.0%}" if bill.first or bill.last else "-",
        f"{pairs:,}",
        *(f"{usd:.2f}" for usd in (bill.own, bill.usd["serve"])),
        *(f"{bill.usd[role]:.3f}" for role in BACKGROUND),
        f"{bill.net:.2f}",
        "-" if share is None else f"{share:.1%}",
    ]
