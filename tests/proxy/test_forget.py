"""`cuecard forget`, without a server; tests/e2e/test_capture.py has one running."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compiler.observation import FOLDER, Observation, Observations
from proxy.cli import main

CONFIG = """
upstreams: {x: {base_url: "http://127.0.0.1:9/v1", api_key: none}}
store: {url: "file:store"}
tasks: {declared: {description: "Never called."}}
auth: {keys: [{key: "sk-of-idle", tenant: idle}]}
"""


@pytest.fixture(autouse=True)
def kept(tmp_path: Path) -> None:
    """Of the task mood one of each tenant, of shop one more that belongs to no task."""
    (tmp_path / "cuecard.yaml").write_text(CONFIG)
    kinds = [("shop", "mood", "secret 0"), ("lab", "mood", "secret 1"), ("shop", "", "secret 2")]
    with Observations(tmp_path / "store", retention_days=1) as observations:
        observations.add(
            [Observation(time.time(), t, "s", "m", name, {"q": text}, "", [], [], None, 1.0) for t, name, text in kinds]
        )


def forget(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["forget", *arguments, "--config", str(tmp_path / "cuecard.yaml")])


def left(tmp_path: Path) -> set[str]:
    """What is readable anywhere in the files."""
    data = b"".join(path.read_bytes() for path in (tmp_path / "store" / FOLDER).iterdir())
    return {f"secret {n}" for n in range(3) if f"secret {n}".encode() in data}


@pytest.mark.parametrize(
    ("arguments", "number", "stays"),
    [
        (["mood"], 2, {"secret 2"}),
        (["--tenant", "shop"], 2, {"secret 1"}),
        (["mood", "--tenant", "shop"], 1, {"secret 1", "secret 2"}),
        (["--tenant", "idle"], 0, {"secret 0", "secret 1", "secret 2"}),
        (["declared"], 0, {"secret 0", "secret 1", "secret 2"}),
        (["--tenant", "default"], 0, {"secret 0", "secret 1", "secret 2"}),
    ],
)
def test_it_deletes_what_is_named_and_says_how_many(tmp_path, arguments, number, stays):
    done = forget(tmp_path, *arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"forgotten: {number} captured requests" in done.stdout
    assert "what stays: declared tasks and their examples, cards, sums of cost" in done.stdout
    assert left(tmp_path) == stays


@pytest.mark.parametrize("arguments", [["moood"], ["--tenant", "shup"], ["mood", "--tenant", "shup"]])
def test_a_name_that_nobody_knows_is_a_mistake_and_nothing_goes(tmp_path, arguments):
    done = forget(tmp_path, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nothing was captured of a" in done.stderr
    assert "known: " in done.stderr
    assert len(left(tmp_path)) == 3


@pytest.mark.parametrize("arguments", [[], ["--tenant", ""], [""], ["", "--tenant", ""]])
def test_it_has_to_be_told_what(tmp_path, arguments):
    done = forget(tmp_path, *arguments)
    assert done.exit_code == 2
    assert "say what is to be forgotten" in done.stderr
    assert len(left(tmp_path)) == 3
