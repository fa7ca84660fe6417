"""What compiling a log's tasks could save, and how the page shows it."""

import io
import math
import re

import pytest
from rich.console import Console

from compiler.ledger import Charge, Tally
from compiler.pricing import PriceBook, Usage
from compiler.worth import Range, Terms
from proxy.replay.outcome import FREE_CHAT, NO_DAYS, outcome_of
from proxy.replay.page import TaskRow, between, dollars, number, percent, render
from proxy.replay.present import page_of, say
from proxy.replay.recogniser import Match
from proxy.replay.replay import DAY, Replayed

PRICES = PriceBook({"big": {"input": 10.0, "output": 40.0}, "small": {"input": 0.1, "output": 0.4}})
TERMS = Terms(PRICES, ("small",), "big", "small")
USAGE = Usage(input=3_000, output=10)
USD = 0.0304


def replayed(calls: int, *, days: float | None = 10.0, catch_all: bool = False, model: str = "big") -> Replayed:
    found = Replayed(whole=True, first=DAY if days else None, last=(1 + days) * DAY if days else None)
    found.matches["t"] = Match("t", "sort", "system: Sort\nuser: {text1}", catch_all)
    found.tally = tally = Tally()
    reason = "catch_all" if catch_all else "no_card"
    for _ in range(calls):
        tally.add(
            Charge(
                "t",
                model,
                "serve",
                "original",
                USAGE,
                USD,
                ends_request=True,
                reason=reason,
                endpoint="/v1/chat/completions",
            )
        )
    tally.add(
        Charge(
            "-",
            model,
            "serve",
            "original",
            USAGE,
            USD,
            ends_request=True,
            reason="tools",
            endpoint="/v1/chat/completions",
        )
    )
    found.reading.calls = calls + 1
    return found


def test_a_task_with_many_calls_is_worth_it_and_its_saving_is_of_30_days():
    outcome = outcome_of(replayed(30_000), TERMS)
    (task,) = outcome.tasks
    worth = task.possible.worth
    assert worth is not None
    assert (worth.verdict, worth.seen.calls_per_day, worth.seen.input) == ("worth it", 3_000, 3_000)
    assert task.saving == pytest.approx((30 * worth.saving_per_day.low, 30 * worth.saving_per_day.high))
    assert outcome.saving == pytest.approx(task.saving)
    assert task.share == pytest.approx(30_000 / 30_001)


def test_what_is_not_worth_it_saves_nothing():
    outcome = outcome_of(replayed(3), TERMS)
    assert outcome.tasks[0].possible.worth is not None
    assert outcome.tasks[0].possible.worth.verdict == "not worth it"
    assert outcome.saving == Range(0, 0)


def test_what_may_be_worth_it_saves_nothing_at_worst():
    outcome = outcome_of(replayed(200), TERMS)
    worth = outcome.tasks[0].possible.worth
    assert worth is not None
    assert worth.verdict == "perhaps"
    assert worth.saving_per_day.low > 0
    assert outcome.saving == pytest.approx((0, 30 * worth.saving_per_day.high))


def test_the_kind_of_its_answers_tells_how_long_its_proof_takes():
    found = replayed(30)
    for i in range(30):
        found.kinds.add("t", {"choices": [{"message": {"content": f"a free answer, number {i}"}}]})
    worth = outcome_of(found, TERMS).tasks[0].possible.worth
    assert worth is not None
    assert (worth.seen.kind, worth.pairs) == ("text", Range(285, 1_430))


def test_free_chat_is_in_the_funnel_and_no_task():
    said = io.StringIO()
    say(outcome_of(replayed(9, catch_all=True), TERMS), Console(file=said, width=100))
    assert "free chat under a general system prompt" in said.getvalue()
    assert "What could be saved" not in said.getvalue()
    assert "a day" not in said.getvalue()


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (replayed(9, days=None), NO_DAYS),
        (replayed(9, days=0.5), NO_DAYS),
        (replayed(9, catch_all=True), FREE_CHAT),
        (replayed(9, model="unlisted"), "no price is known for unlisted"),
    ],
)
def test_what_can_t_be_said_says_why(found, why):
    outcome = outcome_of(found, TERMS)
    assert (outcome.tasks[0].possible.why_not, outcome.tasks[0].saving, outcome.saving) == (why, None, None)
    assert outcome.to_json()["tasks"][0]["possible_savings"] == {"verdict": "unknown", "why_not": why}


def test_the_bars_take_every_dollar_away_once():
    bars = page_of(outcome_of(replayed(30), TERMS)).bars
    assert [bar.title for bar in bars] == ["All calls", "Tools", "Recognised tasks"]
    assert bars[0].left_usd == pytest.approx(31 * USD)
    assert bars[1].usd == pytest.approx(USD)
    assert bars[1].left_usd == pytest.approx(bars[2].left_usd) == pytest.approx(30 * USD)


def test_a_cost_that_nobody_knows_is_not_shown_as_nothing():
    found = replayed(2)
    found.tally.add(Charge("-", "m", "serve", "original", USAGE, None, reason="not_chat", endpoint="/v1/embeddings"))
    page = re.sub(r"<[^>]+>", " ", render(page_of(outcome_of(found, TERMS))))
    assert re.search(r"/v1/embeddings: metered, not yet optimisable\s+unknown +1 call\b", page)
    assert re.search(r"All calls\s+\$0\.0912 \+ \? +4 calls", page)


def test_the_page_says_each_task_or_why_not():
    page = render(page_of(outcome_of(replayed(30_000), TERMS)))
    for part in ("big → small?", "worth it", "3,000", "<mark>{text1}</mark>", "in 10 days"):
        assert part in page
    assert NO_DAYS in render(page_of(outcome_of(replayed(9, days=None), TERMS)))
    assert "No task was recognised" in render(page_of(outcome_of(replayed(9, catch_all=True), TERMS)))


def test_only_what_a_template_writes_is_a_slot():
    row = TaskRow("n", 'say {"a": 1} to {name} {email12}', "m", 1.0, 1.0, 1.0, None, None, "")
    assert [part for part, slot in row.parts if slot] == ["{email12}"]


def test_amounts_are_as_exact_as_their_size_asks_for():
    assert [dollars(x) for x in (0, 1234.5, 12.346, 0.4, 0.00123, -3)] == [
        *("$0.00", "$1,234", "$12.35", "$0.40", "$0.0012", "-$3.00")
    ]
    assert [percent(x) for x in (0, 0.004, 0.5, 1)] == ["0%", "0.4%", "50%", "100%"]
    assert between(Range(1, math.inf), number) == "1.0 – never"
    assert between(Range(2, 2)) == "$2.00"
