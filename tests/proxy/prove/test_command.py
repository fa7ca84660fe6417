"""`cuecard prove` as a person or a script meets it, over a fake upstream."""

import re
from pathlib import Path

import pytest

from tests.learned import TOXIC
from tests.proxy.prove.conftest import TOXIC_NAME, URGENT_NAME, billed, calls, logged, right


@pytest.fixture
def page(tmp_path: Path):
    """The report as it was written."""
    return lambda: (tmp_path / "cuecard-proof.html").read_text("utf-8")


# Verdicts


async def test_one_task_passes_and_the_other_fails(told, log, fake):
    found = await told("log.jsonl", code=1)
    good, bad = found["tasks"]
    assert (good["task"], good["verdict"], bad["task"], bad["verdict"]) == (TOXIC_NAME, "pass", URGENT_NAME, "fail")
    assert good["loss_bound"] <= good["max_loss"] == 0.1
    assert (good["examples"], good["differing"], good["models"]["candidate"]) == (25, 0, "fake-nano")
    assert good["pairs"] < 75, "no more than it takes"
    assert "more like them would not help" in bad["reason"] and bad["pairs_wanted"] == "never"
    assert {pair["candidate"] for pair in bad["worst"]} == {"later"}
    assert found["exit_code"] == 1
    assert found["usd"] == pytest.approx(billed(fake)) == sum(cost["usd"] for cost in found["costs"])


async def test_a_log_of_which_all_can_be_moved_ends_with_0(prove, tmp_path, page):
    logged(tmp_path / "log.jsonl", calls(TOXIC))
    done = await prove("log.jsonl")
    said = " ".join(done.stdout.split())
    assert said.startswith("1 of 1 task can move to a cheaper model: at most 9.")
    assert re.search(r"worse \(95 % sure\), which saves an estimated \$0\.\d+ a month\.", said)
    assert f"{TOXIC_NAME}: pass on fake-nano" in said
    assert "the report is in cuecard-proof.html" in said
    assert page().count("<polyline") == 1


async def test_pairs_are_later_than_what_the_compile_saw(told, tmp_path, fake):
    log = calls(TOXIC)
    logged(tmp_path / "log.jsonl", log)
    fake.answers["fake-nano"] = right
    await told("log.jsonl")
    shown = [call["request"]["messages"][-1]["content"] for call in log]
    written = fake.calls_to("fake-strong")[0].json["messages"][-1]["content"].replace("\\n", "\n")
    assert any(text in written for text in shown[:25])
    assert not any(text in written for text in shown[25:])
    asked = [call.json["messages"][-1]["content"] for call in fake.calls_to("fake-nano")]
    assert asked[-8:] == [text for text in shown[25:] if text in asked[-8:]], "oldest first"


async def test_the_max_loss_can_be_given(told, log):
    found = await told("log.jsonl", "--max-loss", "30%", code=1)
    assert found["tasks"][0]["max_loss"] == 0.3
    assert found["tasks"][0]["pairs"] < 40
