import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tenacity
from click.testing import CliRunner, Result

from proxy.cli import main
from tests.fake_upstream import FakeUpstream
from tests.learned import TOXIC
from tests.proxy.prove.logs import URGENT, calls, configured, logged, settings_for


@pytest.fixture(autouse=True)
def retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **kwargs: tenacity.wait_none())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a configuration, and an environment without a key."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "CUECARD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def settings(fake: FakeUpstream) -> dict[str, Any]:
    return settings_for(fake)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return logged(tmp_path / "log.jsonl", calls(TOXIC), calls(URGENT))


@pytest.fixture
def prove(settings: dict[str, Any]) -> Callable[..., Any]:
    async def prove(*words: str, code: int = 0) -> Result:
        """In a thread: the command has an event loop of its own, the fake upstream runs in this one."""
        configured(settings)
        done = await asyncio.to_thread(CliRunner().invoke, main, ["prove", *words])
        assert done.exit_code == code, done.output + str(done.exception)
        return done

    return prove


@pytest.fixture
def told(prove: Callable[..., Any]) -> Callable[..., Any]:
    async def told(*words: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await prove(*words, "--json", code=code)).stdout)
        return found

    return told
