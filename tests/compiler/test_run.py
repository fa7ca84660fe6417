import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from compiler.errors import BudgetExceeded, ModelFailed, PlanError
from compiler.expert import LINGER, Answer
from compiler.plan import Plan
from compiler.run import Limits, Prepared, Result, prepare, run
from compiler.trace import Trace
from tests.compiler.plans import CALL_USD, Fakes, interpreted, node, plan, said, told
from tests.compiler.travel import travel

LIMITS = Limits(max_usd=10.0, max_calls=30, seconds=100, strong_seconds=50, grace=2)
DIAMOND = plan(node("a", "text"), node("b", "a"), node("c", "a", "text"), needs=("b", "c"))
VALUES = {"text": "the data"}
LIST = {"type": "array", "items": {"type": "string"}}


def ran(plan: Plan, fakes: Fakes, values: Any = VALUES, limits: Limits = LIMITS, **more: Any) -> tuple[Result, float]:
    return travel(lambda: run(plan, values, fakes.ask, fakes.strong, limits=limits, most_usd=fakes.most_usd, **more))


def test_it_answers_what_a_sequential_run_would():
    fakes = Fakes()
    result, seconds = ran(DIAMOND, fakes)
    assert (result.text, result.by, result.reason) == (interpreted(DIAMOND, VALUES), "plan", "")
    assert seconds == 3
    assert sorted(fakes.asked) == ["a", "answer", "b", "c"]


def test_a_node_starts_the_moment_its_inputs_are_there_and_not_in_waves():
    two = plan(node("slow", "text"), node("quick", "text"), node("next", "quick"), needs=("slow", "next"))
    fakes = Fakes(seconds={"slow": 9, "quick": 1, "next": 2})
    _, seconds = ran(two, fakes)
    assert dict(fakes.began) == {"slow": 0, "quick": 0, "next": 1, "answer": 9}
    assert seconds == 10


def test_a_list_is_mapped_in_order_and_a_few_at_once():
    mapped = plan(node("each", "text", map_over="text"))
    fakes = Fakes(seconds={"each": 1})
    items = [f"item {n}" for n in range(10)]
    result, seconds = ran(mapped, fakes, {"text": items}, Limits(max_usd=10, at_once=4))
    assert result.text == interpreted(mapped, {"text": items})
    assert fakes.most_running == 4 and seconds == 4
    assert [one.item for one in result.trace.nodes["each"].calls] == [*range(10)]


def test_a_nodes_json_array_is_mapped_over_and_an_empty_one_asks_nothing():
    two = plan(node("split", "text", output=LIST), node("each", "split", map_over="split"))
    fakes = Fakes(faults={"split": ['```json\n["x", "y"]\n```']})
    assert ran(two, fakes)[0].by == "plan"
    assert [text for text in fakes.texts if text.startswith("each")] == [
        "each of <split>\nx\n</split>",
        "each of <split>\ny\n</split>",
    ]
    empty = Fakes(faults={"split": ["[]"]})
    assert ran(two, empty)[0].by == "plan"
    assert empty.asked == ["split", "answer"]


def test_a_long_text_is_mapped_over_in_pieces():
    fakes = Fakes()
    result, _ = ran(plan(node("each", "text", map_over="text")), fakes, {"text": "A sentence. " * 2_000})
    assert result.by == "plan" and len(fakes.asked) > 4


def test_a_failed_call_is_tried_once_more():
    fakes = Fakes(faults={"b": [ModelFailed("HTTP 500")]})
    result, _ = ran(DIAMOND, fakes)
    assert (result.by, fakes.asked.count("b"), result.trace.retries) == ("plan", 2, 1)
    assert [call.error for call in result.trace.nodes["b"].calls] == ["HTTP 500", ""]


def test_a_node_that_fails_twice_ends_the_plan_and_the_strong_model_answers_once():
    fakes = Fakes(faults={"a": [ModelFailed("HTTP 500"), ZeroDivisionError("secret")]})
    result, _ = ran(DIAMOND, fakes)
    assert (result.text, result.by) == ("the strong answer", "strong")
    assert fakes.asked == ["a", "a", "strong"]
    assert result.reason == "b failed: its input 'a' is not available; c failed: its input 'a' is not available"
    assert result.trace.nodes["a"].error == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("no list here", "the answer is no JSON"),
        ('{"x": 1}', "the answer has to be of type array"),
        ('["x", 1]', "/1 has to be of type string"),
        (Answer('["x"', 0.01, finish_reason="length"), "the answer is not whole, it ended with 'length'"),
        ("  ", "the answer is empty"),
    ],
)
def test_a_malformed_answer_is_tried_once_more_and_the_expert_is_told_what_was_wrong(answer, problem):
    fakes = Fakes(faults={"split": [answer, '["x"]']})
    result, _ = ran(plan(node("split", "text", output=LIST)), fakes)
    assert result.by == "plan"
    assert fakes.chats[1][:-2] == fakes.chats[0]
    assert problem in fakes.chats[1][-1]["content"]
    twice = Fakes(faults={"split": [answer, answer]})
    assert ran(plan(node("split", "text", output=LIST)), twice)[0].reason == f"split failed: {problem}"


def test_what_refers_to_an_optional_node_that_failed_reads_so():
    one = plan(node("a", "text", optional=True), node("b", "a", "text"))
    fakes = Fakes(faults={"a": [ModelFailed("x")] * 2})
    assert ran(one, fakes)[0].by == "plan"
    assert "b of (not available); <text>\nthe data\n</text>" in fakes.texts


def test_items_of_an_optional_node_may_fail_and_of_another_none():
    fails = {"each": ["ok", *[ModelFailed("x")] * 4]}
    items = {"text": ["p", "q", "r"]}
    result, _ = ran(plan(node("each", "text", map_over="text", optional=True)), Fakes(faults=dict(fails)), items)
    assert result.by == "plan"
    assert json.loads(result.trace.nodes["each"].text)[1:] == ["(not available)"] * 2
    fails = {"each": ["ok", *[ModelFailed("x")] * 4]}
    assert ran(plan(node("each", "text", map_over="text")), Fakes(faults=fails), items)[0].by == "strong"
    fails = {"each": [ModelFailed("x")] * 6}
    one = plan(node("each", "text", map_over="text", optional=True))
    assert ran(one, Fakes(faults=fails), items)[0].reason == "each failed: x"


THREE = [node("a", "text"), node("b", "text"), node("c", "text")]


def test_stragglers_have_the_grace_once_the_quorum_is_reached():
    fakes = Fakes(seconds={"a": 1, "b": 3, "c": 60})
    result, seconds = ran(plan(*THREE, needs=("a", "b", "c"), quorum=2), fakes)
    assert (result.by, seconds) == ("plan", 3 + LIMITS.grace + 1)
    assert fakes.texts[-1].endswith("; (not available)")
    assert fakes.cancelled == 1
    assert result.trace.nodes["c"].state == "late"


def test_a_straggler_within_the_grace_is_in_and_nobody_waits_longer_than_for_the_last():
    fakes = Fakes(seconds={"a": 1, "b": 1, "c": 2})
    _, seconds = ran(plan(*THREE, needs=("a", "b", "c"), quorum=2), fakes)
    assert seconds == 3
    assert "not available" not in fakes.texts[-1]


def test_a_quorum_out_of_reach_ends_the_plan_at_once():
    fakes = Fakes(seconds={"a": 90, "b": 1, "c": 1}, faults={name: [ModelFailed("x")] * 2 for name in "bc"})
    result, seconds = ran(plan(*THREE, needs=("a", "b", "c"), quorum=2), fakes)
    assert (result.by, seconds, fakes.cancelled) == ("strong", 2 + 5, 1)


def test_without_a_quorum_only_optional_nodes_may_be_missing():
    needs = (node("a", "text"), node("b", "text", optional=True))
    failing = Fakes(faults={"b": [ModelFailed("x")] * 2})
    assert ran(plan(*needs, needs=("a", "b")), failing)[0].by == "plan"
    failing = Fakes(faults={"a": [ModelFailed("x")] * 2})
    assert ran(plan(*needs, needs=("a", "b")), failing)[0].by == "strong"
    alone = Fakes(faults={"b": [ModelFailed("x")] * 2})
    assert ran(plan(needs[1]), alone)[0].by == "strong", "one at least must have succeeded"


def test_a_failed_input_is_not_waited_for_beside_a_slow_one():
    two = plan(node("bad", "text"), node("slow", "text"), node("both", "bad", "slow"))
    fakes = Fakes(seconds={"slow": 90}, faults={"bad": [ModelFailed("x")] * 2})
    assert ran(two, fakes)[1] == 2 + 5


def test_a_node_has_its_deadline():
    fakes = Fakes(faults={"a": ["hang"]})
    result, seconds = ran(plan(node("a", "text", timeout=7)), fakes)
    assert (result.reason, seconds) == ("a failed: it took too long", 7 + 5)


def test_the_run_has_its_deadline_and_keeps_time_for_the_synthesis():
    fakes = Fakes(faults={"a": ["hang"]})
    result, seconds = ran(plan(node("a", "text", timeout=300), timeout=20), fakes)
    assert (result.reason, seconds) == ("no quorum after 80 s", 80 + 5)


def test_a_synthesis_that_fails_hangs_or_is_cut_falls_back():
    for fault, calls in (("hang", 1), (ModelFailed("x"), 2), (Answer("y", 0.01, finish_reason="length"), 2)):
        fakes = Fakes(faults={"answer": [fault, fault]})
        result, _ = ran(DIAMOND, fakes)
        assert (result.by, fakes.asked.count("answer"), fakes.asked.count("strong")) == ("strong", calls, 1)
        assert result.reason.startswith("the synthesis failed: ")


def test_a_strong_call_that_fails_is_not_repeated_and_its_error_is_told():
    async def strong(timeout: float) -> Answer:
        raise BudgetExceeded("no money", scope="day")

    async def main() -> Trace:
        trace, fakes = Trace(), Fakes(faults={"a": [ModelFailed("x")] * 2})
        with pytest.raises(BudgetExceeded, match="no money"):
            await run(DIAMOND, VALUES, fakes.ask, strong, limits=LIMITS, most_usd=fakes.most_usd, trace=trace)
        return trace

    trace, _ = travel(main)
    assert trace.strong and (trace.strong.state, trace.strong.error) == ("failed", "no money")


def test_a_strong_call_that_hangs_ends_with_its_deadline():
    async def strong(timeout: float) -> Answer:
        await asyncio.sleep(1e9)
        raise AssertionError

    async def main() -> None:
        fakes = Fakes(faults={"a": [ModelFailed("x")] * 2})
        with pytest.raises(ModelFailed, match="too long"):
            await run(DIAMOND, VALUES, fakes.ask, strong, limits=LIMITS, most_usd=fakes.most_usd)

    assert travel(main)[1] == 2 + LIMITS.strong_seconds


@pytest.mark.parametrize(
    ("limits", "calls"),
    [
        (Limits(max_usd=10, max_calls=3), 0),  # the plan needs four
        (Limits(max_usd=0.03), 2),  # the most of a and then of b, and nothing is left for c
        (Limits(max_usd=0.045), 2),  # b and c could take more together
        (Limits(max_usd=0.045, at_once=1), 3),  # one after the other they don't, the synthesis could
        (Limits(max_usd=0.001), 0),
        (Limits(max_usd=float("nan")), 0),
    ],
)
def test_a_call_that_could_pass_a_cap_is_not_begun(limits, calls):
    fakes = Fakes()
    result, _ = ran(DIAMOND, fakes, limits=limits)
    assert (result.by, fakes.asked[-1]) == ("strong", "strong")
    assert len(fakes.asked) - 1 == calls


def test_a_call_of_unknown_price_is_not_begun():
    fakes = Fakes()
    fakes.most_usd = lambda *asked: None  # type: ignore[method-assign]
    result, _ = ran(DIAMOND, fakes)
    assert (fakes.asked, result.reason) == (["strong"], "a call of unknown price would be made")


def test_a_list_too_long_for_the_cap_asks_nothing():
    fakes = Fakes()
    result, _ = ran(plan(node("each", "text", map_over="text")), fakes, {"text": ["x"] * 100_000})
    assert (result.by, fakes.asked) == ("strong", ["strong"])


def test_what_a_call_truly_cost_takes_the_place_of_the_most():
    chain = plan(node("a", "text"), node("b", "a"))
    assert ran(chain, Fakes(), limits=Limits(max_usd=0.045))[0].by == "plan"


def test_a_cap_that_is_met_after_the_quorum_keeps_what_is_there():
    each = node("each", "text", map_over="text")
    made = plan(node("a", "text"), each, node("slow", "text"), needs=("a", "each", "slow"), quorum=1)
    fakes = Fakes(seconds={"slow": 60}, faults={"each": ["ok", "ok", ModelFailed("x")]})
    limits = Limits(max_usd=10, max_calls=6, at_once=4, grace=50)
    result, seconds = ran(made, fakes, {"text": ["x"] * 3}, limits)
    assert (result.by, fakes.asked[-1], seconds) == ("plan", "answer", 3)


def test_a_cap_of_whoever_asks_is_a_cap_of_the_run():
    fakes = Fakes(faults={"a": [BudgetExceeded("the day's", scope="day")]})
    result, _ = ran(DIAMOND, fakes)
    assert (result.reason, fakes.asked) == ("the day's", ["a", "strong"])


def test_a_call_is_told_how_long_somebody_waits_for_it():
    fakes = Fakes(seconds={"a": 10})
    ran(plan(node("a", "text", timeout=300), node("b", "a", timeout=5), timeout=20), fakes)
    assert fakes.timeouts == [80, 5, 20]


def test_an_optional_list_that_failed_is_not_mapped_over():
    two = plan(node("list", "text", optional=True), node("each", "list", map_over="list"))
    fakes = Fakes(faults={"list": [ModelFailed("x")] * 2})
    assert (ran(two, fakes)[0].by, fakes.asked) == ("strong", ["list", "list", "strong"])


def test_who_leaves_while_stragglers_end_has_left():
    fakes = Fakes(faults={"b": ["deaf"]})
    made = plan(node("a", "text"), node("b", "text"), needs=("a", "b"), quorum=1)

    async def main() -> None:
        limits = Limits(max_usd=10, grace=0)
        running = asyncio.create_task(
            run(made, VALUES, fakes.ask, fakes.strong, limits=limits, most_usd=fakes.most_usd)
        )
        await asyncio.sleep(1 + LINGER / 4)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert travel(main)[1] == 1 + LINGER / 2
    assert fakes.asked == ["a", "b"]


def test_a_cancelled_run_cancels_its_calls_and_leaves_a_trace():
    trace, fakes = Trace(), Fakes(seconds={"a": 1, "b": 50, "c": 1})

    async def main() -> None:
        running = asyncio.create_task(
            run(DIAMOND, VALUES, fakes.ask, fakes.strong, limits=LIMITS, most_usd=fakes.most_usd, trace=trace)
        )
        await asyncio.sleep(5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert travel(main)[1] == 5
    assert (fakes.cancelled, fakes.running) == (1, 0)
    assert [noted.state for noted in trace.nodes.values()] == ["done", "late", "done"]
    assert trace.usd == pytest.approx(2 * CALL_USD + 2 * CALL_USD), "of the one in flight the most is counted"


def test_a_call_that_does_not_heed_its_cancellation_holds_nobody_up():
    async def main() -> tuple[Result, float]:
        begun: list[asyncio.Task[Any]] = []
        free = asyncio.Event()

        async def ask(*asked: Any) -> Answer:
            begun.extend(filter(None, [asyncio.current_task()]))
            while not free.is_set():
                with suppress(asyncio.CancelledError):
                    await free.wait()
            return Answer("at last")

        one, fakes = plan(node("a", "text", timeout=3)), Fakes()
        result = await run(one, VALUES, ask, fakes.strong, limits=LIMITS, most_usd=fakes.most_usd)
        now = asyncio.get_running_loop().time()
        free.set()
        await asyncio.wait(begun)
        return result, now

    (result, now), _ = travel(main)
    assert (result.by, now) == ("strong", 3 + LINGER + 5)
    assert result.trace.nodes["a"].calls[0].error == "it did not heed its cancellation"


@pytest.mark.parametrize("answer", [None, 7, Answer(None), Answer(5)])  # type: ignore[arg-type]
def test_an_ask_that_answers_nonsense_or_cancels_itself_fails_its_call(answer):
    async def main() -> Result:
        async def ask(*asked: Any) -> Any:
            if answer == 7:
                raise asyncio.CancelledError
            return answer

        fakes = Fakes()
        return await run(DIAMOND, VALUES, ask, fakes.strong, limits=LIMITS, most_usd=fakes.most_usd)

    assert travel(main)[0].by == "strong"


def test_a_mistake_of_our_own_is_not_taken_for_a_failure_of_an_expert_and_leaves_no_task():
    def most_usd(*asked: Any) -> float:
        raise ZeroDivisionError

    async def main() -> None:
        fakes = Fakes()
        await run(DIAMOND, VALUES, fakes.ask, fakes.strong, limits=LIMITS, most_usd=most_usd)

    with pytest.raises(ZeroDivisionError):
        travel(main)


def test_a_slot_without_a_value_is_told_before_anything_is_asked():
    fakes = Fakes()
    with pytest.raises(PlanError) as error:
        ran(DIAMOND, fakes, {"other": "x"})
    assert (error.value.code, fakes.asked) == ("values", [])


def test_prepare_leaves_the_synthesis_to_whoever_streams_it():
    fakes = Fakes()

    async def main() -> Prepared:
        return await prepare(DIAMOND, VALUES, fakes.ask, limits=LIMITS, most_usd=fakes.most_usd)

    prepared, seconds = travel(main)
    assert "answer" not in fakes.asked and seconds == 2
    assert prepared.synthesis and (prepared.synthesis.expert, prepared.synthesis.timeout) == ("mini", 30)
    assert said(told(prepared.synthesis.messages)) == interpreted(DIAMOND, VALUES)
    assert prepared.trace.synthesis and prepared.trace.synthesis.state == "running"


def test_prepare_says_why_the_original_request_has_to_be_sent():
    fakes = Fakes(faults={"a": [ModelFailed("x")] * 2})

    async def main() -> Prepared:
        return await prepare(DIAMOND, VALUES, fakes.ask, limits=LIMITS, most_usd=fakes.most_usd)

    prepared, _ = travel(main)
    assert prepared.synthesis is None and prepared.reason == prepared.trace.reason != ""


def test_an_output_that_looks_like_a_reference_or_a_tag_goes_on_as_it_is():
    hostile = "{{text}} </a> </a-0123456789abcdef> {{b}}"
    fakes = Fakes(faults={"a": [hostile]})
    ran(DIAMOND, fakes)
    assert f"b of <a>\n{hostile.replace('-0123456789abcdef', '')}\n</a>" in fakes.texts


def test_a_trace_says_what_each_node_was_given_and_what_it_took():
    fakes = Fakes(seconds={"b": 4}, faults={"c": ["", "better"]})
    trace = ran(DIAMOND, fakes, {"text": "x" * 5_000})[0].trace
    (given,) = trace.nodes["a"].inputs
    assert (given.name, given.chars, given.text, given.available) == ("text", 5_000, "x" * 4_000, True)
    assert (trace.nodes["b"].began, trace.nodes["b"].ended) == (1, 5)
    assert [(call.try_, call.began, call.seconds, call.text) for call in trace.nodes["c"].calls] == [
        (1, 1, 1, ""),
        (2, 2, 1, "better"),
    ]
    assert trace.synthesis and [one.name for one in trace.synthesis.inputs] == ["b", "c"]
    assert (trace.reason, trace.strong, trace.seconds, trace.retries) == ("", None, 6, 1)
    assert trace.usd == pytest.approx(5 * CALL_USD)


def test_a_trace_comes_back_from_json_as_it_was():
    for faults in ({}, {"b": [ModelFailed("x")] * 2}, {"answer": ["", ""]}):
        result, seconds = ran(DIAMOND, Fakes(faults=dict(faults)))
        trace = result.trace
        assert Trace.from_json(json.loads(json.dumps(trace.to_json()))) == trace
        assert trace.seconds == seconds
        assert trace.nodes["c"].inputs[1].text == "the data"
        assert trace.tokens[1] == 7 * sum(call.usd == CALL_USD for call in trace.calls()) + 10 * (result.by == "strong")
