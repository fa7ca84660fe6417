import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from compiler.endpoint import Endpoint, Endpoints
from compiler.models import Models
from compiler.store import Store
from tests.fake_upstream import FakeUpstream

PRICES = {
    "fake-strong": {"input": 5.0, "cached_input": 0.5, "output": 30.0},
    "fake-mini": {"input": 0.4, "cached_input": 0.1, "output": 1.6},
    "fake-nano": {"input": 0.1, "cached_input": 0.02, "output": 0.4},
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: many tests wait, for a process to start or for what is promised within a second."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
async def fake() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


def fake_models(url: str) -> Models:
    return Models(
        meta="fake-strong",
        production=("fake-nano", "fake-mini"),
        endpoints=Endpoints({"fake": Endpoint("fake", url, "sk-test")}),
        prices=PRICES,
    )


@pytest.fixture
def models(fake: FakeUpstream) -> Models:
    return fake_models(fake.url)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)], capture_output=True).returncode:
        assert not os.environ.get("CI"), "CI must be allowed to mount"
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
