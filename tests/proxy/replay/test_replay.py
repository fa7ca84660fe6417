"""What a log's calls cost, and which of them a card could have served."""

import io
import sys
from typing import Any

import pytest

from compiler.ledger import UNDECLARED, Row, Sums
from compiler.pricing import PriceBook
from proxy.funnel import build_funnel
from proxy.replay.files import found
from proxy.replay.forms import SILENT, Logs
from proxy.replay.recogniser import Match
from proxy.replay.replay import Replay
from tests.proxy.replay.samples import MESSAGES, REQUEST, RESPONSE, lines

PRICES = {"gpt-4.1": {"input": 2.0, "cached_input": 0.5, "output": 8.0}}
CALL = {"request": REQUEST, "response": {**RESPONSE, "model": "gpt-4.1"}}
COST = (24 * 2.0 + 2 * 8.0) / 1e6


def choice(text: str) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", "content": text}}


class BySystemPrompt:
    """Recognises every system prompt it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.finished = False

    def add(self, tenant: str, endpoint: str, body: Any) -> None:
        assert not self.finished
        self.shown.append(body["messages"][0]["content"])

    def finish(self) -> None:
        self.finished = True

    def match(self, tenant: str, endpoint: str, body: Any) -> Match | None:
        assert self.finished
        system = body["messages"][0]["content"]
        if system not in self.shown or len(body["messages"]) > 2:
            return None
        return Match(system[:8], f"task {system[:3]}", f"system: {system}\nuser: {{text1}}", "helpful" in system)


def replayed(*records: Any, recogniser=None, prices=PRICES):
    replay = Replay(recogniser or BySystemPrompt(), PriceBook(prices))
    with found(["-"], io.BytesIO(lines(*records).encode())) as files:
        logs = Logs(files)
        replay.learn(logs, SILENT)
        replay.add_up(logs, SILENT)
    return replay.found


def rows(done) -> dict[tuple[str, Row], Sums]:
    return {(task, row): sums for (_, task), rows in done.tally.rows.items() for row, sums in rows.items()}


def only(done) -> tuple[str, Row, Sums]:
    (((task, row), sums),) = rows(done).items()
    return task, row, sums


def test_a_recognised_call_is_its_tasks_and_waits_for_a_card():
    done = replayed(CALL)
    task, row, sums = only(done)
    assert task == MESSAGES[0]["content"][:8]
    assert row == Row("gpt-4.1", "serve", "original", "no_card", "/v1/chat/completions")
    assert (sums.calls, sums.requests, sums.input, sums.output, sums.counted) == (1, 1, 24, 2, 0)
    assert sums.cost == pytest.approx(COST)
    assert done.matches[task].name == "task Say"
    assert done.whole


@pytest.mark.parametrize(
    ("record", "reason", "endpoint"),
    [
        ({**CALL, "request": {**REQUEST, "tools": [{"type": "function"}]}}, "tools", "/v1/chat/completions"),
        ({**CALL, "request": {**REQUEST, "messages": [*MESSAGES, *MESSAGES]}}, "multi_turn", "/v1/chat/completions"),
        ({**CALL, "path": "/v1/responses"}, "not_chat", "/v1/responses"),
        ({**CALL, "path": "/v2/made-up"}, "not_chat", "other"),
        (
            {**CALL, "request": {**REQUEST, "messages": [{"role": "system", "content": "Be helpful"}, MESSAGES[1]]}},
            "catch_all",
            "/v1/chat/completions",
        ),
    ],
)
def test_a_call_that_no_card_could_serve_says_why(record, reason, endpoint):
    _, row, _ = only(replayed(record))
    assert (row.reason, row.endpoint) == (reason, endpoint)


def test_a_conversation_that_is_recognised_is_its_tasks():
    class Turns(BySystemPrompt):
        def match(self, tenant: str, endpoint: str, body: Any) -> Match | None:
            return Match("t", "turns", "")

    _, row, _ = only(replayed({**CALL, "request": {**REQUEST, "messages": [*MESSAGES, *MESSAGES]}}, recogniser=Turns()))
    assert row.reason == "no_card"


def test_what_the_recogniser_does_not_know_is_of_no_task():
    class Nothing(BySystemPrompt):
        def match(self, tenant: str, endpoint: str, body: Any) -> None:
            return None

    task, row, _ = only(replayed(CALL, recogniser=Nothing()))
    assert (task, row.reason) == (UNDECLARED, "unrecognised")


def test_only_what_a_card_could_serve_and_was_answered_is_learned_from():
    recogniser = BySystemPrompt()
    failed = {"request": {**REQUEST, "messages": [{"role": "system", "content": "x"}, MESSAGES[1]]}, "status": 500}
    replayed(CALL, {**CALL, "path": "/v1/responses"}, failed, recogniser=recogniser)
    assert recogniser.shown == [MESSAGES[0]["content"]]


def test_a_failed_call_costs_nothing():
    _, _, sums = only(replayed({**CALL, "status": 429, "cost": 1.0}))
    assert (sums.calls, sums.failed, sums.requests, sums.cost, sums.unpriced) == (1, 1, 0, 0.0, 0)


def test_tokens_are_counted_where_the_log_has_none():
    _, _, sums = only(replayed({"request": REQUEST, "response": "upset"}))
    assert sums.counted == 1
    assert 15 < sums.input < 35
    assert 1 <= sums.output <= 2


def test_the_vocabulary_is_not_read_while_every_call_has_its_usage(monkeypatch):
    monkeypatch.setitem(sys.modules, "compiler.tokens", None)
    replayed(CALL)
    with pytest.raises(ImportError):
        replayed({"request": REQUEST, "response": "upset"})


def test_a_cost_is_by_the_price_list_and_by_the_log_where_that_has_no_price():
    unlisted = {"request": {**REQUEST, "model": "ours"}, "response": {**RESPONSE, "model": "ours"}, "cost": 0.25}
    done = replayed({**CALL, "cost": 0.5}, unlisted)
    costs = {row.model: sums.cost for (_, row), sums in rows(done).items()}
    assert costs == {"gpt-4.1": pytest.approx(COST), "ours": 0.25}
    assert (done.log_usd, done.by_log) == (0.5, 1)
    assert done.priced_usd == pytest.approx(COST)


def test_what_can_be_no_number_of_tokens_or_dollars_is_not_taken_for_one():
    unlisted = {"request": {**REQUEST, "model": "ours"}, "response": {**RESPONSE, "model": "ours"}, "cost": 1e300}
    _, _, sums = only(replayed(unlisted))
    assert (sums.unpriced, sums.cost) == (1, 0.0)
    usage = {"prompt_tokens": 10**15, "completion_tokens": 1}
    _, _, sums = only(replayed({**CALL, "response": {**CALL["response"], "usage": usage}}))
    assert (sums.counted, sums.input < 100) == (1, True)


def test_a_call_that_got_no_answer_failed():
    row = {"request_body": REQUEST, "request_created_at": "2026-10-01", "response_status": -3}
    _, _, sums = only(replayed(row))
    assert (sums.failed, sums.requests) == (1, 0)


def test_a_price_that_nobody_knows_is_unknown_and_not_nothing():
    _, _, sums = only(replayed({"request": {**REQUEST, "model": "ours"}, "response": {**RESPONSE, "model": "ours"}}))
    assert (sums.unpriced, sums.cost) == (1, 0.0)


def test_an_embedding_without_usage_has_a_cost_only_if_its_log_says_so():
    embedding = {"request": {"model": "text-embedding-3-small", "input": "a"}, "response": {}}
    _, _, sums = only(replayed(embedding, {**embedding, "cost": 0.125}))
    assert (sums.calls, sums.unpriced, sums.cost, sums.counted) == (2, 1, 0.125, 0)


def test_the_kind_of_a_tasks_answers_is_learned():
    answered = [{**CALL, "response": {**CALL["response"], "choices": [choice(text)]}} for text in ("yes", "no") * 10]
    assert replayed(*answered).kinds.of(MESSAGES[0]["content"][:8]) == "label"


def test_the_time_is_from_the_first_call_to_the_last_in_whatever_order():
    done = replayed(*({**CALL, "time": 1_790_000_000 + day * 86_400} for day in (3, 8, 1)))
    assert done.days == pytest.approx(7)
    assert replayed({"request": REQUEST}).days is None


def test_the_funnels_steps_add_up_to_all_that_was_spent():
    records = [
        CALL,
        {**CALL, "request": {**REQUEST, "n": 2}},
        {**CALL, "path": "/v1/responses"},
        {**CALL, "request": {**REQUEST, "messages": [MESSAGES[1]]}},
    ]
    done = replayed(*records * 7)
    funnel = build_funnel((task, row, sums) for (task, row), sums in rows(done).items())
    assert funnel.bill.calls == 28 == done.reading.calls
    assert funnel.bill.usd == pytest.approx(28 * COST)
    for before, step in zip(funnel.steps[:-1], funnel.steps[1:], strict=True):
        assert before.amount == sum((group.amount for group in step.excluded), step.amount)
