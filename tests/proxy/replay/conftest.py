import io
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.replay.files import found
from proxy.replay.forms import Logs, Reading
from proxy.replay.logged import LoggedCall


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[list[LoggedCall], Reading]]:
    """The calls of one file with this name and content."""

    def read(name: str, content: str | bytes, form: str | None = None) -> tuple[list[LoggedCall], Reading]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        reading = Reading()
        with found([str(path)], io.BytesIO()) as files:
            return list(Logs(files, form).calls(reading)), reading

    return read
