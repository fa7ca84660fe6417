"""`cuecard approve`, `pause`, `resume`, `rollback` and `audit`: how far a proven card may serve, as a person says."""

import json
import os
import pwd
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from compiler.card import Card
from compiler.proof import Proof, Proofs, standing
from compiler.registry import TaskView
from compiler.rollout import Rollout
from compiler.store import Store
from proxy.configfile import load_settings
from proxy.gates import in_words
from proxy.settings import Settings
from proxy.share import in_percent, read_share
from proxy.showing import entry_lines, wrapped
from proxy.terminal import complaints, config_option, json_option

GOES = "there go the requests that it answers, and some of the others, to compare"


class Share(click.ParamType[float]):
    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return read_share(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


why_option = click.option("--why", default="", help="The reason, for the audit log.")


@click.command()
@config_option
@click.option("--max-traffic", "most", type=Share(), default="100%", help="Serve at most this share: 10% or 0.1.")
@why_option
@click.option("--yes", is_flag=True, help="Approve without being asked. Needed where there is no terminal.")
@click.argument("task")
def approve(config: Path | None, most: float, why: str, yes: bool, task: str) -> None:
    """Let a task's card serve, as far as its evidence carries; shows first what that means."""
    with _opened(config) as (settings, store):
        rollout = Rollout(store)
        view, card = rollout.approvable(task)
        click.echo("\n".join(preflight(settings, view, card, Proofs(store).get(task), most)))
        if not yes and not _agreed():
            click.echo("nothing was changed")
            sys.exit(1)
        rollout.approve(task, most=most, who=who(), why=why, control=settings.control, shown=card)
    click.echo(f"approved: {card.label}, at most {in_percent(most)} of the requests")


def _agreed() -> bool:
    if not _has_terminal():
        click.echo("cuecard: nobody can be asked here; --yes approves without", err=True)
        sys.exit(2)
    return click.confirm("Approve?")


def _has_terminal() -> bool:
    return sys.stdin.isatty()


def preflight(settings: Settings, view: TaskView, card: Card, proof: Proof | None, most: float) -> Iterator[str]:
    """What a person should know before saying yes."""
    task, mine = view.task, proof if proof and proof.card == card.label else None
    own = task.incumbent or (mine.arms[0] if mine else "") or "the model that each request names"
    rows = [
        ("now answered by", f"{own}, at {_host(settings, own)}"),
        ("then also by", f"{card.model}, at {_host(settings, card.model)}: {GOES}"),
        *_judge(settings, mine),
        ("worst loss", _loss(mine)),
        ("share served", _share(settings, mine, most)),
        ("stays", f"{in_percent(settings.control)} of the requests with your model, to compare with"),
        ("mode", _mode(settings, view)),
        ("background", f"at most ${settings.background.usd_per_day:.2f} a day, for all tasks together"),
        ("undo", f"cuecard pause {task.name} (at once), cuecard rollback {task.name}, cuecard off"),
    ]
    yield f"{card.label}, compiled {card.created[:10]}"
    for name, text in rows:
        yield from wrapped(text, 19, f"  {name:16} ")


def _host(settings: Settings, model: str) -> str:
    return urlsplit(settings.endpoints().resolve(model)[0].base_url).netloc


def _judge(settings: Settings, proof: Proof | None) -> list[tuple[str, str]]:
    if proof is None or (judge := proof.scoring.judge) is None:
        return []
    return [("judged by", f"{judge}, at {_host(settings, judge)}: there go such requests with both answers")]


def _loss(proof: Proof | None) -> str:
    if proof is None:
        return "nothing is known yet: its proof has not begun"
    return f"{in_words(proof.bound)}, from {proof.pairs:,} pairs; the margin is {in_percent(proof.evidence.margin)}"


def _share(settings: Settings, proof: Proof | None, most: float) -> str:
    """Of the evidence at hand, capped by what is being said."""
    found = standing(proof, settings.control) if proof else None
    if found is None or found.traffic == 0:
        missing = f" ({found.reason})" if found else ""
        return f"nothing yet{missing}; it begins by itself once the evidence carries, up to {in_percent(most)}"
    now = min(found.traffic, most)
    return f"{in_percent(now)} at once, up to {in_percent(min(most, 1 - settings.control))} as the evidence grows"


def _mode(settings: Settings, view: TaskView) -> str:
    mode = view.task.mode or settings.mode
    says = {
        "observe": "nothing is served in it, whatever is approved: set `mode: manual` or `auto`",
        "manual": "a card serves once it is approved; a new one has to be approved anew",
        "auto": "cards serve by their evidence alone; your share is the most that they may",
    }
    return f"{mode}: {says[mode]}"


@click.command()
@config_option
@why_option
@click.argument("task")
def pause(config: Path | None, why: str, task: str) -> None:
    """Let a task's own model answer everything, at once and until `resume`."""
    _act(config, lambda rollout: rollout.pause(task, who=who(), why=why))
    click.echo(f"{task}: paused, your model answers; `cuecard resume {task}` undoes it")


@click.command()
@config_option
@why_option
@click.argument("task")
def resume(config: Path | None, why: str, task: str) -> None:
    """Let a paused task's card serve again as far as its evidence carries."""
    _act(config, lambda rollout: rollout.resume(task, who=who(), why=why))
    click.echo(f"{task}: resumed, it serves as far as its evidence carries")


@click.command()
@config_option
@why_option
@click.argument("task")
def rollback(config: Path | None, why: str, task: str) -> None:
    """Go back to a task's card before, or to none."""
    version = _act(config, lambda rollout: rollout.rollback(task, who=who(), why=why))
    if version:
        click.echo(f"{task}: back to {task}@{version}")
    else:
        click.echo(f"{task}: no card any more, your model answers; `cuecard compile {task} --again` makes a new one")


@click.command()
@config_option
@json_option
def audit(config: Path | None, as_json: bool) -> None:
    """Who approved, paused, resumed and rolled back what, when, and why."""
    with _opened(config) as (_, store):
        entries = Rollout(store).audit()
    if as_json:
        click.echo(json.dumps([entry.to_json() for entry in entries]))
        return
    click.echo("\n".join(entry_lines(entries, with_task=True)) or "nobody said anything yet")


@contextmanager
def _opened(config: Path | None) -> Iterator[tuple[Settings, Store]]:
    with complaints():
        settings = load_settings(config)
        with Store(settings.store.folder) as store:
            yield settings, store


def _act(config: Path | None, act: Callable[[Rollout], Any]) -> Any:
    with _opened(config) as (_, store):
        return act(Rollout(store))


def who() -> str:
    """The name of the user who runs this, whatever the environment says; the number of one without a name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
