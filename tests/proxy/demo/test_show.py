import io
import re
from typing import Any

import pytest
from rich.console import Console

from proxy.demo.setting import LOCAL, OPENAI, Setting
from proxy.demo.show import Measured, Result, paid_back, show

CARD = {
    "winner": "prompt",
    "program": {"system": "Find the [intent].", "demonstrations": [{}]},
    "scores": [{"name": "prompt", "right": 17, "of": 19}],
}


def result(*, old: float = 0.0032, new: float = 0.00064, compiled: float = 0.01, **more: Any) -> Result:
    """`old`, `new`: what 32 calls cost before the card and with it."""
    report = {"requests": 33, "compile_usd": compiled, "net_saving_usd_estimated": -0.0072}
    state = {"card": CARD, "state": {"stage": "live", "reason": ""}}
    measured = {"before": Measured(27, 32, 0, old), "plain": Measured(9, 32), "after": Measured(32, 32, 1, new)}
    return Result(**{"name": "travel", "state": state, "report": report, **measured, **more})


def shown(setting: Setting, *results: Result, width: int = 80) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width), setting, results, 61.4)
    return out.getvalue()


@pytest.mark.parametrize("setting", [LOCAL, OPENAI])
@pytest.mark.parametrize("width", [80, 100, 120])
def test_both_tables_are_whole_within_80_columns(setting: Setting, width: int) -> None:
    text = shown(setting, result(old=32.0, new=31.9, compiled=99.5), width=width)
    lines = [line for line in text.splitlines() if line[:1] in "┏┃┡│└"]
    assert max(len(line) for line in lines) <= 80
    assert "…" not in text
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "travel" in line]
    assert cells == [
        ["travel", "84% (27/32)", "28% (9/32)", "100% (32/32)"],
        ["travel", "1000.0000", "996.8750", "99.5000", "-0.0072", "31,840 calls"],
    ]


def test_a_negative_saving_stands_beside_its_break_even() -> None:
    assert re.search(r" -0\.0072 │ +125 calls │", shown(OPENAI, result()))
    assert paid_back(result()) == (
        "travel: its compile is paid back after 125 calls; "
        "after the 33 calls of this run the net saving is -$0.0072 (estimated)."
    )


def test_a_card_that_saves_nothing_is_never_paid_back() -> None:
    assert "never paid back" in paid_back(result(new=0.0032))


@pytest.mark.parametrize("lacking", [{"before": Measured()}, {"after": Measured()}])
def test_a_break_even_that_was_not_measured_is_not_guessed(lacking: dict[str, Measured]) -> None:
    assert "was not measured" in paid_back(result(**lacking))
    assert "│ travel │" in shown(OPENAI, result(**lacking))


def test_a_task_without_a_card_says_why() -> None:
    without = result(state={"card": None, "state": {"stage": "kept", "reason": "the meta model refused"}})
    assert "travel: no card, the meta model refused" in shown(OPENAI, without)
    assert without.break_even is None


def test_prices_are_explained_where_they_are_assumed() -> None:
    assert "priced as gpt-4.1" in shown(LOCAL, result())
    assert "priced as" not in shown(OPENAI, result())


def test_a_prompt_in_brackets_is_no_markup() -> None:
    assert "Find the [intent]." in shown(OPENAI, result())
