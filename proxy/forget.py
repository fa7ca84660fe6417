"""`cuecard forget`: what was captured of a task or a tenant is deleted, and what was learned from it, whether a server
runs or not."""

import sys
from pathlib import Path
from typing import NamedTuple, Self

import click

from compiler.ledger import Ledger
from compiler.observation import Observations
from compiler.recognition.catalogue import Catalogue
from compiler.recognition.forgetting import forget_task, forget_tenant
from compiler.registry import Registry
from compiler.store import Store
from proxy.configfile import load_settings
from proxy.funnel import NANO, dollars
from proxy.observing import open_observations
from proxy.settings import Settings
from proxy.terminal import complaints, config_option


@click.command()
@config_option
@click.option("--tenant", help="Only this tenant's; without TASK, all of this tenant's.")
@click.argument("task", required=False)
def forget(config: Path | None, tenant: str | None, task: str | None) -> None:
    """Delete the captured requests and answers of a task, or of a tenant, and the templates, examples, cards and proofs
    that were made of them."""
    if not task and not tenant:
        raise click.UsageError("say what is to be forgotten: TASK, or --tenant NAME")
    tenant, task = tenant or None, task or None
    with complaints():
        settings = load_settings(config)
        with Store(settings.store.folder) as store, open_observations(settings) as observations:
            if unknown := _Known.by(settings, store, observations).complaint(task, tenant):
                click.echo(f"cuecard: {unknown}", err=True)
                sys.exit(2)
            if task:
                gone = forget_task(store, observations, task, tenant)
            else:
                gone = forget_tenant(store, observations, tenant or "")
            sums = Ledger(store).booked(tenant=tenant, task=task)
    whose = " of ".join(f"{kind} {name}" for kind, name in (("task", task), ("tenant", tenant)) if name)
    learned = f", and {gone.templates} template(s) learned from them" if gone.templates else ""
    click.echo(
        f"forgotten: {gone.requests} captured requests and their answers{learned}, of {whose}\n"
        f"what stays: declared tasks with your examples and their cards, sums of cost ({sums.requests:,} requests, "
        f"{dollars(round(sums.cost * NANO))})"
    )


class _Known(NamedTuple):
    """Names that something was captured or declared under. `labels`: template ids are names, too."""

    tasks: set[str]
    labels: set[str]
    tenants: set[str]

    @classmethod
    def by(cls, settings: Settings, store: Store, observations: Observations) -> Self:
        catalogue, shelves = Catalogue(store), observations.census()
        templates, labels = catalogue.templates(), {shelf.template for shelf in shelves} - {""}
        ids = {template.id for template in templates}
        return cls(
            tasks={
                *Registry(store).tasks(),
                *Registry(store).learned(),
                *settings.tasks,
                *catalogue.tasks(),
                *(labels - ids),
            },
            labels=labels | ids,
            tenants={  # `default` is whoever needs no key
                "default",
                *(key.tenant for key in settings.auth.keys),
                *(shelf.tenant for shelf in shelves),
                *(template.tenant for template in templates),
            },
        )

    def complaint(self, task: str | None, tenant: str | None) -> str | None:
        wrong = ("task", task, self.tasks) if task and task not in self.tasks | self.labels else None
        if tenant and tenant not in self.tenants:
            wrong = wrong or ("tenant", tenant, self.tenants)
        if wrong is None:
            return None
        kind, name, known = wrong
        listed = ", ".join(sorted(known)) or "none"
        return f"nothing was captured of a {kind} {name!r}, and none is declared; known: {listed}"
