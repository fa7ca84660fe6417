from collections.abc import AsyncIterator

import pytest
import tenacity

from compiler.llm import Llm
from compiler.models import Models
from compiler.store import Store


@pytest.fixture
def retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **kwargs: tenacity.wait_none())


@pytest.fixture
async def llm(models: Models, store: Store) -> AsyncIterator[Llm]:
    async with Llm(models, store, usd_per_day=5) as llm:
        yield llm
