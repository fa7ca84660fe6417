"""`cuecard forget`: what was captured of a task or a tenant is deleted, whether a server runs or not."""

import sys
from pathlib import Path

import click

from compiler.observation import Observations
from compiler.registry import Registry
from compiler.store import Store
from proxy.configfile import load_settings
from proxy.settings import Settings
from proxy.terminal import complaints, config_option


@click.command()
@config_option
@click.option("--tenant", help="Only this tenant's; without TASK, all of this tenant's.")
@click.argument("task", required=False)
def forget(config: Path | None, tenant: str | None, task: str | None) -> None:
    """Delete the captured requests and answers of a task, or of a tenant."""
    if not task and not tenant:
        raise click.UsageError("say what is to be forgotten: TASK, or --tenant NAME")
    with complaints():
        settings = load_settings(config)
        with Observations(settings.store.folder, retention_days=settings.store.retention_days) as observations:
            shelves = observations.census()
            unknown = _unknown("task", task, _tasks(settings) | {shelf.template for shelf in shelves}) or _unknown(
                "tenant", tenant, _tenants(settings) | {shelf.tenant for shelf in shelves}
            )
            if unknown:
                click.echo(f"cuecard: {unknown}", err=True)
                sys.exit(2)
            number = observations.forget(tenant=tenant or None, template=task or None)
    whose = " of ".join(f"{kind} {name}" for kind, name in (("task", task), ("tenant", tenant)) if name)
    click.echo(
        f"forgotten: {number} captured requests and their answers, of {whose}\n"
        "what stays: declared tasks and their examples, cards, sums of cost"
    )


def _unknown(kind: str, name: str | None, known: set[str]) -> str | None:
    if not name or name in known:
        return None
    listed = ", ".join(sorted(known - {""})) or "none"
    return f"nothing was captured of a {kind} {name!r}, and none is declared; known: {listed}"


def _tasks(settings: Settings) -> set[str]:
    with Store(settings.store.folder) as store:
        return {*Registry(store).tasks(), *settings.tasks}


def _tenants(settings: Settings) -> set[str]:
    """`default` is whoever needs no key."""
    return {"default", *(key.tenant for key in settings.auth.keys)}
