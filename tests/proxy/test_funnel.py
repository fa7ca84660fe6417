"""Every dollar is in exactly one place, and says why it is there."""

import json
import random
from collections.abc import Iterable

import pytest

from compiler.ledger import Row, Sums
from compiler.recognition.structure import CHAT
from proxy.decide import REASONS
from proxy.funnel import (
    EARLIER,
    MEANING,
    NANO,
    STEPS,
    STOPS,
    UNHEARD,
    Amount,
    Funnel,
    Group,
    build_funnel,
    dollars,
    stop_of,
    total,
)
from proxy.paths import ENDPOINTS

Rows = list[tuple[str, Row, Sums]]


def row(
    reason: str = "", calls: int = 1, cost: float = 0.0, *, route: str = "original", role: str = "serve",
    model: str = "gpt", endpoint: str = CHAT, **sums: int,
) -> tuple[str, Row, Sums]:  # fmt: skip
    return "-", Row(model, role, route, reason, endpoint), Sums(calls=calls, requests=calls, cost=cost, **sums)


def excluded(funnel: Funnel) -> dict[str, dict[str, int]]:
    """Calls by step and reason."""
    return {
        step.name: {reason: amounts(g for g in step.excluded if g.reason == reason).calls for reason in reasons}
        for step in funnel.steps
        if (reasons := {group.reason for group in step.excluded})
    }


def amounts(groups: Iterable[Group]) -> Amount:
    return total(group.amount for group in groups)


def test_every_reason_has_its_step_and_its_sentence():
    assert set(STOPS) == {*REASONS, EARLIER, UNHEARD}
    assert set(MEANING) == set(STEPS)
    for reason, stop in STOPS.items():
        assert stop.step in STEPS[1:], reason
        sentence = Group(reason, Amount(2, nano=NANO), stop.words.format(endpoint="/v1/x")).sentence
        assert sentence.startswith("2 calls, $1.00, ")
        assert "{" not in sentence


def test_the_bill_of_nothing_is_nothing():
    funnel = build_funnel([])
    assert funnel.bill == Amount()
    assert [step.name for step in funnel.steps] == list(STEPS)
    assert all(step.amount == Amount() and step.excluded == () for step in funnel.steps)


def test_each_call_goes_as_far_as_its_reason_lets_it():
    funnel = build_funnel(
        [
            row("not_chat", 7, 7.0, endpoint="/v1/responses"),
            row("not_chat", 6, 6.0, endpoint="/v1/embeddings"),
            row("multi_turn", 5, 5.0),
            row("unrecognised", 4, 4.0),
            row("kept", 3, 3.0),
            row(route="compiled", calls=2, cost=2.0),
            row(route="fallback", calls=1, cost=1.0),
        ]
    )
    assert excluded(funnel) == {
        "seen": {"not_chat": 13},
        "eligible": {"multi_turn": 5},
        "matched": {"unrecognised": 4},
        "live": {"kept": 3},
    }
    assert [step.amount.usd for step in funnel.steps] == [28.0, 15.0, 10.0, 6.0, 3.0]
    assert [step.amount.calls for step in funnel.steps] == [28, 15, 10, 6, 3]
    assert [(g.reason, g.amount.usd) for g in funnel.served] == [("compiled", 2.0), ("fallback", 1.0)]
    assert [(g.endpoint, g.amount.usd) for g in funnel.step("seen").excluded] == [
        ("/v1/responses", 7.0),
        ("/v1/embeddings", 6.0),
    ]


def test_cuecards_own_calls_are_a_part_of_the_bill_and_no_step_of_the_apps():
    funnel = build_funnel([row("tools", 2, 1.0), row(role="compile", calls=3, cost=0.25), row(role="judge", cost=0.5)])
    assert (funnel.bill.calls, funnel.bill.usd) == (6, 1.75)
    assert funnel.step("bill").amount.usd == 1.0
    assert [(group.reason, group.amount.usd) for group in funnel.own] == [("judge", 0.5), ("compile", 0.25)]
    assert "Cuecard's own" in funnel.own[0].sentence


def test_what_an_expert_of_a_served_plan_answers_is_the_apps():
    assert build_funnel([row(role="expert", route="compiled", cost=1.0)]).step("live").amount.usd == 1.0


@pytest.mark.parametrize(
    ("reason", "route", "stop"),
    [
        ("", "original", EARLIER),
        ("from the future", "original", UNHEARD),
        ("tools", "original", "tools"),
        ("", "compiled", ""),
        ("", "fallback", ""),
        ("", "cached", ""),
        ("", "-", EARLIER),
    ],
)
def test_rows_of_other_versions_stop_somewhere_too(reason, route, stop):
    assert stop_of(Row("m", "serve", route, reason)) == stop


def test_the_sentence_of_a_group_is_one_that_people_read():
    (group,) = build_funnel([row("not_chat", 412, 18.2, endpoint="/v1/responses")]).step("seen").excluded
    assert group.sentence == "412 calls, $18.20, arrived on /v1/responses: metered, not yet optimisable"
    (group,) = build_funnel([row("tools", 1, 0.0, failed=1)]).step("eligible").excluded
    assert group.sentence == "1 call (1 failed), $0.00, offered tools: not yet optimisable"
    (group,) = build_funnel([row("not_chat", endpoint="other")]).step("seen").excluded
    assert "arrived on a path that Cuecard does not know" in group.sentence


def test_what_has_no_price_is_named_and_never_a_silent_nought():
    rows = [
        row("not_chat", 0, model="other", endpoint="/v1/audio/speech", unmetered=3),
        row("tools", 4, 1.5, model="new-model", unpriced=1),
        row("tools", 2, 0.5),
    ]
    funnel = build_funnel(rows)
    (speech,), (tools,) = funnel.step("seen").excluded, funnel.step("eligible").excluded
    assert speech.sentence.startswith("3 calls, cost unknown (other), arrived on /v1/audio/speech")
    assert tools.sentence.startswith("6 calls, $2.00 and 1 of unknown cost (new-model), offered")
    assert (funnel.bill.calls, funnel.bill.unknown, sorted(funnel.bill.models)) == (9, 4, ["new-model", "other"])
    assert funnel.step("seen").amount.unknown == 1


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "$0.00"),
        (NANO * 1_234_567 + 8 * NANO // 10, "$1,234,567.80"),
        (NANO, "$1.00"),
        (NANO // 2, "$0.50"),
        (NANO // 80, "$0.0125"),
        (NANO // 1_000, "$0.001"),
        (1_234, "$0.000001"),
        (100, "less than $0.000001"),
    ],
)
def test_dollars_are_shown_with_the_digits_that_say_something(nano, shown):
    assert dollars(nano) == shown


def random_ledger(dice: random.Random) -> Rows:
    routes = ("original", "original", "original", "compiled", "fallback", "cached", "-", "new")
    roles = ("serve", "serve", "serve", "conductor", "expert", "compile", "judge", "shadow", "new")
    rows = []
    for _ in range(dice.randrange(60)):
        at = Row(
            dice.choice(("gpt", "nano", "other")),
            dice.choice(roles),
            dice.choice(routes),
            dice.choice((*REASONS, "", "new")),
            dice.choice(sorted(ENDPOINTS)),
        )
        calls, unmetered = dice.randrange(1_000), dice.choice((0, 0, dice.randrange(9)))
        cost = dice.choice((0.0, dice.random() * 10 ** dice.randrange(-7, 6)))
        sums = Sums(calls=calls, requests=calls, failed=dice.randrange(3), unmetered=unmetered, cost=cost)
        rows.append((dice.choice(("-", "mood")), at, sums))
    return rows


@pytest.mark.parametrize("seed", range(200))
def test_no_dollar_and_no_call_is_lost_or_doubled(seed):
    """Not to the cent: exactly, at every step."""
    dice = random.Random(seed)
    rows = random_ledger(dice)
    funnel = build_funnel(rows)
    everything = total(Amount.of(at, sums) for _, at, sums in rows)
    assert funnel.bill == everything == funnel.step("bill").amount + amounts(funnel.own)
    for before, step in zip(funnel.steps, funnel.steps[1:], strict=False):
        assert step.amount + amounts(step.excluded) == before.amount
    assert amounts(funnel.served) == funnel.step("live").amount
    assert funnel.step("bill").excluded == ()
    assert funnel.bill.usd == pytest.approx(sum(sums.cost for _, _, sums in rows), abs=1e-6)
    dice.shuffle(rows)
    assert build_funnel(rows) == funnel


def test_it_goes_into_json_and_its_dollars_still_add_up():
    funnel = build_funnel(random_ledger(random.Random(7)))
    shown = json.loads(json.dumps(funnel.to_json()))
    assert [step["name"] for step in shown["steps"]] == list(STEPS)
    for before, step in zip(shown["steps"], shown["steps"][1:], strict=False):
        left_out = sum(group["usd"] for group in step["excluded"])
        assert step["usd"] + left_out == pytest.approx(before["usd"], abs=1e-6)
    assert all(group["sentence"] for step in shown["steps"] for group in step["excluded"])
