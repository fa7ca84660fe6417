"""`cuecard tasks` and `cuecard show`: what is known of the tasks, and what a person may decide about them."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from compiler.errors import UnknownTask
from compiler.ledger import Ledger, Sums
from compiler.recognition.catalogue import Catalogue, Recognised
from compiler.recognition.template import Template
from compiler.registry import Registry, Snapshot
from compiler.store import Store
from compiler.task import NAME
from proxy.admin import describe
from proxy.configfile import load_settings
from proxy.terminal import complaints, config_option, json_option, show_task

LAST = timedelta(days=7)
TEMPLATE_CHARS = 120  # of a template, in the list


@dataclass(frozen=True)
class Seen:
    """A recognised task and its traffic of the last days. `share`: of what all calls of the app cost."""

    task: Recognised
    templates: list[Template]
    calls: int
    calls_a_day: float
    usd: float
    share: float

    @property
    def stage(self) -> str:
        return "ignored" if self.task.ignored else "observing"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.task.name,
            "stage": self.stage,
            "merged": self.task.merged,
            "model": self.templates[0].model if self.templates else "",
            "tenant": self.templates[0].tenant if self.templates else "",
            "calls": self.calls,
            "calls_a_day": self.calls_a_day,
            "cost_usd": self.usd,
            "share_of_cost": self.share,
            "templates": [
                {"id": t.id, "text": t.shown(), "variants": t.variants, "learned_from": t.seen} for t in self.templates
            ],
        }


def seen_tasks(store: Store) -> list[Seen]:
    """The recognised ones, the dearest first. Raises StoreError."""
    catalogue, ledger = Catalogue(store), Ledger(store)
    templates = {template.id: template for template in catalogue.templates()}
    sums: dict[str, Sums] = {}
    first = now = datetime.now(UTC)
    for hour, name, row, added in ledger.hours(LAST):
        if row.role == "serve":
            sums.setdefault(name, Sums()).add(added)
            first = min(first, hour)
    days = max(1.0, (now - first) / timedelta(days=1))  # less than a day of traffic is taken for a day's
    total = sum(one.cost for one in sums.values())
    found = []
    for name, task in catalogue.tasks().items():
        mine = sums.get(name, Sums())
        its = [templates[id_] for id_ in task.templates if id_ in templates]
        found.append(
            Seen(task, its, mine.requests, mine.requests / days, mine.cost, mine.cost / total if total else 0.0)
        )
    return sorted(found, key=lambda one: (-one.usd, -one.calls, one.task.name))


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def tasks(context: click.Context, config: Path | None, as_json: bool) -> None:
    """List the tasks: the declared ones, and those that were recognised in the traffic."""
    context.obj = config
    if context.invoked_subcommand:
        return
    with complaints(), Store(load_settings(config).store.folder) as store:
        snapshot, found = Registry(store).snapshot(), seen_tasks(store)
    if as_json:
        declared = [describe(view) for view in snapshot.tasks.values()]
        click.echo(json.dumps({"declared": declared, "recognised": [one.to_json() for one in found]}))
        return
    console = Console(highlight=False)
    if snapshot.tasks:
        console.print(_declared(snapshot))
    if found:
        console.print(_recognised(found))
    if not snapshot.tasks and not found:
        console.print(
            "no task yet: send traffic and look again after some dozens of requests, or declare one "
            "(docs/configuration.md, `tasks`)"
        )


def _declared(snapshot: Snapshot) -> Table:
    table = Table("task", "stage", "card", "model", "current model", "reason", title="declared", title_justify="left")
    for name, view in snapshot.tasks.items():
        card, state = view.compiled, view.state
        row = (card.label, card.model) if card else ("-", "-")
        table.add_row(name, state.stage, *row, view.task.incumbent or "-", state.reason)
    return table


def _recognised(found: list[Seen]) -> Table:
    table = Table(title="recognised in the traffic of the last 7 days", title_justify="left")
    table.add_column("task", overflow="fold", max_width=26)
    table.add_column("stage", no_wrap=True)
    table.add_column("calls\na day", justify="right", no_wrap=True)
    table.add_column("share of\nspend", justify="right", no_wrap=True)
    table.add_column("template", overflow="fold")
    for one in found:
        shown = _shortened(one.templates[0].shown() if one.templates else "")
        calls = f"{one.calls_a_day:,.0f}" if one.calls_a_day >= 10 else f"{one.calls_a_day:.1f}"
        name = one.task.name + (f" ({len(one.templates)} templates)" if len(one.templates) > 1 else "")
        table.add_row(Text(name), one.stage, calls, f"{100 * one.share:.1f} %", Text(shown))
    return table


def _shortened(text: str) -> str:
    line, half = " ".join(text.split()), TEMPLATE_CHARS // 2
    return line if len(line) <= TEMPLATE_CHARS else f"{line[:half]} … {line[-half:]}"


@contextmanager
def _changing(context: click.Context) -> Iterator[tuple[Catalogue, set[str]]]:
    """The catalogue, and names that belong to declared tasks."""
    with complaints(), Store(load_settings(context.obj).store.folder) as store:
        try:
            yield Catalogue(store), set(Registry(store).tasks())
        except ValueError as error:
            click.echo(f"cuecard: {error}", err=True)
            sys.exit(2)


@tasks.command()
@click.argument("old")
@click.argument("new")
@click.pass_context
def rename(context: click.Context, old: str, new: str) -> None:
    """Give a recognised task another name. What was booked so far stays under the old one."""
    with _changing(context) as (catalogue, declared):
        if not NAME.fullmatch(new):
            raise ValueError(f"{new!r} is no task name: lower-case letters, digits, `.`, `_`, `-`, at most 64")
        catalogue.rename(old, new, reserved=declared)
    click.echo(f"{old} is now {new}")


@tasks.command()
@click.option("--undo", is_flag=True, help="Take them up again.")
@click.argument("names", nargs=-1, required=True)
@click.pass_context
def ignore(context: click.Context, names: tuple[str, ...], undo: bool) -> None:
    """Leave recognised tasks alone: never compiled, never served by a card."""
    with _changing(context) as (catalogue, _):
        for name in names:
            catalogue.ignore(name, not undo)
    click.echo(f"{', '.join(names)}: {'no longer ' if undo else ''}ignored")


@tasks.command()
@click.argument("names", nargs=-1, required=True)
@click.pass_context
def merge(context: click.Context, names: tuple[str, ...]) -> None:
    """Say that tasks are one: under the first name, with all their templates and values. With one name: that the
    values of its enumerated slots make no tasks of their own."""
    with _changing(context) as (catalogue, _):
        merged = catalogue.merge(list(dict.fromkeys(names)))
    click.echo(f"{merged.name}: one task of {len(merged.templates)} template(s), proved as one, by segment")


@click.command()
@config_option
@json_option
@click.argument("task")
def show(config: Path | None, task: str, as_json: bool) -> None:
    """Show a task: its stage, and its compiled prompt with what was measured for it, or the template it was recognised
    by."""
    with complaints(), Store(load_settings(config).store.folder) as store:
        if view := Registry(store).snapshot().tasks.get(task):
            show_task(view, as_json)
            return
        one = next((one for one in seen_tasks(store) if one.task.name == task), None)
        if one is None:
            raise UnknownTask(f"no task {task!r} is declared or was recognised; `cuecard tasks` lists them")
    if as_json:
        click.echo(json.dumps(one.to_json()))
        return
    click.echo(f"{task}: {one.stage}, {one.calls_a_day:,.1f} calls a day, {100 * one.share:.1f} % of the spend")
    for template in one.templates:
        split = "" if one.task.merged else ", each a task of its own"
        variants = f", {template.variants} choices of enumerated values{split}" if template.variants > 1 else ""
        learned = f"asked of {template.model}, learned from {template.seen} requests{variants}"
        click.echo(f"\ntemplate {template.id}, {learned}\n{template.shown()}")
