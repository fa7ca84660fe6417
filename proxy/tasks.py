"""`cuecard tasks` and `cuecard show`: what is known of the tasks, and what a person may decide about them."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from compiler.errors import UnknownTask
from compiler.feedback import Feedback
from compiler.recognition import curating
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry, Snapshot
from compiler.steps import Steps
from compiler.store import Store
from proxy.admin import describe_declared, describe_whole
from proxy.configfile import load_settings
from proxy.dossier import Dossier
from proxy.export import FORMS, card_of, exported
from proxy.opinion import opinion_lines
from proxy.seen import Seen, seen_task, seen_tasks
from proxy.share import in_percent
from proxy.showing import proof_lines, stand_line, wrapped
from proxy.stepping import steps_table
from proxy.terminal import complaints, config_option, json_option, show_task

PLAIN_WIDTH = 140  # columns where there is no terminal
TEMPLATE_CHARS = 120  # of a template, in the list


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
        snapshot, declared, found = Registry(store).snapshot(), describe_declared(store), seen_tasks(store)
    if as_json:
        click.echo(json.dumps({"declared": declared, "recognised": [one.to_json() for one in found]}))
        return
    console = Console(highlight=False)
    if snapshot.tasks:
        console.print(_declared(snapshot))
    if found:
        click.echo("\n".join(_recognised(found, console.width)))
    if not snapshot.tasks and not found:
        console.print(
            "no task yet: send traffic and look again after some dozens of requests, or declare one "
            "(docs/configuration.md, `tasks`)"
        )


def _declared(snapshot: Snapshot) -> Table:
    titles = ("task", "stage", "serves", "card", "model", "current model", "reason")
    table = Table(*titles, title="declared", title_justify="left")
    for name, view in snapshot.tasks.items():
        card = view.compiled
        row = (in_percent(view.served), card.label, card.model) if card else ("-", "-", "-")
        table.add_row(name, view.stage, *row, view.task.incumbent or "-", view.reason)
    return table


def _recognised(found: list[Seen], width: int) -> Iterator[str]:
    """A line of figures each, and below it the template: it wants all the room there is."""
    names = max(len("task"), *(len(one.task.name) for one in found))
    yield "recognised in the traffic of the last 7 days"
    yield f"{'task':{names}}  {'stage':9}  {'calls a day':>11}  {'of spend':>8}"
    for one in found:
        calls = f"{one.calls_a_day:,.0f}" if one.calls_a_day >= 10 else f"{one.calls_a_day:.1f}"
        yield f"{one.task.name:{names}}  {one.stage:9}  {calls:>11}  {100 * one.share:>6.1f} %"
        shown = _shortened(one.templates[0].shown() if one.templates else "")
        more = f" (and {len(one.templates) - 1} more)" if len(one.templates) > 1 else ""
        yield from wrapped(shown + more, first="    ", width=width)
        for stand in one.adopted:
            variant = stand.name.removeprefix(one.task.name)
            line = stand_line(stand, f"{variant}: " if variant else "")
            yield from wrapped(line, first="  > ", width=width)


def _shortened(text: str) -> str:
    line, half = " ".join(text.split()), TEMPLATE_CHARS // 2
    return line if len(line) <= TEMPLATE_CHARS else f"{line[:half]} … {line[-half:]}"


@contextmanager
def _changing(context: click.Context) -> Iterator[Store]:
    with complaints(), Store(load_settings(context.obj).store.folder) as store:
        try:
            yield store
        except ValueError as error:
            click.echo(f"cuecard: {error}", err=True)
            sys.exit(2)


@tasks.command()
@click.argument("old")
@click.argument("new")
@click.pass_context
def rename(context: click.Context, old: str, new: str) -> None:
    """Give a recognised task another name: its cards and proofs go along. What was booked so far stays under the
    old one."""
    with _changing(context) as store:
        curating.rename(store, old, new)
    click.echo(f"{old} is now {new}")


@tasks.command()
@click.option("--undo", is_flag=True, help="Take them up again.")
@click.argument("names", nargs=-1, required=True)
@click.pass_context
def ignore(context: click.Context, names: tuple[str, ...], undo: bool) -> None:
    """Leave recognised tasks alone: never compiled, never served by a card."""
    with _changing(context) as store:
        Catalogue(store).ignore(names, not undo)
    click.echo(f"{', '.join(names)}: {'no longer ' if undo else ''}ignored")


@tasks.command()
@click.argument("names", nargs=-1, required=True)
@click.pass_context
def merge(context: click.Context, names: tuple[str, ...]) -> None:
    """Say that tasks are one: under the first name, with all their templates and values. With one name: that the
    values of its enumerated slots make no tasks of their own. Cards they had go: as one task they are compiled anew."""
    with _changing(context) as store:
        merged = curating.merge(store, list(dict.fromkeys(names)))
    click.echo(f"{merged.name}: one task of {len(merged.templates)} template(s), proved as one, by segment")


@click.command()
@config_option
@json_option
@click.option("--steps", is_flag=True, help="What its last compile did, step by step, and what each step cost.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="The compiled prompt alone, to use elsewhere: as text, as OpenAI's messages, or the whole card.",
)
@click.argument("task")
def show(config: Path | None, task: str, as_json: bool, steps: bool, form: str | None) -> None:
    """Show a task: its stage, the template it was recognised by, its compiled prompt with what was measured for it, and
    its proof."""
    if form or steps:
        with complaints(), Store(load_settings(config).store.folder) as store:
            click.echo(exported(card_of(store, task), form) if form else _steps(store, task, as_json=as_json))
        return
    with complaints(), Store(load_settings(config).store.folder) as store:
        if (whole := describe_whole(store, task)) is None:
            raise UnknownTask(f"no task {task!r} is declared or was recognised; `cuecard tasks` lists them")
        if as_json:
            click.echo(json.dumps(whole))
            return
        snapshot = Registry(store).snapshot()
        view = snapshot.tasks.get(task)
        if view is None and (one := seen_task(store, task)):
            _show_seen(task, one)
            if one.task.ignored and one.adopted:
                click.echo("ignored: its card, as it stood, serves nothing")
            for line in () if task in snapshot.adopted else opinion_lines(Feedback(store).of(task)):
                click.echo(line)
        if view := view or snapshot.adopted.get(task):
            show_task(view)
            click.echo("\n".join(proof_lines(Dossier.of(store, view))))


def _steps(store: Store, task: str, *, as_json: bool) -> str:
    if not (found := Steps(store).get(task)):
        raise UnknownTask(f"nothing was compiled for a task {task!r} yet; `cuecard tasks` lists the tasks")
    if as_json:
        return json.dumps([asdict(step) for step in found])
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    with console.capture() as captured:
        console.print(steps_table(found))
    usd, calls = sum(step.usd for step in found), sum(step.calls for step in found)
    return f"{captured.get()}{calls} calls, ${usd:.4f}"


def _show_seen(task: str, one: Seen) -> None:
    click.echo(f"{task}: {one.stage}, {one.calls_a_day:,.1f} calls a day, {100 * one.share:.1f} % of the spend")
    for template in one.templates:
        split = "" if one.task.merged else ", each a task of its own"
        variants = f", {template.variants} choices of enumerated values{split}" if template.variants > 1 else ""
        learned = f"asked of {template.model}, learned from {template.seen} requests{variants}"
        click.echo(f"\ntemplate {template.id}, {learned}\n{template.shown()}")
    for stand in one.adopted:
        if stand.name != task:
            click.echo(stand_line(stand, f"\n{stand.name}: "))
    if one.adopted:
        click.echo("")
