"""`cuecard demo --upstream openai --yes`, once, against a fake OpenAI that knows its own bill."""

import asyncio
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.pricing import PriceBook, Usage
from proxy.cli import main
from proxy.demo import command
from proxy.demo.setting import OPENAI, QUICK
from proxy.demo.spend import calls_usd
from tests.fake_upstream import Call, FakeUpstream
from tests.proxy.demo.conftest import able, fill, label_in, small

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


PACE = replace(QUICK, calls=230)  # a fake answers faster than Cuecard looks for what is worth a compile


async def _play(played: Played) -> None:
    def nano(request: Any) -> str:
        if label_in(request) == "transfer":  # now and then
            played.look()
        return small(request)

    def strong(request: Any) -> str:
        if "<instructions>" not in str(request["messages"][-1]["content"]):
            return able(request)
        played.look()
        return "<prompt>Find the intent.</prompt>"

    async with FakeUpstream() as fake:
        fake.keys = {KEY}
        fake.answers["gpt-4.1"] = strong
        fake.answers["gpt-4.1-nano"] = nano
        fake.seconds["gpt-4.1"] = 0.04
        environ = {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": fake.url,
            "CUECARD_CACHE": str(fill(played.folder / "cache")),
            "TMPDIR": str(played.folder),
            "COLUMNS": "80",
        }
        arguments = ["demo", "--upstream", "openai", "--yes"]
        done = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=environ)
        played.code, played.output, played.calls = done.exit_code, done.output, fake.calls
        played.look()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    played = Played(tmp_path_factory.mktemp("demo"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(played.folder))
        patch.setattr(command, "QUICK", PACE)
        asyncio.run(_play(played))
    return played


def test_it_tells_the_way_of_both_tasks_in_order(played: Played) -> None:
    assert played.code == 0, played.output
    shown = " ".join(played.output.split())
    assert shown.index("at most $") < shown.index("The margin is 10 % here") < shown.index("money observing")
    for way in ("observing recognised compiling shadowing ramping", "observing recognised compiling kept"):
        name = "money" if "ramping" in way else "desk"
        at = [shown.index(f"{name} {stage}") for stage in way.split()]
        assert at == sorted(at)
    assert "Message: {text1}" in shown
    assert "headroom:" in shown
    assert max(map(len, played.output.splitlines())) <= 80


def test_one_task_is_served_and_the_other_is_kept(played: Played) -> None:
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in reversed(played.output.splitlines())
        if line.startswith(("│ money ", "│ desk "))
    }  # of the first table
    stage, _, served, share, _, bound = rows["money"]
    assert (stage, int(served) >= PACE.served, share) == ("ramping", True, "50 %")
    assert float(bound.rstrip("%")) <= 20
    stage, _, served, share, *_ = rows["desk"]
    assert (stage, served, share) == ("kept", "0", "0 %")
    assert "no cheaper model is good enough" in " ".join(played.output.split())


def test_accuracy_is_measured_apart(played: Played) -> None:
    shown = " ".join(played.output.split())
    assert re.search(r"money │ 100% \(24/24\) │ \d\d% \(\d+/24\) │ 100% \(24/24\)", shown)
    assert "desk │ 100% (24/24) │ 0% (0/24) │ 100% (24/24)" in shown
    assert "a difference under about 20 points is noise" in shown


def test_it_calls_the_two_models_only_with_the_users_key(played: Played) -> None:
    assert {call.model for call in played.calls} == {"gpt-4.1", "gpt-4.1-nano"}
    assert {call.header("authorization") for call in played.calls} == {f"Bearer {KEY}"}
    assert all(call.billed for call in played.calls)


def test_it_costs_less_than_it_said(played: Played) -> None:
    setting = OPENAI.capped(0.50)
    said = " ".join(played.output.split())
    background, calls = (float(found) for found in re.findall(r"(?:proving|app's calls) \$([\d.]+)", said)[:2])
    assert background == pytest.approx(setting.background_usd)
    assert calls == pytest.approx(calls_usd(setting, PACE, played.folder / "cache"), abs=0.005)
    assert 0 < played.usd < 0.50


def test_the_key_is_never_on_the_disk(played: Played) -> None:
    assert played.looks > 10
    assert played.holding_the_key == set()


def test_no_weights_are_fetched_and_nothing_is_left(played: Played) -> None:
    assert [path.name for path in played.folder.iterdir()] == ["cache"]
    assert [path.name for path in (played.folder / "cache").iterdir()] == ["rows"]
