import io
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from proxy.cli import main
from proxy.demo import play
from proxy.demo.setting import FULL, LOCAL, OPENAI, QUICK
from proxy.demo.spend import Purse, PurseClosed, agree, calls_usd

OPENAI_DEMO = ["demo", "--upstream", "openai"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def run(*_: object) -> None:
        raise AssertionError("nobody agreed to this")

    monkeypatch.setattr(play, "run", run)
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-user")


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_it_is_refused_by_name(key: str | None) -> None:
    done = CliRunner().invoke(main, [*OPENAI_DEMO, "--yes"], env={"OPENAI_API_KEY": key})
    assert done.exit_code == 2
    assert "OPENAI_API_KEY is not set" in done.output


def test_without_a_terminal_it_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, OPENAI_DEMO)
    assert done.exit_code == 2
    assert "not a terminal" in done.output
    assert "--yes" in done.output
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("amount", ["0", "-1", "nan", "inf", "lots"])
def test_a_cap_that_is_none_is_refused(amount: str) -> None:
    done = CliRunner().invoke(main, [*OPENAI_DEMO, "--yes", "--max-usd", amount])
    assert done.exit_code == 2
    assert "--max-usd" in done.output


def test_no_is_the_default_answer(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("\n"))
    with pytest.raises(click.Abort):
        agree(OPENAI.capped(0.50), QUICK, cache, Console(width=80), yes=False)
    said = " ".join(capsys.readouterr().out.split())
    assert said.index("at most $") < said.index("Spend up to $0.50 on your account? [y/N]")


def test_yes_is_taken_for_an_answer(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    agree(OPENAI.capped(0.50), QUICK, cache, Console(quiet=True), yes=False)


def test_the_estimate_is_never_above_the_cap(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agree(OPENAI.capped(0.05), QUICK, cache, Console(width=300), yes=True)
    assert "at most $0.05, compiling and proving" in capsys.readouterr().out


def test_nobody_is_asked_about_local_models(cache: Path) -> None:
    agree(LOCAL, QUICK, cache, Console(quiet=True), yes=False, environ={})


def test_compiling_and_proving_are_taken_from_the_purse_beforehand() -> None:
    assert Purse(OPENAI.capped(0.50)).taken == pytest.approx(0.20)


def test_more_calls_may_cost_more(cache: Path) -> None:
    assert calls_usd(OPENAI, FULL, cache) > calls_usd(OPENAI, QUICK, cache) > 0


def test_a_purse_that_refused_stays_closed() -> None:
    purse = Purse(replace(OPENAI, max_usd=1.0, background_usd=0.0))
    purse.take(1.0)
    with pytest.raises(PurseClosed):
        purse.take(0.1)
    purse.give_back(0.5)
    with pytest.raises(PurseClosed):
        purse.take(0.1)
    assert purse.taken == 0.5


def test_the_purse_of_local_models_has_no_bottom() -> None:
    Purse(LOCAL).take(1e9)
