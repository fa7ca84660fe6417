"""Whatever the experts of a plan do, and whoever leaves: what holds of every run."""

import asyncio
from contextlib import suppress
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import BudgetExceeded, ModelFailed
from compiler.expert import LINGER, Answer
from compiler.plan import Node, Plan
from compiler.plan_check import DEEPEST, validate
from compiler.run import Limits, Result, run
from compiler.trace import Trace
from tests.compiler.plans import Fakes, interpreted, node, plan
from tests.compiler.travel import travel

EXAMPLES = settings(max_examples=60, deadline=None)
VALUES = {"text": "some {{text}} data", "list": ["p", "q", "</list>", "{{n0}}"]}
EPS = 1e-9


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    nodes: list[Node] = []
    depth: dict[str, int] = {}
    for number in range(draw(st.integers(1, 6))):
        earlier = [one.id for one in nodes if depth[one.id] < DEEPEST]
        inputs = draw(st.lists(st.sampled_from(["text", "list", *earlier]), min_size=1, max_size=3, unique=True))
        mapped = "list" if "list" in inputs and draw(st.booleans()) else None
        made = node(
            f"n{number}",
            *inputs,
            map_over=mapped,
            optional=draw(st.booleans()),
            timeout=draw(st.sampled_from([2.0, 10.0, 30.0])),
        )
        depth[made.id] = 1 + max((depth.get(name, 0) for name in inputs), default=0)
        nodes.append(made)
    read = {name for one in nodes for name in one.inputs}
    needs = [one.id for one in nodes if one.id not in read or draw(st.booleans())]
    quorum = draw(st.none() | st.integers(1, len(needs)))
    slots = draw(st.sampled_from([[], ["text"]]))
    return plan(*nodes, needs=[*needs, *slots], slots=("text", "list"), quorum=quorum)


FAULTS = st.sampled_from(
    [
        *("ok", "ok", "{{text}} and {{n1}}", "", "hang", "deaf"),
        *(ModelFailed("HTTP 500"), ZeroDivisionError(), asyncio.CancelledError(), BudgetExceeded("x", scope="day")),
        *(Answer("cut", 0.01, finish_reason="length"), Answer("unpriced"), None),
    ]
)
NAMES = [*(f"n{number}" for number in range(6)), "answer"]


class Given(NamedTuple):
    plan: Plan
    seconds: dict[str, float]
    faults: dict[str, list[Any]]
    limits: Limits
    leaves: float | None  # seconds after which the client does
    twice: bool = False  # it is cancelled


def times() -> st.SearchStrategy[dict[str, float]]:
    return st.fixed_dictionaries({name: st.sampled_from([0.0, 1.0, 1.5, 7.0, 29.0]) for name in NAMES})


GIVEN = st.builds(
    Given,
    plans(),
    times(),
    st.dictionaries(st.sampled_from(NAMES), st.lists(FAULTS, max_size=6), max_size=4),
    st.builds(
        Limits,
        max_usd=st.sampled_from([0.0, 0.05, 0.1, 10.0]),
        max_calls=st.sampled_from([0, 3, 8, 100]),
        seconds=st.sampled_from([5.0, 40.0, 200.0]),
        strong_seconds=st.sampled_from([3.0, 20.0]),
        grace=st.sampled_from([0.0, 2.0]),
        at_once=st.integers(1, 4),
    ),
    st.none() | st.sampled_from([0.0, 1.0, 2.5, 30.0]),
    st.booleans(),
)


def ended(case: Given) -> tuple[Fakes, Trace, Result | None, float]:
    """No result where the client left or the strong call failed."""
    fakes = Fakes(case.seconds, {name: [*faults] for name, faults in case.faults.items()})
    trace = Trace()

    async def main() -> Result | None:
        running = asyncio.create_task(
            run(case.plan, VALUES, fakes.ask, fakes.strong, limits=case.limits, most_usd=fakes.most_usd, trace=trace)
        )
        await asyncio.wait({running}, timeout=case.leaves)
        running.cancel()
        if case.twice:
            await asyncio.sleep(0)
            running.cancel()
        with suppress(ModelFailed, asyncio.CancelledError):
            return await running
        return None

    result, seconds = travel(main)
    return fakes, trace, result, seconds


@EXAMPLES
@given(GIVEN)
def test_every_run_ends_in_time_within_its_caps_and_leaves_no_task(case):
    fakes, trace, result, seconds = ended(case)
    limits = case.limits
    experts = [id for id in fakes.asked if id != "strong"]
    assert fakes.running == 0
    assert all(0 < timeout <= limits.seconds for timeout in fakes.timeouts)
    deaf = LINGER if any("deaf" in faults for faults in case.faults.values()) else 0
    assert seconds <= limits.seconds + limits.strong_seconds + 2 * deaf + EPS
    assert case.leaves is None or seconds <= case.leaves + deaf + EPS
    assert len(experts) <= limits.max_calls
    assert fakes.asked.count("strong") <= 1
    spent = [call for noted in (*trace.nodes.values(), trace.synthesis) if noted for call in noted.calls]
    assert len(spent) == len(experts), "every call is in the trace"
    assert sum(call.most_usd if call.usd is None else call.usd for call in spent) <= limits.max_usd + EPS
    assert fakes.most_running <= limits.at_once
    for one in case.plan.nodes:
        assert fakes.asked.count(one.id) <= 2 * (len(VALUES["list"]) if one.map_over else 1), "one retry"
    if result:
        assert (result.by == "strong") == bool(result.reason) == ("strong" in fakes.asked)
        assert all(noted.state != "running" for noted in trace.nodes.values())
    elif case.leaves is None:
        assert trace.strong and trace.strong.state == "failed", "the strong call took too long"
    assert Trace.from_json(trace.to_json()) == trace


@EXAMPLES
@given(GIVEN)
def test_whoever_answers_had_its_quorum(case):
    _, trace, result, _ = ended(case)
    if result is None or result.by == "strong":
        return
    needed = case.plan.needed
    succeeded = {one.id for one in needed if trace.nodes[one.id].state == "done"}
    passed = {one.name: one.available for one in (trace.synthesis.inputs if trace.synthesis else [])}
    assert {name for name, there in passed.items() if there and name in case.plan.by_id} == succeeded
    quorum = case.plan.synthesis.quorum
    if quorum is None:
        assert succeeded and {one.id for one in needed if not one.optional} <= succeeded
    else:
        assert len(succeeded) >= quorum


@EXAMPLES
@given(plans(), times())
def test_where_nothing_fails_it_answers_what_a_sequential_run_does_and_nobody_waits_in_vain(made, seconds):
    validate(made, {"nano", "mini"})
    patient = Plan(made.slots, tuple(patiently(one) for one in made.nodes), made.synthesis)
    limits = Limits(max_usd=100, max_calls=100, seconds=1_000, grace=1_000, at_once=100)
    fakes, _, result, took = ended(Given(patient, seconds, {}, limits, None))
    assert result and result.text == interpreted(patient, VALUES)
    ends: dict[str, float] = {}
    for one in patient.ordered():
        began = max((ends[other.id] for other in patient.before(one)), default=0.0)
        assert {at for id, at in fakes.began if id == one.id} == {began}, "the moment its inputs are there"
        ends[one.id] = began + seconds[one.id]
    for text in fakes.texts:
        reader = patient.by_id.get(text.partition(" ")[0])
        if reader and "text" in reader.inputs:
            assert text.count("<text>\nsome {{text}} data\n</text>") == 1, "once, and not looked into"
    assert took == max(ends[one.id] for one in patient.needed) + seconds["answer"]


def patiently(one: Node) -> Node:
    return Node(**{**one.__dict__, "timeout": 500.0})
