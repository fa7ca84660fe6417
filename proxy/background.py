"""The learner as the configuration wants it: in the server's own process for it, and in `cuecard compile`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from compiler.learner import Learner
from compiler.ledger import Charge
from compiler.llm import Llm
from compiler.registry import Registry
from compiler.store import Store
from proxy.settings import Settings


@asynccontextmanager
async def open_learner(
    settings: Settings, store: Store, *, observe: Callable[[Charge], None] = lambda charge: None, **hooks: Any
) -> AsyncIterator[Learner]:
    """`observe` is told of every charge; `hooks` are the Learner's own (`on_step`, `on_outcome`)."""
    models, usd_per_day = settings.background_models(), settings.background.usd_per_day
    async with Llm(models, store, usd_per_day=usd_per_day, observe=observe) as llm:
        retry = settings.compile.retry_kept_after
        yield Learner(Registry(store), llm, settings.compile_options(), retry_kept_after=retry, **hooks)
