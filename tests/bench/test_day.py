"""The day's own arithmetic: what is right, what was saved, lost and spent."""

import random

import pytest

from bench.day.books import Bill, bills, booked, by_role, over_time, peaks, total
from bench.day.load import Got
from bench.day.report import Day, Seen
from bench.day.server import Stood
from bench.day.traffic import (
    AGENT,
    BY_NAME,
    CANDIDATE,
    INCUMBENT,
    JUDGE,
    KINDS,
    MARK,
    META,
    Traffic,
    answer,
    found,
    loss,
    tokens,
    verdict,
    written,
)
from bench.day.upstream import Line, read, role_of

NOON, MIDNIGHT = 1_750_000_000.0, 1_750_032_000.0  # 15 June 2025, 15:06:40 UTC, and the end of that day


def got(at: float, route: str = "original", *, kind: str = "mood", lost: float = 0.0) -> Got:
    return Got(at, kind, route, loss=lost, own_loss=0.0, own_usd=0.01)


def line(at: float, role: str, model: str = INCUMBENT, *, kind: str = "mood", usd: float = 0.01) -> Line:
    """Of so many dollars, all of it input."""
    price = {INCUMBENT: 2.0, CANDIDATE: 0.1, JUDGE: 1.75, META: 5.0}[model]
    return Line(at, role, model, kind, round(usd * 1e6 / price), 0)


def test_the_shares_of_the_days_traffic_are_all_of_it():
    assert sum(kind.share for kind in KINDS) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.form in ("label", "json", "text")], ids=lambda kind: kind.name
)
def test_each_model_is_wrong_as_often_as_its_kind_says(kind):
    rng = random.Random(1)
    texts = [written(rng, kind.words) for _ in range(800)]
    for arm, model in enumerate((INCUMBENT, CANDIDATE)):
        wrong = sum(loss(kind, text, answer(kind, text, model, n)) > 0 for n, text in enumerate(texts)) / len(texts)
        assert wrong == pytest.approx(kind.misses[arm], abs=0.04)


@pytest.mark.parametrize("name", ["mood", "digest"])
def test_the_judge_prefers_what_is_right_in_either_order_and_takes_equal_answers_for_a_tie(name):
    kind, rng, said = BY_NAME[name], random.Random(2), set()
    for _ in range(800):
        text = written(rng, kind.words)
        right, cheap = (answer(kind, text, model) for model in (INCUMBENT, CANDIDATE))
        content = f"{kind.prompt}{MARK}{text}"
        both = verdict(content, right, cheap), verdict(content, cheap, right)
        better = loss(kind, text, cheap) - loss(kind, text, right)
        said.add((better, both))
    assert said <= {
        (0.0, ("TIE", "TIE")),
        (1.0, ("A", "B")),
        (-1.0, ("B", "A")),
        (1.0, ("TIE", "TIE")),
        (-1.0, ("TIE", "TIE")),
    }
    assert (1.0, ("A", "B")) in said


def test_the_same_request_is_the_same_again_and_its_text_is_found_in_it():
    for number in range(200):
        ask = Traffic(7).ask(number)
        assert ask == Traffic(7).ask(number)
        assert found(ask.body["messages"][-1]["content"]) in ((ask.kind, ask.text), None)
        assert (found(ask.body["messages"][-1]["content"]) is None) == (ask.kind.form in ("chat", "talk"))


def test_a_role_is_told_by_who_asks_and_for_what():
    cheap = {"model": CANDIDATE, "temperature": 0.2}
    assert role_of(AGENT, cheap) == "serve"
    assert [role_of("SDK", body) for body in (cheap, {**cheap, "temperature": 0})] == ["shadow", "compile"]
    assert [role_of("SDK", {"model": model}) for model in (META, JUDGE, INCUMBENT)] == ["compile", "judge", "judge"]


def test_the_log_is_read_as_it_was_written():
    lines = [line(NOON, "serve"), line(NOON + 0.25, "judge", JUDGE, kind="-")]
    assert read(one.row() for one in lines) == lines


def test_a_tasks_bill_is_what_its_own_model_would_have_cost_less_what_it_did():
    answers = [got(NOON + n, "original" if n < 15 else "compiled", lost=float(n == 19)) for n in range(20)]
    lines = [line(NOON + n, "serve", usd=0.01 if n < 15 else 0.001) for n in range(20)]
    lines += [line(NOON, "compile", META, usd=0.005), line(NOON, "judge", JUDGE, usd=0.00175)]
    bill = bills(answers, lines)["mood"]
    assert (bill.calls, bill.first, bill.last) == (20, 0.0, 1.0)
    assert bill.saved == pytest.approx(5 * 0.009)
    assert bill.net == pytest.approx(5 * 0.009 - 0.00675)
    assert bill.true_loss == pytest.approx(1 / 20)
    assert total([bill, bill]).saved == pytest.approx(2 * bill.saved)
    assert bill.proof_share is not None and bill.proof_share == pytest.approx(0.00175 / 0.045)
    assert Bill().proof_share is None


def test_the_background_is_summed_up_by_the_utc_day_of_the_upstreams_clock():
    lines = [line(MIDNIGHT - 1, "shadow", CANDIDATE), line(MIDNIGHT + 1, "judge", JUDGE), line(MIDNIGHT + 1, "serve")]
    assert peaks(lines) == {"2025-06-15": pytest.approx(0.01, rel=1e-3), "2025-06-16": pytest.approx(0.01, rel=1e-3)}


def test_over_the_day_sums_only_grow_with_what_was_answered_by_then():
    answers = [got(NOON + n, "compiled") for n in range(100)]
    lines = [line(NOON + n, "serve", usd=0.001) for n in range(100)] + [line(NOON + 50.5, "judge", JUDGE, usd=0.00175)]
    times = over_time(answers, lines)
    assert [round(saved, 3) for saved, _, _ in times] == [round(0.09 * n, 3) for n in range(1, 11)]
    assert [round(proof, 5) for _, proof, _ in times] == [0.0] * 5 + [0.00175] * 5


def seen(**more):
    lines = [line(NOON, "serve", usd=0.001), line(NOON, "shadow", CANDIDATE, usd=0.001)]
    rows = [
        {"role": role, "model": model, "calls": 1, "cost": 0.001}
        for role, model in (("serve", INCUMBENT), ("shadow", CANDIDATE))
    ]
    task = {"rows": rows, "baseline_usd_estimated": 0.01, "net_saving_usd_estimated": 0.008}
    return Seen(
        **{
            "requests": 1,
            "seconds": 1.0,
            "failed": 0,
            "got": [got(NOON, "compiled")],
            "lines": lines,
            "printed": {"tasks": {"mood": task}},
            "stands": {"mood": [Stood("tell", "live", 0.98, "", 9, {"same": 9}, 0.01, None)]},
            "dropped": {"rate": 2.0},
            "may_cost": {"tell": 0.5},
            "usd_per_day": 1.0,
            "compile_usd": 1.0,
            **more,
        }
    )


def test_books_that_agree_are_no_miss_and_the_share_is_of_what_was_saved():
    day = Day(seen())
    assert by_role(day.seen.lines).keys() == booked(day.seen.printed).keys()
    assert [bar.name for bar in day.bars() if not bar.ok] == []
    assert day.total.proof_share == pytest.approx(1 / 9)
    for part in (day.tasks(), day.why(), day.times(), day.roles(), day.verdicts()):
        assert part.row_count
    assert "rate 2" in day.words()


@pytest.mark.parametrize(
    ("more", "missed"),
    [
        ({"usd_per_day": 0.0005}, "background on 2025-06-15, by the upstream's log"),
        ({"lines": [line(NOON, "serve", usd=0.01)]}, "serving: books, upstream"),
        ({"failed": 1}, "requests without an answer"),
        ({"got": [got(NOON, "compiled", lost=0.5)]}, "mood: true loss x traffic"),
        ({"got": []}, "proof, of what was saved"),
    ],
)
def test_each_bar_can_be_missed(more, missed):
    assert missed in [bar.name for bar in Day(seen(**more)).bars() if not bar.ok]


def test_tokens_are_counted_by_length():
    assert tokens("x" * 45) == 10 and tokens("") == 1
