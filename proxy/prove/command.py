"""`cuecard prove`."""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from compiler.judge import secret
from compiler.pricing import PriceBook
from compiler.store import Store
from proxy.configfile import load_settings
from proxy.prove import page
from proxy.prove.case import NO_SAVING, Case, Sorting
from proxy.prove.kept import Kept
from proxy.prove.present import say
from proxy.prove.progress import shown as shown_proof
from proxy.prove.proving import Proving
from proxy.prove.report import Report
from proxy.prove.traffic import Requests, Traffic
from proxy.replay.files import LogError, found
from proxy.replay.forms import Logs
from proxy.replay.mining import Mining
from proxy.replay.outcome import Outcome, outcome_of
from proxy.replay.page import dollars as usd
from proxy.replay.progress import shown
from proxy.replay.reading import (
    format_option,
    log_complaints,
    nothing,
    refuse_unwritable,
    spans_option,
    stopping,
    written,
)
from proxy.replay.replay import Replay
from proxy.savings import possible_of, seen_of, terms_of
from proxy.settings import Settings
from proxy.share import read_share
from proxy.terminal import INTERRUPTED, complaints, config_option, dollars, json_option, quiet

FOLDER = "prove"
LARGEST = 0.33  # nothing is served over three times it, which has to be under 1


def _loss(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        found = read_share(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if found > LARGEST:
        raise click.BadParameter(f"{value} is more than {LARGEST}: a proof of so little is none")
    return found


@click.command(
    "prove",
    epilog="Exit codes: 0 all that could be tried passed, 1 at least one failed, 2 wrong use or input, 3 nothing could"
    " be tried, 4 stopped (by the cap, or because models don't answer) before all was decided, 130 Ctrl-C.",
)
@config_option
@json_option
@format_option
@click.option("--max-usd", type=float, default=60.0, show_default=True, callback=dollars, help="Never pay more for it.")
@click.option("--max-loss", callback=_loss, help="Quality that may be lost. Default: `margin.default`, 0.02.")
@click.option("--max-loss-text", callback=_loss, help="The same for free text. Default: `margin.text`, 0.05.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("cuecard-proof.html"),
    show_default=True,
    help="The report, one page for a browser.",
)
@click.option(
    "--store",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where answers are kept to go on from, for 8 days. Default: `prove` in the configured store.",
)
@spans_option
@click.argument("log", nargs=-1, required=True)
def command(
    config: Path | None,
    as_json: bool,
    form: str | None,
    max_usd: float,
    max_loss: float | None,
    max_loss_text: float | None,
    html: Path,
    folder: Path | None,
    spans: float | None,
    log: tuple[str, ...],
) -> None:
    """Prove on calls that are in logs which tasks a cheaper model can take over; it pays for models, and serves nobody.

    LOG is a file, a folder, or `-`, as for `cuecard replay`. Run again with the same log, it goes on where it was.
    """
    with quiet(), stopping(), complaints(), log_complaints():
        settings = _settings(config, max_loss, max_loss_text)
        refuse_unwritable(html)
        with found(log, sys.stdin.buffer) as files:
            read = _read(Logs(files, form), settings, spans)
        report = _proven(read, settings, folder or settings.store.folder / FOLDER, max_usd)
        written(lambda path: page.write(report, path), html)
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        say(report, Console())
        click.echo(f"the report is in {html}")
    sys.exit(report.exit_code)


def _settings(config: Path | None, loss: float | None, loss_text: float | None) -> Settings:
    """As configured, with the margins of this proof."""
    settings = load_settings(config)
    given = {name: value for name, value in (("default", loss), ("text", loss_text)) if value is not None}
    return settings.model_copy(update={"margin": settings.margin.model_copy(update=given)})


@dataclass(frozen=True)
class _Read:
    mining: Mining
    traffic: Traffic
    outcome: Outcome


def _read(logs: Logs, settings: Settings, spans: float | None) -> _Read:
    mining = Mining()
    traffic = Traffic(mining)
    replay = Replay(mining, PriceBook(settings.own_prices()), on_added=traffic.take)
    with shown("learning the tasks", logs.size) as advance:
        replay.learn(logs, advance)
    with shown("reading the requests", logs.size) as advance:
        replay.add_up(logs, advance)
    if not replay.found.reading.calls:
        raise LogError(nothing(replay.found.reading))
    return _Read(mining, traffic, outcome_of(replay.found, terms_of(settings), spans))


def _proven(read: _Read, settings: Settings, folder: Path, max_usd: float) -> Report:
    with Store(folder) as store:
        store.purge_expired()
        kept = Kept(store, read.traffic.mark, settings.background_models(), settings.compile_options())
        sorting = Sorting(
            template=read.mining.template,
            margin=settings.margin,
            least=settings.compile.min_examples,
            kept=kept,
            key=secret(store) if settings.capture.redact else None,
            dear=_dear(read.outcome, settings),
        )
        cases, untried = sorting.sort(read.traffic.of, read.traffic.continued)
        proving = Proving(settings, store, kept, read.traffic.mark, max_usd, read.outcome.days, shown_proof)
        _announce(cases, len(untried), proving)
        try:
            asyncio.run(proving.run(cases))
        except KeyboardInterrupt:
            click.echo(
                f"stopped; what was answered is kept in {folder} for 8 days. Run the same command again: it goes on"
                " from there, and pays only for the rest",
                err=True,
            )
            sys.exit(INTERRUPTED)
        costs, usd = proving.costs.by_model(), proving.spent
        return Report(read.outcome, proving.results, untried, costs, usd, max_usd)


def _announce(cases: Sequence[Case], untried: int, proving: Proving) -> None:
    """Before anything is paid, and before any request leaves."""
    settings, before = proving.settings, proving.spent
    spent = f", of which earlier runs on this log spent {usd(before)}" if before else ""
    click.echo(
        f"tasks to be tried: {len(cases)}, not tried: {untried}; at most {usd(proving.max_usd)}{spent}", err=True
    )
    if cases:
        named = dict.fromkeys((settings.models.meta, *settings.models.production, settings.models.judge))
        how = "redacted" if settings.capture.redact else "NOT REDACTED"
        click.echo(f"their requests go to {', '.join(named)} and to the model that answered them, {how}", err=True)


def _dear(outcome: Outcome, settings: Settings) -> Callable[[Requests], str | None]:
    """Whether no production model is cheaper for a task, by what its calls in the log were; prices that are not known
    are no reason."""
    terms, sums = terms_of(settings), {task.match.id: (task.model, task.sums) for task in outcome.tasks}

    def dear(requests: Requests) -> str | None:
        model, seen = sums[requests.match.id]
        worth = possible_of("", model, seen_of(seen, 1.0, None), terms).worth
        return NO_SAVING if worth and worth.verdict == "no saving" else None

    return dear
