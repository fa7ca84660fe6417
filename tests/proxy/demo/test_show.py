import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from compiler.card import Card
from compiler.evidence import Evidence
from compiler.ledger import Row, Sums
from compiler.program import Prompt
from compiler.proof import Proof
from compiler.score import Scoring
from compiler.task import Contract
from proxy.demo.gold import Gold
from proxy.demo.known import Known
from proxy.demo.rows import DESK, MONEY
from proxy.demo.setting import LOCAL, OPENAI, SETTINGS, Setting
from proxy.demo.show import Result, introduce, show
from proxy.demo.tale import Tale
from proxy.dossier import Stand
from proxy.report import TaskReport

CARD = Card(
    task="sort",
    version=1,
    definition="",
    model="nano",
    program=Prompt("Find the [intent]."),
    contract=Contract("label", labels=("yes", "no")),
    winner="rules",
    static_tokens=0,
    original_tokens=0,
    created="",
    compile_usd=0.02,
    usd_per_call=(0.0003, 0.0001),
)


def proof(pairs: int) -> Proof:
    found = Proof("sort@1", Scoring("label", None), Evidence(0.1))
    for _ in range(pairs):
        found.evidence.add(0.0)
    return found


def booked(**usd: float) -> TaskReport:
    rows = {
        Row(role=role, route="original" if role == "serve" else "", model="m"): Sums(calls=9, requests=9, cost=cost)
        for role, cost in usd.items()
        if role != "baseline"
    }
    found = TaskReport(rows)
    for row, sums in rows.items():
        if row.role == "serve":
            sums.baseline, sums.baselined = usd.get("baseline", 0.0), 9
    return found


def result(stage: str = "ramping", **more: Any) -> Result:
    stand = Stand("sort", stage, 0.5, 0.2, 40, "sort@1", "nano", "why so")
    tale = Tale(MONEY, Console(quiet=True), name="sort", calls=110, served=14)
    tale.known = Known("user: {text1}", stand, CARD, proof(40))
    money = booked(serve=0.0165, baseline=0.0180, compile=0.02, shadow=0.001)
    return replace(Result(tale, money, Gold(own=23, cheap=9, served=22, of=24)), **more)


def kept() -> Result:
    stand = Stand("desk", "kept", 0.0, None, 0, None, None, "loses 9 of 14 with 'original'")
    tale = Tale(DESK, Console(quiet=True), name="desk", calls=60)
    tale.known = Known("user: {text1}", stand)
    return Result(
        tale, booked(serve=123.456, baseline=123.456, compile=0.0351), Gold(own=16, cheap=1, served=16, of=24)
    )


def shown(setting: Setting, *results: Result, width: int = 80) -> str:
    out = io.StringIO()
    say = Console(file=out, width=width)
    introduce(say, setting)
    show(say, setting, results, 401.4)
    return out.getvalue()


def cells(text: str, task: str) -> list[list[str]]:
    rows = [line.strip("│").split("│") for line in text.splitlines() if line.startswith(f"│ {task} ")]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("width", [80, 120])
def test_all_of_it_fits_80_columns(setting: Setting, width: int) -> None:
    text = shown(setting, result(), kept(), width=width)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_the_margin_is_said_and_why_it_is_larger() -> None:
    said = " ".join(shown(LOCAL, result()).split())
    assert "The margin is 10 % here" in said
    assert "none while it may be over 30 % worse" in said
    assert "the default margin, 2 %" in said


def test_a_task_that_ramps_has_its_evidence_its_money_and_its_accuracy() -> None:
    stages, money, gold = cells(shown(LOCAL, result()), "money")
    assert stages == ["money", "ramping", "110", "14", "50 %", "40", f"{proof(40).bound:.1%}"]
    assert money == ["money", "$0.018", "$0.0165", "$0.02", "$0.001", "-$0.0195", "105 answers"]
    assert gold == ["money", "96% (23/24)", "38% (9/24)", "92% (22/24)"]


def test_a_task_that_is_kept_says_why_and_is_never_paid_back() -> None:
    text = shown(LOCAL, result(), kept())
    stages, money, _ = cells(text, "desk")
    assert stages == ["desk", "kept", "60", "0", "0 %", "-", "-"]
    assert money[-1] == "-"
    assert "desk: loses 9 of 14 with 'original'" in text


def test_a_task_that_was_not_reached_is_told_too() -> None:
    tale = Tale(MONEY, Console(quiet=True), calls=3)
    text = shown(OPENAI, Result(tale, None, Gold()))
    assert cells(text, "money")[0] == ["money", "observing", "3", "0", "0 %", "-", "-"]
    assert cells(text, "money")[2] == ["money", "-", "-", "-"]
    assert "not taken up for a compile" in text


def test_a_card_that_saves_nothing_is_never_paid_back() -> None:
    tale = result().tale
    assert tale.known
    tale.known = tale.known._replace(card=replace(CARD, usd_per_call=(0.0001, 0.0001)))
    assert cells(shown(LOCAL, result(tale=tale)), "money")[1][-1] == "never"


def test_noise_is_of_the_rows_that_were_measured() -> None:
    assert "24 test rows of each: a difference under about 20 points is noise" in " ".join(
        shown(LOCAL, result()).split()
    )


def test_prices_are_explained_where_they_are_assumed() -> None:
    assert "priced as gpt-4.1" in " ".join(shown(LOCAL, result()).split())
    assert "priced as" not in shown(OPENAI, result())


def test_a_prompt_in_brackets_is_no_markup() -> None:
    assert "Find the [intent]." in shown(OPENAI, result())


def test_a_long_prompt_is_cut() -> None:
    tale = result().tale
    assert tale.known
    tale.known = tale.known._replace(card=replace(CARD, program=Prompt("\n".join(f"rule {n}" for n in range(40)))))
    text = shown(OPENAI, result(tale=tale))
    assert "rule 11" in text
    assert "rule 12" not in text
    assert "and 28 lines more" in text


def test_where_to_look_next() -> None:
    said = shown(LOCAL, result())
    assert all(name in said for name in ("cuecard report", "cuecard show", "Grafana"))
