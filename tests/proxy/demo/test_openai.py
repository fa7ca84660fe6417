"""`cuecard demo --upstream openai --yes`, once, against a fake OpenAI that knows its own bill."""

import asyncio
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.pricing import PriceBook, Usage
from proxy.cli import main
from proxy.demo import play
from proxy.demo.setting import OPENAI
from proxy.demo.spend import measuring_usd
from tests.fake_upstream import Call, FakeUpstream
from tests.proxy.demo.conftest import fill

KEY = "sk-the-users-own-key"


@dataclass
class Played:
    folder: Path
    code: int = 0
    output: str = ""
    calls: list[Call] = field(default_factory=list)
    looks: int = 0
    holding_the_key: set[str] = field(default_factory=set)

    def look(self) -> None:
        self.looks += 1
        for file in self.folder.rglob("*"):
            with suppress(OSError):
                if file.is_file() and KEY.encode() in file.read_bytes():
                    self.holding_the_key.add(file.name)

    @property
    def usd(self) -> float:
        return sum(_usd(call) for call in self.calls)


def _usd(call: Call) -> float:
    rates = PriceBook().rates(call.model)
    assert rates
    return rates.cost(Usage(input=call.input, output=call.output))


async def _play(played: Played) -> None:
    def nano(request: Any) -> str:
        if (said := str(request["messages"][-1]["content"]).split(": ")[-1]) == "carry_on":  # now and then
            played.look()
        return said

    def strong(request: Any) -> str:
        asked = str(request["messages"][-1]["content"])
        if "<instructions>" not in asked:
            return asked.split(": ")[-1]
        played.look()
        return "<prompt>Find the intent.</prompt>"

    async with FakeUpstream() as fake:
        fake.keys = {KEY}
        fake.answers["gpt-4.1"] = strong
        fake.answers["gpt-4.1-nano"] = nano
        environ = {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": fake.url,
            "CUECARD_CACHE": str(fill(played.folder / "cache")),
            "TMPDIR": str(played.folder),
            "COLUMNS": "80",
        }
        command = ["demo", "--upstream", "openai", "--yes"]
        done = await asyncio.to_thread(CliRunner().invoke, main, command, env=environ)
        played.code, played.output, played.calls = done.exit_code, done.output, fake.calls
        played.look()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    played = Played(tmp_path_factory.mktemp("demo"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(played.folder))
        patch.setattr(play, "POLL", 0.05)
        asyncio.run(_play(played))
    return played


def test_it_ends_with_both_tables_and_the_break_even(played: Played) -> None:
    assert played.code == 0, played.output
    shown = " ".join(played.output.split())
    assert shown.index("at most $") < shown.index("gpt-4.1 answers")
    assert shown.count("gpt-4.1-nano with the card: 100% (32/32), 0 answered by") == 2
    for task in ("travel", "home"):
        assert re.search(rf"{task}: its compile is paid back after \d+ calls; after the 33 calls of this run", shown)
    assert "priced as" not in shown
    assert max(len(line) for line in played.output.splitlines() if "│" in line) <= 80


def test_it_calls_the_two_models_only_with_the_users_key(played: Played) -> None:
    assert {call.model for call in played.calls} == {"gpt-4.1", "gpt-4.1-nano"}
    assert {call.header("authorization") for call in played.calls} == {f"Bearer {KEY}"}
    assert all(call.billed for call in played.calls)


def test_it_costs_less_than_it_said(played: Played) -> None:
    setting = OPENAI.capped(0.50)
    compiling, measuring = (
        float(found) for found in re.findall(r"(?:compiling|measuring)\s+\$([\d.]+)", played.output)[:2]
    )
    assert compiling == pytest.approx(2 * setting.compile_usd)
    assert measuring == pytest.approx(measuring_usd(setting, played.folder / "cache"), abs=0.005)
    assert 0 < played.usd < measuring < compiling + measuring < 0.50


def test_the_key_is_never_on_the_disk(played: Played) -> None:
    assert played.looks > 10
    assert played.holding_the_key == set()


def test_no_weights_are_fetched_and_nothing_is_left(played: Played) -> None:
    assert [path.name for path in played.folder.iterdir()] == ["cache"]
    assert [path.name for path in (played.folder / "cache").iterdir()] == ["rows"]
