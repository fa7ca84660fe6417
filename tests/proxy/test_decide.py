import time
from dataclasses import replace

import pytest

from compiler.families import Family
from compiler.recognition.catalogue import Recognised, Recognition
from compiler.recognition.recognise import Recogniser
from compiler.recognition.structure import CHAT, structure_key
from compiler.recognition.template import Pattern, Slot, Template
from compiler.registry import Snapshot, TaskState
from compiler.task import Contract, Task
from proxy.decide import HARMLESS, NOT_ELIGIBLE, REASONS, TOOLS, decide, ineligible
from proxy.errors import BadRequestError, NotFoundError, UnavailableError

MOOD = Task("mood", "Tell the mood.", trust="declared")
USER = {"role": "user", "content": "hi"}


@pytest.fixture
def served(view_of) -> Snapshot:
    """`mood` is declared and has a card."""
    return Snapshot(1, False, {"mood": view_of(MOOD, model="fake-nano")})


def test_a_declared_task_with_a_card_is_compiled(served, call_of):
    decision = decide(call_of(named="mood"), served, {})
    assert decision.card is served.tasks["mood"].card
    assert (decision.task, decision.reason, decision.wants_compile) == ("mood", "", False)


def test_a_request_that_names_no_task_is_left_alone(served, call_of):
    decision = decide(call_of(), served, {})
    assert (decision.view, decision.card, decision.reason, decision.task) == (None, None, "unrecognised", None)
    assert decide(call_of(bypass=True), served, {}).reason == "bypass"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"prediction": {"type": "content"}}, "prediction"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"top_logprobs": 3}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{"name": "f"}]}, "tools"),
        ({"tool_choice": "auto"}, "tools"),
        ({"function_call": {"name": "f"}}, "tools"),
        ({"brand_new": 1}, "unknown_parameter"),
        ({"web_search_options": {}}, "unknown_parameter"),
        ({"messages": None}, "not_text"),
        ({"messages": "hi"}, "not_text"),
        ({"messages": ["hi"]}, "not_text"),
        ({"messages": [{"role": "user", "content": None}]}, "not_text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "not_text"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "not_text"),
        ({"messages": []}, "multi_turn"),
        ({"messages": [{"role": "system", "content": "s"}]}, "multi_turn"),
        ({"messages": [USER, USER]}, "multi_turn"),
        ({"messages": [USER, {"role": "assistant", "content": "yes"}, USER]}, "multi_turn"),
        ({"messages": [{"role": "assistant", "content": "yes"}]}, "multi_turn"),
        ({"messages": [USER, {"role": "tool", "content": "5"}]}, "multi_turn"),
        ({"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{}]}]}, "multi_turn"),
        ({"messages": [USER, "hi"]}, "not_text"),
    ],
)
def test_what_no_card_can_serve_is_left_alone_and_says_why(served, call_of, chat, more, reason):
    decision = decide(call_of(chat(**more), named="mood"), served, {})
    assert (decision.card, decision.reason, decision.task) == (None, reason, "mood")
    assert not decision.wants_compile


@pytest.mark.parametrize(
    "more",
    [
        dict.fromkeys(NOT_ELIGIBLE),
        dict.fromkeys(TOOLS),
        {"tools": [], "tool_choice": "none", "n": 1, "modalities": ["text"], "logprobs": False, "top_logprobs": 0},
        {"messages": [{"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, USER]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
        {"response_format": {"type": "json_schema"}},
    ],
)
def test_parameters_that_ask_for_nothing_special_are_served(served, call_of, chat, more):
    assert decide(call_of(chat(**more), named="mood"), served, {}).card


@pytest.mark.parametrize("name", sorted(HARMLESS - {"messages", "model", "modalities", "n", "logprobs"}))
def test_a_harmless_parameter_is_served(chat, name):
    assert ineligible(chat(**{name: "x"})) is None


@pytest.mark.parametrize("named", [None, "mood", "unheard-of"])
@pytest.mark.parametrize("off", [False, True])
def test_what_no_card_could_serve_is_said_before_what_can_be_changed(served, call_of, chat, named, off):
    snapshot = replace(served, off=off)
    decision = decide(call_of(chat(tools=[{"type": "function"}]), named=named), snapshot, {})
    assert decision.reason == "tools"
    assert decide(call_of(chat(n=2), named=named, bypass=True), snapshot, {}).reason == "bypass"


@pytest.mark.parametrize(("more", "reason"), [({}, ""), ({"functions": [{"name": "f"}]}, "tools")])
def test_tools_are_for_the_cards_of_a_task_whose_answers_are_calls(served, call_of, chat, more, reason):
    view = served.tasks["mood"]
    task = replace(view.task, contract=Contract("tool_call"))
    card = replace(view.card, definition=task.definition())
    snapshot = replace(served, tasks={"mood": replace(view, task=task, card=card)})
    body = chat(tools=[{"type": "function"}], tool_choice="auto", **more)
    assert decide(call_of(body, named="mood"), snapshot, {}).reason == reason


def test_a_schema_needs_a_model_that_can(served, call_of, chat):
    body = chat(response_format={"type": "json_schema"})
    families = {"fake-nano": Family(json_schema=False)}
    assert decide(call_of(body, named="mood"), served, families).reason == "json_schema"
    assert decide(call_of(chat(response_format={"type": "json_object"}), named="mood"), served, families).card


def test_every_reason_is_a_documented_one():
    assert set(NOT_ELIGIBLE.values()) <= set(REASONS)
    assert len(set(REASONS)) == len(REASONS)


@pytest.mark.parametrize("tenant", ["shop", None])
def test_a_task_is_its_tenants_or_everybodys(view_of, call_of, tenant):
    snapshot = Snapshot(1, False, {"mood": view_of(replace(MOOD, tenant=tenant), model="fake-nano")})
    assert decide(call_of(named="mood", tenant="shop"), snapshot, {}).card
    other = decide(call_of(named="mood", tenant="other"), snapshot, {})
    assert bool(other.card) == (tenant is None)
    assert other.reason == ("" if tenant is None else "unknown_task")


def test_another_tenants_task_does_not_exist_as_a_model(view_of, call_of, chat):
    snapshot = Snapshot(1, False, {"mood": view_of(replace(MOOD, tenant="shop"), model="fake-nano")})
    with pytest.raises(NotFoundError) as caught:
        decide(call_of(chat(model="task:mood"), tenant="other"), snapshot, {})
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize("name", ["other", ""])
def test_an_unknown_task_is_left_alone_by_header_and_not_found_as_a_model(served, call_of, chat, name):
    assert decide(call_of(named=name), served, {}).reason == "unknown_task"
    with pytest.raises(NotFoundError, match=f"`task:{name}` does not exist"):
        decide(call_of(chat(model=f"task:{name}")), served, {})


@pytest.mark.parametrize("messages", [None, [], "hi", ["hi"], [{"role": "system", "content": "s"}]])
def test_a_task_as_a_model_needs_a_user_message(served, call_of, chat, messages):
    with pytest.raises(BadRequestError) as caught:
        decide(call_of(chat(model="task:mood", messages=messages)), served, {})
    assert caught.value.param == "messages"


def test_off_and_bypass_hold_everything_back(served, call_of, chat):
    off = replace(served, off=True)
    for body in (chat(), chat(model="task:mood")):
        assert decide(call_of(body, named="mood"), off, {}).reason == "off"
        assert decide(call_of(body, named="mood", bypass=True), off, {}).reason == "bypass"


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (replace(MOOD, mode="observe"), "observe"),
        (replace(MOOD, trust="proven"), "observe"),
        (replace(MOOD, mode="auto", trust="proven"), "unproven"),
        (replace(MOOD, mode="manual", trust="proven"), "unproven"),
        (replace(MOOD, mode="auto"), ""),
    ],
)
def test_an_apps_own_model_is_replaced_only_for_a_trusted_task(view_of, call_of, chat, task, reason):
    snapshot = Snapshot(1, False, {"mood": view_of(task, TaskState("shadowing", traffic=0.0), model="fake-nano")})
    assert decide(call_of(named="mood"), snapshot, {}).reason == reason
    assert decide(call_of(chat(model="task:mood")), snapshot, {}).card, "who asks for the task by name trusts it"


HASH = MOOD.definition()
LATER = 1e12  # than any run of the tests


@pytest.mark.parametrize(
    ("state", "reason", "wants"),
    [
        (TaskState(), "no_card", True),
        (TaskState("observing", HASH), "no_card", True),
        (TaskState("compiling", HASH), "compiling", False),
        (TaskState("compiling", "another"), "compiling", False),
        (TaskState("kept", HASH, retry_at=LATER), "kept", False),
        (TaskState("kept", HASH, retry_at=1.0), "no_card", True),
        (TaskState("kept", "another", retry_at=LATER), "no_card", True),
        (TaskState("live", "another", 1), "no_card", True),
    ],
)
def test_a_task_without_a_card_is_compiled_once(view_of, call_of, state, reason, wants):
    decision = decide(call_of(named="mood"), Snapshot(1, False, {"mood": view_of(MOOD, state)}), {})
    assert (decision.card, decision.reason, decision.wants_compile) == (None, reason, wants)


def test_a_card_of_another_wording_is_never_served(view_of, call_of):
    stale = replace(view_of(MOOD, model="fake-nano"), task=replace(MOOD, description="Tell the weather."))
    decision = decide(call_of(named="mood"), Snapshot(1, False, {"mood": stale}), {})
    assert (decision.card, decision.reason, decision.wants_compile) == (None, "no_card", True)


def test_what_is_held_back_asks_for_no_compile(view_of, call_of):
    snapshot = Snapshot(1, True, {"mood": view_of(MOOD)})
    assert not decide(call_of(named="mood"), snapshot, {}).wants_compile


def test_before_the_store_was_read_a_task_is_not_said_to_be_unknown(call_of, chat):
    with pytest.raises(UnavailableError) as caught:
        decide(call_of(chat(model="task:mood")), Snapshot(), {})
    assert caught.value.code == "not_ready"


ORDER = "Say good or bad: "
SHOTS = [
    {"role": "user", "content": "I like it"},
    {"role": "assistant", "content": "good"},
]


def recognising(call, *turns, ignored: bool = False, off: bool = False, **more) -> Snapshot:
    """A snapshot in which what the call is of is a task, found in its traffic: `turns`, then an order and any text."""
    listed = Slot("enumerated", 8, values=frozenset({"so happy", "so sad"}))
    slot = listed if more.pop("listed", False) else Slot(longest=99)
    patterns = (*(Pattern((turn["content"],)) for turn in turns), Pattern((ORDER, ""), (slot,)))
    roles = (*(turn["role"] for turn in turns), "user")
    made = Template("t1", call.tenant, structure_key(call.tenant, CHAT, call.body), roles, patterns, **more)
    tasks = {"t1": Recognised("found-mood", ("t1",), ignored=ignored)}
    return Snapshot(1, off, {}, Recognition(1, Recogniser([made]), tasks))


@pytest.fixture
def ordered(chat, call_of):
    """A call with the order that is recognised."""

    def call(*turns, text: str = "so happy", **more):
        body = chat(**more)
        body["messages"] = [*turns, {"role": "user", "content": ORDER + text}]
        return call_of(body)

    return call


@pytest.mark.parametrize(("mode", "reason"), [("observe", "observe"), ("manual", "unproven"), ("auto", "unproven")])
def test_what_is_recognised_waits_for_its_proof_and_goes_on_as_it_came(ordered, mode, reason):
    call = ordered()
    decision = decide(call, recognising(call), {}, mode)
    assert (decision.task, decision.variant, decision.reason) == ("found-mood", "found-mood", reason)
    assert (decision.view, decision.card, decision.wants_compile) == (None, None, False)
    assert (call.template, call.structure) == ("t1", structure_key(call.tenant, CHAT, call.body))
    assert decision.found.match.values == ["so happy"]


def test_a_value_of_a_list_is_a_task_of_its_own(ordered):
    happy, sad = ordered(), ordered(text="so sad")
    snapshot = recognising(happy, listed=True)
    decisions = [decide(call, snapshot, {}) for call in (happy, sad)]
    assert {decision.task for decision in decisions} == {"found-mood"}
    assert len({decision.variant for decision in decisions}) == 2
    assert all(decision.variant.startswith("found-mood~") for decision in decisions)
    assert decide(ordered(text="so so"), snapshot, {}).reason == "unrecognised"


def test_an_ignored_task_is_left_alone_and_named(ordered):
    call = ordered()
    decision = decide(call, recognising(call, ignored=True), {})
    assert (decision.task, decision.reason) == ("found-mood", "ignored")


def test_off_holds_back_what_was_recognised(ordered):
    call = ordered()
    assert decide(call, recognising(call, off=True), {}).reason == "off"


def test_who_asks_for_a_task_by_its_name_has_it_compiled_also_where_the_apps_model_waits_for_a_proof(
    view_of, call_of, chat
):
    task = replace(MOOD, trust="proven")
    snapshot = Snapshot(1, False, {"mood": view_of(task)})
    assert decide(call_of(chat(model="task:mood")), snapshot, {}, "auto").wants_compile
    assert not decide(call_of(named="mood"), snapshot, {}, "auto").wants_compile


def test_what_is_not_looked_at_goes_on_as_it_came_and_says_so(ordered):
    call = ordered()
    decision = decide(call, recognising(call), {}, look=False)
    assert (decision.task, decision.reason, call.structure) == (None, "busy", "")
    assert decide(ordered(n=2), recognising(call), {}, look=False).reason == "n"


def test_where_nothing_is_known_there_is_nothing_to_look_for(ordered):
    call = ordered()
    assert decide(call, Snapshot(), {}, look=False).reason == "unrecognised"
    assert (decide(call, Snapshot(), {}).reason, call.structure) == ("unrecognised", "")


@pytest.mark.parametrize("named", [True, False], ids=["declared", "recognised"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_card_serves_the_share_that_it_is_proven_for(ordered, view_of, named, share):
    state = TaskState("ramping", traffic=share)
    view = view_of(replace(MOOD, name="found-mood", trust="proven"), state, model="fake-nano")
    known = recognising(ordered())
    snapshot = replace(known, tasks={"found-mood": view}) if named else replace(known, adopted={"found-mood": view})
    decisions = []
    for number in range(1_000):
        call = ordered(text=f"so {number}")
        call.named = "found-mood" if named else None
        decisions.append(decide(call, snapshot, {}, "auto"))
    assert {decision.task for decision in decisions} == {"found-mood"}
    served = [decision.card is view.card for decision in decisions]
    assert sum(served) == pytest.approx(1_000 * share, abs=50)
    rest = {decision.reason for decision, is_served in zip(decisions, served, strict=True) if not is_served}
    assert rest == {"control" if share else "unproven"}


def test_what_was_recognised_and_adopted_waits_for_mode_auto(ordered, view_of):
    call = ordered()
    view = view_of(replace(MOOD, name="found-mood", trust="proven"), TaskState("live"), model="fake-nano")
    snapshot = replace(recognising(call), adopted={"found-mood": view})
    assert decide(call, snapshot, {}, "observe").reason == "observe"
    assert decide(call, snapshot, {}, "auto").card is view.card
    assert decide(call, replace(snapshot, off=True), {}, "auto").reason == "off"
    kept = replace(view, card=None, state=TaskState("kept", view.task.definition(), retry_at=time.time() + 60))
    assert decide(call, replace(snapshot, adopted={"found-mood": kept}), {}, "auto").reason == "kept"


def test_ignoring_a_task_ends_its_card_before_it_is_looked_at(ordered, view_of):
    call = ordered()
    view = view_of(replace(MOOD, name="found-mood", trust="proven"), TaskState("live"), model="fake-nano")
    decision = decide(call, replace(recognising(call, ignored=True), adopted={"found-mood": view}), {}, "auto")
    assert (decision.card, decision.reason, decision.view) == (None, "ignored", None)


@pytest.mark.parametrize("by", ["a person", "its evidence"])
@pytest.mark.parametrize("trust", ["declared", "proven"])
@pytest.mark.parametrize("way", ["task:", "header", "recognised"])
def test_a_paused_card_serves_nobody_however_its_task_is_named(ordered, chat, call_of, view_of, by, trust, way):
    """Whatever its state became since: a compile ends with a card that is live."""
    state = TaskState("live") if by == "a person" else TaskState("paused", traffic=0.0)
    task = replace(MOOD, name="found-mood", trust=trust)
    view = replace(view_of(task, state, model="fake-nano"), paused="a complaint" if by == "a person" else "")
    call = call_of(chat(model="task:found-mood")) if way == "task:" else ordered()
    call.named = call.named or ("found-mood" if way == "header" else None)
    known = recognising(ordered())
    snapshot = replace(known, **{"adopted" if way == "recognised" else "tasks": {"found-mood": view}})
    decision = decide(call, snapshot, {}, "auto")
    assert (decision.card, decision.reason) == (None, "paused")


def test_free_chat_is_of_no_task_and_says_so(ordered):
    call = ordered()
    decision = decide(call, recognising(call, catch_all=True), {})
    assert (decision.task, decision.variant, decision.reason) == (None, None, "catch_all")
    assert call.template == ""


def test_what_no_card_can_serve_is_named_and_says_why(ordered):
    call = ordered(n=2)
    decision = decide(call, recognising(call), {}, "auto")
    assert (decision.task, decision.reason) == ("found-mood", "n")
    free = ordered(n=2)
    assert decide(free, recognising(free, catch_all=True), {}).reason == "n"


def test_turns_that_never_differ_are_of_the_task(ordered):
    call = ordered(*SHOTS)
    snapshot = recognising(call, *SHOTS)
    assert (decide(call, snapshot, {}).task, decide(call, snapshot, {}).reason) == ("found-mood", "observe")
    other = ordered(SHOTS[0], {"role": "assistant", "content": "bad"})
    assert (decide(other, snapshot, {}).task, decide(other, snapshot, {}).reason) == (None, "multi_turn")


def test_a_named_task_wins_over_a_recognised_one(ordered, view_of):
    call = ordered()
    snapshot = replace(recognising(call), tasks={"mood": view_of(MOOD, model="fake-nano")})
    call.named = "mood"
    assert decide(call, snapshot, {}).task == "mood"
    call.named = "unheard-of"
    assert decide(call, snapshot, {}).reason == "unknown_task"


@pytest.mark.parametrize("more", [{"model": "gpt-small"}, {"response_format": {"type": "json_object"}}])
def test_another_structure_is_not_recognised(ordered, more):
    assert decide(ordered(**more), recognising(ordered()), {}).reason == "unrecognised"


def test_another_tenants_task_is_not_recognised(ordered):
    snapshot = recognising(ordered())
    other = ordered()
    other.tenant = "other"
    assert decide(other, snapshot, {}).reason == "unrecognised"


def test_a_bypassed_request_is_not_even_looked_at(ordered):
    call = ordered()
    call.bypass = True
    decision = decide(call, recognising(call), {})
    assert (decision.reason, decision.found, call.structure) == ("bypass", None, "")


@pytest.mark.parametrize(
    "messages", [None, [], "hi", ["hi"], [{"role": "user", "content": None}], [{"content": "\ud800"}]]
)
def test_messages_of_no_known_form_are_left_alone(chat, call_of, ordered, messages):
    decision = decide(call_of(chat(messages=messages)), recognising(ordered()), {})
    assert decision.task is None
    assert decision.reason in {"not_text", "multi_turn", "unrecognised"}
