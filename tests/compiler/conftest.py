from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import tenacity

from compiler.llm import Llm
from compiler.models import Models
from compiler.observation import Observations
from compiler.store import Store


@pytest.fixture
def retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **kwargs: tenacity.wait_none())


@pytest.fixture
def proofs_at_once(retries_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """They don't rest after a failure."""
    monkeypatch.setattr("compiler.patience.LONGEST_REST", 0.0)


@pytest.fixture
def observations(tmp_path: Path) -> Iterator[Observations]:
    with Observations(tmp_path / "store", retention_days=14) as found:
        yield found


@pytest.fixture
async def llm(models: Models, store: Store) -> AsyncIterator[Llm]:
    async with Llm(models, store, usd_per_day=5) as llm:
        yield llm
