"""What a report reckons and draws: savings, costs, plots."""

import pytest

from compiler.evidence import Evidence
from compiler.judge import scoring_of
from compiler.ledger import Charge
from compiler.pricing import Usage
from compiler.proof import Proof
from compiler.task import Contract
from proxy.prove.costs import Costs
from proxy.prove.plots import HEIGHT, LEFT, WIDTH, bars, line
from proxy.prove.saving import saving_of
from tests.proven import ran


def proof_of(pairs: int, fallbacks: int = 0, **more) -> Proof:
    proof = Proof("mood@1", scoring_of(Contract("label", ("no", "yes")), None), Evidence(0.02))
    for at in range(pairs):
        one = ran(at + 1)
        falls_back = one.scored.__class__(0.0, "fallback", "failed")
        proof.add(one._replace(scored=falls_back if at < fallbacks else one.scored, **more))
    return proof


def saved(proof: Proof, days: float | None = 10.0):
    return saving_of(proof, calls=1_000, usd=10.0, days=days, control=0.02, proof_usd=0.3)


def test_a_saving_is_what_the_pairs_cost_on_both_and_a_month_is_the_logs_traffic():
    found = saved(proof_of(100))
    assert found and (found.pairs, found.current_call, found.share) == (100, pytest.approx(0.01), pytest.approx(0.9))
    assert found.of_log == pytest.approx(9.0)
    assert found.month == pytest.approx(3_000 * (0.98 * 0.009 - 0.02 * 0.003))


def test_what_falls_back_costs_both():
    found = saved(proof_of(100, fallbacks=10))
    assert found and found.candidate_call == pytest.approx(0.001 + 0.1 * 0.01)


def test_a_month_is_not_guessed_and_without_costs_nothing_is():
    found = saved(proof_of(100), days=None)
    assert found and found.month is None
    assert saved(proof_of(0)) is None
    assert saved(proof_of(10, usd=(None, 0.001))) is None


def test_costs_are_added_up_by_task_role_and_model_and_outlast_the_run(store):
    def charge(task: str, model: str, role, usd: float | None) -> None:
        Costs(store, "prove:log").add(Charge(task, model, role, "-", Usage(), usd))

    charge("mood", "fake-nano", "shadow", 0.25)
    charge("mood", "fake-nano", "shadow", 0.5)
    charge("mood", "fake-mini", "judge", 2.0)
    charge("other", "fake-nano", "shadow", 0.25)
    charge("other", "fake-nano", "shadow", None)
    costs = Costs(store, "prove:log")
    assert (costs.of("mood"), costs.of("mood", "shadow"), costs.of("none")) == (2.75, 0.75, 0)
    found = [(cost.model, cost.role, cost.calls, cost.usd) for cost in costs.by_model()]
    assert found == [("fake-mini", "judge", 1, 2.0), ("fake-nano", "shadow", 4, 1.0)]
    assert [*Costs(store, "prove:another")] == []


def test_the_bound_falls_from_the_left_to_the_right_and_the_margin_is_in_the_plot():
    found = line([(10, 0.8), (100, 0.1), (300, 0.015)], 0.02)
    assert found
    xs, ys = zip(*found.points, strict=True)
    assert [*xs] == sorted(xs) and [*ys] == sorted(ys), "y grows downwards"
    assert xs[0] == LEFT and xs[-1] <= WIDTH and ys[-1] < HEIGHT
    assert ys[2] < found.margin < ys[3]
    assert [tick.value for tick in found.ticks] == [1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]


@pytest.mark.parametrize("points", [[(1, 1.0)], [(5, 0.0)]])
def test_a_single_point_and_a_bound_of_nothing_can_be_drawn(points):
    found = line(points, 0.02)
    assert found and all(0 <= y <= HEIGHT for _, y in found.points)
    assert line([], 0.02) is None


def test_bars_are_as_long_as_their_amounts_and_a_loss_has_hardly_one():
    found = bars([("a", 10.0, "$10", True), ("b", 5.0, "$5", False), ("c", -3.0, "-$3", False)])
    assert found
    assert [bar.width for bar in found.bars] == [WIDTH, WIDTH / 2, 1.0]
    assert found.height > max(bar.y for bar in found.bars) + found.bar
    assert bars([]) is None
