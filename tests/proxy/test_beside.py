"""How two answers are shown: what differs, side by side where there is room, and nothing that a terminal obeys."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from proxy.beside import INPUT_CHARS, shortened, show

TEMPLATE = "Decide whether the comment is toxic. Answer with yes or no.\nComment: "


def pair(**more: Any) -> dict[str, Any]:
    of_all = {"time": 1_700_000_000.0, "outcome": "judged", "d": 1.0, "reason": "", "judge": "A names the date."}
    return of_all | {"input": "The parcel came.", "current": "On 3 May.", "candidate": "Some day."} | more


def shown(*pairs: dict[str, Any], width: int = 80) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, highlight=False), pairs)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    return "\n".join(lines)


def test_on_a_narrow_terminal_one_is_below_the_other():
    assert shown(pair()).splitlines() == [
        "1  judged, d = +1.00, 2023-11-14 22:13 UTC",
        "   input          The parcel came.",
        "   judge          A names the date. (A: current model, B: card)",
        "   current model  On 3 May.",
        "   card           Some day.",
    ]


def test_on_a_wide_one_they_are_side_by_side():
    lines = shown(pair(current="On 3 May. " * 12, candidate="Some day."), width=120).splitlines()
    assert lines[3].split() == ["current", "model", "card"]
    assert lines[4].split("  ")[-1] == "Some day."
    assert lines[4].index("Some day.") == lines[3].index("card")
    assert lines[5].strip().startswith("On 3 May.")


@pytest.mark.parametrize("width", [80, 120])
def test_of_json_only_the_fields_that_differ_are_shown(width):
    left = {"sum": 1250, "to": {"name": "Ada", "town": "Rome"}, "ok": True}
    right = {"sum": 1550, "to": {"name": "Ada", "town": "1"}, "ok": True, "more": [1]}
    text = shown(pair(current=json.dumps(left), candidate=json.dumps(right)), width=width)
    assert all(part in text for part in ("/sum", "1250", "1550", "/to/town", '"Rome"', '"1"', "/*"))
    assert "Ada" not in text and "/ok" not in text


def test_a_field_that_one_of_them_lacks_says_so():
    assert "(missing)" in shown(pair(current='{"a": 1, "b": 2}', candidate='{"a": 1}'))


def test_of_very_many_fields_the_first_are_shown():
    left, right = ({f"k{n}": n + add for n in range(40)} for add in (0, 1))
    text = shown(pair(current=json.dumps(left), candidate=json.dumps(right)))
    assert "/k11" in text and "/k12" not in text and "and 28 more" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_same_answer_is_shown_once(width):
    text = shown(pair(outcome="same", d=0.0, current="yes", candidate="yes", judge=""), width=width)
    assert text.splitlines()[0] == "1  same, 2023-11-14 22:13 UTC"
    assert text.count("yes") == 1 and "both" in text


def test_what_did_not_come_through_says_why():
    failed = pair(outcome=None, d=None, reason="fake-nano: HTTP 503", candidate="", judge="", time=None)
    lines = shown(failed).splitlines()
    assert lines[0] == "1  failed: fake-nano: HTTP 503"
    assert lines[3] == "   card           (nothing)"


def test_what_is_no_longer_kept_is_said_to_be():
    assert shown(pair(input=None, current=None)).count("(no longer kept)") == 2


def test_a_judge_that_changed_its_mind_is_not_quoted():
    assert "names the date" not in shown(pair(d=0.0))


def test_lines_of_code_stay_lines():
    lines = shown(pair(current="def f():\n    return 1", candidate="def f():\n    return 2")).splitlines()
    assert "                      return 1" in lines and "                      return 2" in lines


HOSTILE = "\x1b[2J\x1b]0;owned\x07 [bold red]x[/] \u202egnp.exe \r\x9b1m \ud800"


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("where", ["input", "current", "candidate", "judge"])
def test_nothing_that_a_model_or_a_client_wrote_reaches_the_terminal_as_a_command(where, width):
    text = shown(pair(**{where: HOSTILE}), width=width)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "[bold red]x[/]" in text, "it is shown as it is written"
    text.encode()


def test_keys_of_hostile_json_are_made_harmless_too():
    text = shown(pair(current='{"\\u001b[2J": 1}', candidate='{"\\u001b[2J": 2}'))
    assert "\x1b" not in text and "[2J" in text


def test_inputs_are_shown_without_what_all_of_them_begin_with():
    found = shortened([TEMPLATE + "you fool", None, TEMPLATE + "you are right"])
    assert found == ["… Comment: you fool", None, "… Comment: you are right"]
    assert shortened([TEMPLATE + "you fool"]) == [" ".join(TEMPLATE.split()) + " you fool"]
    assert shortened(["Good morning", "Good evening"]) == ["Good morning", "Good evening"]
    assert shortened([]) == []


def test_a_long_input_keeps_its_beginning_and_its_end():
    (found,) = shortened([f"begins {'and goes on ' * 500}and ends"])
    assert found and found.startswith("begins") and found.endswith("and ends") and len(found) <= INPUT_CHARS + 3


def test_a_long_answer_is_cut_and_says_by_how_much():
    assert "200 more characters, see --json" in " ".join(shown(pair(candidate="x" * 1_000)).split())
