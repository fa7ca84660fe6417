import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import compiler
from compiler.errors import PlanError
from compiler.plan import Plan, read_plan
from compiler.plan_check import CODES, MOST_PROMPT_CHARS, Costs, estimate, validate
from compiler.pricing import PriceBook
from tests.compiler.plans import node, plan, synthesis
from tests.conftest import PRICES

EXPERTS = {"nano", "mini"}
A, B = node("a", "text"), node("b", "a")
GOOD = plan(A, B)


def code_of(bad: Plan, costs: Costs | None = None) -> tuple[str, str]:
    with pytest.raises(PlanError) as error:
        validate(bad, EXPERTS, costs)
    return error.value.code, str(error.value)


def test_a_good_plan_has_no_fault():
    validate(GOOD, EXPERTS)
    validate(plan(A, node("b", "text"), node("c", "a", "b", "text"), needs=("c", "a", "text"), quorum=2), EXPERTS)
    validate(plan(node("a", "text", map_over="text"), node("é.x-1", "a", map_over="a")), EXPERTS)
    validate(replace(GOOD, nodes=(B, A)), EXPERTS)


def test_a_circle_is_told_with_its_nodes():
    code, words = code_of(plan(node("a", "c"), node("b", "a"), node("c", "b")))
    assert code == "cycle" and {"a", "b", "c"} <= {*re.findall(r"\w+", words)}
    assert code_of(plan(node("a", "a")))[0] == "cycle"


def test_too_many_nodes_and_none():
    assert code_of(plan(*(node(f"n{n}", "text") for n in range(40)), needs=[f"n{n}" for n in range(40)]))[0] == "nodes"
    assert code_of(Plan(("text",), (), synthesis("text")))[0] == "nodes"


def test_four_nodes_one_behind_the_other_are_too_deep():
    code, words = code_of(plan(A, B, node("c", "b"), node("d", "c")))
    assert (code, words.partition(" ")[0]) == ("depth", "'d'")


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (plan(node("a", "nothing")), "reference"),
        (plan(A, needs=("a", "nothing")), "reference"),
        (plan(replace(A, inputs=())), "reference"),
        (plan(replace(A, prompt="{{text}} {{ a b }}")), "reference"),
        (plan(replace(A, prompt="{{text}} {{}}")), "reference"),
        (replace(GOOD, synthesis=replace(GOOD.synthesis, prompt="{{b}} {{a}}")), "reference"),
        (plan(replace(A, prompt="Work.")), "unused"),
        (replace(GOOD, synthesis=replace(GOOD.synthesis, prompt="Answer.")), "unused"),
        (plan(replace(A, expert="giant")), "expert"),
        (replace(GOOD, synthesis=replace(GOOD.synthesis, expert="giant")), "expert"),
        (plan(A, node("a", "text")), "duplicate"),
        (plan(A, replace(A, id="b", prompt=A.prompt + "\n"), needs=("a", "b")), "duplicate"),
        (plan(replace(A, inputs=("text", "text"))), "duplicate"),
        (plan(A, node("b", "text"), needs=("b",)), "unreachable"),
        (plan(A, quorum=2), "quorum"),
        (plan(A, quorum=0), "quorum"),
        (plan(A, needs=("a", "text"), quorum=2), "quorum"),
        (plan(replace(A, map_over="b"), B), "map_over"),
        (plan(replace(A, map_over="")), "map_over"),
        *((plan(node(name, "text")), "name") for name in ("", "a b", "_a", "a{", "synthesis", "x" * 65, "text", "a\n")),
        (plan(A, slots=("text", "text")), "name"),
        (plan(A, slots=("text", "<b>")), "name"),
        (plan(A, slots=("text", *(f"s{n}" for n in range(20)))), "size"),
        (plan(replace(A, prompt=" \n")), "prompt"),
        (plan(replace(A, prompt=A.prompt + "x" * MOST_PROMPT_CHARS)), "prompt"),
        (plan(replace(A, prompt=A.prompt + "\ud800")), "prompt"),
        *((plan(replace(A, timeout=seconds)), "timeout") for seconds in (0.0, -1.0, 1e9, float("nan"), float("inf"))),
        *((plan(replace(A, max_tokens=most)), "tokens") for most in (0, -1, 10**9)),
        (replace(GOOD, synthesis=replace(GOOD.synthesis, max_tokens=0)), "tokens"),
        (replace(GOOD, synthesis=replace(GOOD.synthesis, timeout=0)), "timeout"),
        (plan(replace(A, output={"$ref": "#/x"})), "schema"),
        (plan(replace(A, output={"type": "list"})), "schema"),
    ],
)
def test_each_fault_has_its_code(bad, code):
    found, words = code_of(bad)
    assert (found, len(words) < 300) == (code, True), words


def costs(incumbent: float = 1.0, **more: Any) -> Costs:
    prices = PriceBook(PRICES)
    rates = {name: found for name in ("nano", "mini") if (found := prices.rates(f"fake-{name}"))}
    return Costs(rates, incumbent, **more)


def test_a_plan_that_is_not_cheaper_than_one_call_is_refused():
    usd = estimate(GOOD, costs())
    validate(GOOD, EXPERTS, costs(usd * 1.01))
    code, words = code_of(GOOD, costs(usd))
    assert code == "cost" and f"{usd:.6f}" in words
    assert code_of(GOOD, costs(float("nan")))[0] == "cost"


def test_what_a_plan_costs_follows_from_what_each_call_reads_and_writes():
    known = {"outputs": {"nano": 100.0, "mini": 100.0}}
    few, much = (estimate(GOOD, costs(slots={"text": size}, **known)) for size in (0.0, 1e6))
    assert much - few == pytest.approx(PRICES["fake-nano"]["input"]), "only `a` reads the slot"
    capped = estimate(GOOD, costs())
    assert capped - few == pytest.approx((2 * 400 * 0.4 + 2 * 400 * 0.1 + 400 * 1.6 - 400 * 0.1 + 0) / 1e6, rel=0.5)


def test_a_mapped_node_pays_its_prompt_for_each_item_and_the_list_once():
    one = plan(node("a", "text", map_over="text"))
    many, few = (estimate(one, costs(slots={"text": 1e6}, outputs={"nano": 0.0}, items=n)) for n in (9, 3))
    assert 0 < many - few < 0.001


def test_an_expert_without_a_price_is_refused():
    assert code_of(GOOD, Costs({}, 1.0))[0] == "cost"


def test_every_code_that_is_raised_is_described_and_every_described_one_raised():
    root = Path(compiler.__file__).parent
    texts = "".join((root / f"{name}.py").read_text("utf-8") for name in ("plan", "plan_check", "run"))
    raised = {*re.findall(r'code="(\w+)"', texts), *re.findall(r'_refuse\("(\w+)", f?"[^"]* ', texts)}
    assert raised == CODES.keys()


def test_a_plan_of_forty_nodes_in_a_models_answer_is_read_and_then_refused():
    listed = ", ".join(f'{{"id": "n{n}", "expert": "nano", "prompt": "x"}}' for n in range(40))
    read = read_plan(f'{{"nodes": [{listed}], "synthesis": {{"expert": "mini", "prompt": "x", "needs": []}}}}')
    assert code_of(read)[0] == "nodes"
