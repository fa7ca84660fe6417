import io
from dataclasses import replace

import pytest
from rich.console import Console

from compiler.steps import Step
from proxy.demo.known import Known
from proxy.demo.rows import DESK
from proxy.demo.tale import COLUMNS, Tale
from proxy.dossier import Stand

TEMPLATE = f"user: {DESK.prompt.format(text='{text1}')}"
STEPS = (Step("headroom", "nano", "9/14 as wanted", calls=14, usd=0.0003), Step("chosen", "nano", "original"))


def stand(stage: str, *, traffic: float = 0.0, pairs: int = 0, reason: str = "") -> Stand:
    return Stand("find-desk", stage, traffic, 0.3, pairs, "find-desk@1", "nano", reason)


@pytest.fixture
def told() -> tuple[Tale, io.StringIO]:
    out = io.StringIO()
    return Tale(DESK, Console(file=out, width=COLUMNS), name="find-desk", calls=17), out


def words(out: io.StringIO) -> str:
    return " ".join(out.getvalue().split())


def test_a_whole_way_is_told_in_its_order_and_fits_80_columns(told: tuple[Tale, io.StringIO]) -> None:
    tale, out = told
    tale.learned(Known(TEMPLATE))
    tale.learned(Known(TEMPLATE, stand("observing")))
    tale.learned(Known(TEMPLATE, stand("compiling"), steps=STEPS[:1]))
    tale.learned(Known(TEMPLATE, stand("shadowing", pairs=14, reason="at most 58 % worse"), steps=STEPS))
    tale.learned(Known(TEMPLATE, stand("ramping", traffic=0.33, pairs=31, reason="at most 30 % worse"), steps=STEPS))
    assert tale.stage == "ramping"
    parts = ("recognised", "at call 17", "{text1}", "compiling", "worth it", "headroom: 9/14 as wanted (14 calls")
    parts += ("chosen: original", "shadowing", "at most 58 % worse", "ramping", "serves 33 %: at most 30 % worse")
    at = [words(out).index(part) for part in parts]
    assert at == sorted(at)
    assert max(map(len, out.getvalue().splitlines())) <= COLUMNS


def test_what_was_told_is_not_told_again(told: tuple[Tale, io.StringIO]) -> None:
    tale, out = told
    known = Known(TEMPLATE, stand("kept", reason="loses 9 of 14"), steps=STEPS)
    for _ in range(3):
        tale.learned(known)
    assert words(out).count("loses 9 of 14") == words(out).count("headroom") == words(out).count("recognised") == 1


def test_pairs_are_told_ten_at_a_time(told: tuple[Tale, io.StringIO]) -> None:
    tale, out = told
    for pairs in range(14, 40):
        tale.learned(Known(TEMPLATE, stand("shadowing", pairs=pairs, reason=f"({pairs} pairs)")))
    assert [pairs for pairs in range(14, 40) if f"({pairs} pairs)" in words(out)] == [14, 24, 34]


def test_another_compile_is_told_from_its_beginning(told: tuple[Tale, io.StringIO]) -> None:
    tale, out = told
    tale.learned(Known(TEMPLATE, stand("compiling"), steps=STEPS))
    tale.learned(Known(TEMPLATE, stand("compiling"), steps=(replace(STEPS[0], line="8/14 as wanted"),)))
    assert "8/14" in words(out)
