import json
from dataclasses import replace
from typing import Any

import pytest

from compiler.endpoint import Endpoint, Endpoints
from compiler.task import Task
from proxy.decide import Decision
from proxy.plan import Attempt, Planner

MOOD = Task("mood", "Tell the mood.", trust="declared")
BODY = {"model": "gpt-big", "messages": [{"role": "user", "content": "hi"}], "seed": 7}


def planner(first_key: str | None = "sk-1", second_key: str | None = "sk-2", *production: str) -> Planner:
    endpoints = {
        "openai": Endpoint("openai", "https://o/v1", first_key),
        "local": Endpoint("local", "http://l/v1", second_key),
    }
    return Planner(Endpoints(endpoints), production or ("fake-nano", "fake-mini"), {})


def said(attempt: Attempt) -> Any:
    return json.loads(attempt.body)


def texts(attempt: Attempt) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in said(attempt)["messages"]]


def compiled(view) -> Decision:
    return Decision(view, view.card)


def test_an_untouched_body_is_the_very_same_bytes(call_of):
    call = call_of(BODY, raw=b' {"model":   "gpt-big"} ')
    (attempt,) = planner().attempts(call, Decision(reason="unrecognised"))
    assert attempt.body is call.raw
    assert (attempt.route, attempt.endpoint.name, attempt.model) == ("original", "openai", "gpt-big")
    assert (attempt.rewritten, attempt.client_key, attempt.contract, attempt.incumbent) == (False, True, None, True)
    assert not attempt.hide_usage


def test_a_body_that_lost_its_routing_key_is_written_anew(call_of):
    (attempt,) = planner().attempts(call_of(BODY, raw=b"old", rewritten=True), Decision())
    assert (said(attempt), attempt.rewritten) == (BODY, True)


def test_a_prefix_chooses_the_upstream_and_is_taken_off(call_of):
    (attempt,) = planner(None, None).attempts(call_of({**BODY, "model": "local/llama/8b"}), Decision())
    assert (attempt.endpoint.name, attempt.model, attempt.client_key) == ("local", "llama/8b", True)
    assert (said(attempt), attempt.rewritten) == ({**BODY, "model": "llama/8b"}, True)


@pytest.mark.parametrize("model", ["meta/llama", "local/", "local", "/x"])
def test_a_prefix_that_is_no_upstream_stays(call_of, model):
    call = call_of({**BODY, "model": model})
    (attempt,) = planner().attempts(call, Decision())
    assert attempt.body is call.raw
    assert (attempt.endpoint.name, attempt.model) == ("openai", model)


def test_a_card_is_tried_first_and_the_apps_own_model_answers_if_it_fails(call_of, view_of):
    call, view = call_of(BODY, named="mood"), view_of(MOOD, model="local/fake-nano")
    first, second = planner().attempts(call, compiled(view))
    assert (first.route, first.endpoint.name, first.model) == ("compiled", "local", "fake-nano")
    assert (first.contract, first.incumbent, first.rewritten) == (view.card.contract, False, True)
    assert texts(first) == [("system", "Say good or bad."), ("user", "hi")]
    assert said(first)["seed"] == 7
    assert (second.route, second.model, second.contract, second.incumbent) == ("fallback", "gpt-big", None, True)
    assert second.body is call.raw


def test_the_apps_own_instructions_go_only_where_the_card_was_compiled_from_them(call_of, view_of):
    view = view_of(replace(MOOD, system="Be curt."), model="fake-nano")
    for system, kept in (("Be curt.", []), ("Be kind.", [("system", "Be kind.")])):
        body = {**BODY, "messages": [{"role": "system", "content": system}, *BODY["messages"]]}
        first, _ = planner().attempts(call_of(body, named="mood"), compiled(view))
        assert texts(first) == [("system", "Say good or bad."), *kept, ("user", "hi")]


def test_a_task_as_a_model_falls_back_to_its_incumbent(call_of, view_of):
    call = call_of({**BODY, "model": "task:mood"})
    view = view_of(replace(MOOD, incumbent="local/gpt-old", system="Be curt."), model="fake-nano")
    first, second = planner().attempts(call, compiled(view))
    assert (first.route, first.model) == ("compiled", "fake-nano")
    assert (second.route, second.endpoint.name, second.model, second.incumbent) == (
        "fallback",
        "local",
        "gpt-old",
        True,
    )
    assert texts(second) == [("system", "Be curt."), ("user", "hi")]


def test_without_an_incumbent_the_first_production_model_stands_in_and_the_last_one_after_a_failure(call_of, view_of):
    call, view = call_of({**BODY, "model": "task:mood"}), view_of(MOOD, model="fake-nano")
    (alone,) = planner().attempts(call, Decision(view, reason="compiling"))
    assert (alone.route, alone.model, alone.incumbent) == ("original", "fake-nano", False)
    assert texts(alone) == [("system", "Tell the mood."), ("user", "hi")]
    _, second = planner().attempts(call, compiled(view))
    assert (second.route, second.model, second.incumbent) == ("fallback", "fake-mini", False)


def test_a_task_that_is_left_alone_keeps_the_apps_own_call(call_of, view_of):
    call = call_of(BODY, named="mood")
    (attempt,) = planner().attempts(call, Decision(view_of(MOOD), reason="no_card"))
    assert attempt.body is call.raw


def test_usage_is_asked_for_in_a_stream_and_hidden_from_who_did_not_ask(call_of, view_of):
    view = view_of(MOOD, model="fake-nano")
    for options, hidden in ((None, True), ({"include_usage": False, "x": 1}, True), ({"include_usage": True}, False)):
        body = {**BODY, "stream": True, "stream_options": options}
        first, second = planner().attempts(call_of(body, named="mood"), compiled(view))
        assert said(first)["stream_options"] == {**(options or {}), "include_usage": True}
        assert first.hide_usage is hidden
        assert not second.hide_usage, "a body that isn't ours is not changed"
        assert said(second) == body


def test_no_usage_is_asked_for_outside_a_stream(call_of, view_of):
    first, _ = planner().attempts(call_of(BODY, named="mood"), compiled(view_of(MOOD, model="fake-nano")))
    assert "stream_options" not in said(first)
    assert not first.hide_usage


@pytest.mark.parametrize(
    ("asked", "card", "first_key", "second_key", "routes"),
    [
        ("gpt-big", "fake-nano", None, None, [("compiled", "openai", True), ("fallback", "openai", True)]),
        ("gpt-big", "local/nano", None, None, [("original", "openai", True)]),
        ("gpt-big", "local/nano", None, "sk-2", [("compiled", "local", False), ("fallback", "openai", True)]),
        ("local/big", "local/nano", None, None, [("compiled", "local", True), ("fallback", "local", True)]),
        ("local/big", "fake-nano", None, None, [("original", "local", True)]),
        ("local/big", "fake-nano", "sk-1", None, [("compiled", "openai", False), ("fallback", "local", True)]),
        ("task:mood", "local/nano", None, None, [("original", "openai", True)]),
        ("task:mood", "fake-nano", None, None, [("compiled", "openai", True), ("fallback", "openai", True)]),
    ],
)
def test_the_clients_key_is_only_for_the_upstream_it_addressed(
    call_of, view_of, asked, card, first_key, second_key, routes
):
    call = call_of({**BODY, "model": asked}, **({} if asked.startswith("task:") else {"named": "mood"}))
    attempts = planner(first_key, second_key).attempts(call, compiled(view_of(MOOD, model=card)))
    assert [(a.route, a.endpoint.name, a.client_key) for a in attempts] == routes


def test_a_stand_in_elsewhere_does_not_get_the_clients_key(call_of, view_of):
    call = call_of({**BODY, "model": "task:mood"})
    (attempt,) = planner(None, None, "local/nano").attempts(call, Decision(view_of(MOOD), reason="no_card"))
    assert (attempt.endpoint.name, attempt.client_key) == ("local", False)


def test_an_output_cap_is_written_as_the_cards_model_wants_it(call_of, view_of):
    call = call_of({**BODY, "max_completion_tokens": 50}, named="mood")
    first, second = planner().attempts(call, compiled(view_of(MOOD, model="local/llama")))
    assert said(first)["max_tokens"] == 50
    assert "max_completion_tokens" not in said(first)
    assert said(second)["max_completion_tokens"] == 50
