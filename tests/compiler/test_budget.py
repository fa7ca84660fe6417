import contextlib
import multiprocessing
import subprocess
import sys
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

import compiler.budget
from compiler.budget import Budget
from compiler.errors import BudgetExceeded
from compiler.ledger import Charge, Ledger
from compiler.pricing import Usage
from compiler.store import Store


def paid(usd: float | None) -> Charge:
    return Charge("mood", "fake-nano", "compile", "-", Usage(input=10, output=1), usd)


def test_what_is_reserved_counts_as_spent_until_it_is_settled(store):
    budget = Budget(store, usd_per_day=10)
    reservation = budget.reserve(3, {"compile:a": 5})
    assert budget.spent(budget.day()) == budget.spent("budget:compile:a") == 3
    budget.settle(reservation, paid(1))
    assert budget.spent(budget.day()) == budget.spent("budget:compile:a") == 1


def test_a_proof_that_would_pass_its_cap_is_told_that_it_is_its_own(store):
    budget = Budget(store, usd_per_day=10)
    with pytest.raises(BudgetExceeded, match="a task's proof in a day") as caught:
        budget.reserve(2, {"proof:mood:2026-03-01": 1})
    assert caught.value.scope == "compile"
    with pytest.raises(BudgetExceeded, match="a day") as caught:
        budget.reserve(11, {"proof:mood:2026-03-01": 20})
    assert caught.value.scope == "day"
    with pytest.raises(BudgetExceeded, match="that all proofs may cost in a day"):
        budget.reserve(2, {"proof:mood:2026-03-01": 5, "proofs:2026-03-01": 1})
    assert budget.spent(budget.day()) == budget.spent("budget:proof:mood:2026-03-01") == 0


def test_a_settled_call_is_in_the_ledger_and_its_answer_kept(store):
    budget = Budget(store, usd_per_day=10)
    budget.settle(budget.reserve(3, {"s": 5}), paid(1), memo=("memo:s:1", {"text": "hi"}))
    ((task, row, sums),) = Ledger(store).rows()
    assert (task, row.role, sums.cost) == ("mood", "compile", 1)
    assert store.get("memo:s:1") == {"text": "hi"}


def test_a_call_that_was_not_paid_gives_its_money_back(store):
    budget = Budget(store, usd_per_day=10)
    budget.settle(budget.reserve(3, {"s": 5}), None)
    assert budget.spent(budget.day()) == 0
    assert list(Ledger(store).rows()) == []


def test_an_unpriced_call_is_booked_as_unpriced(store):
    budget = Budget(store, usd_per_day=10)
    budget.settle(budget.reserve(3, {"s": 5}), paid(None))
    assert budget.spent(budget.day()) == 0
    assert next(Ledger(store).rows())[2].unpriced == 1


@pytest.mark.parametrize(("per_day", "cap", "scope"), [(4, 10, "day"), (10, 4, "compile")])
def test_the_call_that_would_pass_a_cap_is_refused_and_sets_nothing_aside(store, per_day, cap, scope):
    budget = Budget(store, usd_per_day=per_day)
    budget.reserve(3, {"s": cap})
    with pytest.raises(BudgetExceeded, match=r"may cost \$2.0000, and \$3.0000 of the \$4.00 a") as caught:
        budget.reserve(2, {"s": cap})
    assert caught.value.scope == scope
    assert budget.spent(budget.day()) == budget.spent("budget:s") == 3
    budget.reserve(1, {"s": cap})  # to the last cent


def test_compiles_have_accounts_of_their_own_and_share_the_day(store):
    budget = Budget(store, usd_per_day=5)
    budget.reserve(3, {"one": 3})
    with pytest.raises(BudgetExceeded):
        budget.reserve(0.1, {"one": 3})
    budget.reserve(2, {"two": 3})
    with pytest.raises(BudgetExceeded):
        budget.reserve(0.1, {"three": 3})


def test_a_new_day_has_its_whole_budget_and_the_compile_keeps_its_account(store, monkeypatch):
    budget = Budget(store, usd_per_day=5)
    overnight = budget.reserve(4, {"s": 5})
    yesterday = budget.day()

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2099, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(compiler.budget, "datetime", Tomorrow)
    assert budget.spent(budget.day()) == 0
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve(2, {"s": 5})
    assert caught.value.scope == "compile"
    budget.settle(overnight, paid(3))
    assert (budget.spent(yesterday), budget.spent(budget.day()), budget.spent("budget:s")) == (3, 0, 3)


def test_settling_is_one_transaction(store):
    budget = Budget(store, usd_per_day=10)
    reservation = budget.reserve(3, {"s": 5})
    with pytest.raises(TypeError):
        budget.settle(reservation, paid(1), memo=("memo:s:1", object()))
    assert budget.spent("budget:s") == 3
    assert list(Ledger(store).rows()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from compiler.budget import Budget
from compiler.store import Store
budget = Budget(Store(Path(sys.argv[1])), usd_per_day=5)
budget.reserve(3, {"s": 4})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_reservation_outlives_the_process_that_was_killed_after_it(store):
    assert subprocess.run([sys.executable, "-c", KILLED, str(store.folder)], cwd=Path.cwd()).returncode == -9
    budget = Budget(store, usd_per_day=5)
    assert budget.spent(budget.day()) == budget.spent("budget:s") == 3
    with pytest.raises(BudgetExceeded):
        budget.reserve(2, {"s": 4})


def _grab(folder: Path, together: Barrier, granted: Any) -> None:
    store = Store(folder)
    budget = Budget(store, usd_per_day=40)
    together.wait()
    with contextlib.suppress(BudgetExceeded):
        while True:
            budget.reserve(1, {"s": 100})
            with granted.get_lock():
                granted.value += 1
    store.close()


def test_two_processes_reserving_at_once_never_pass_the_cap_together(store):
    context = multiprocessing.get_context("spawn")
    together, granted = context.Barrier(2), context.Value("i", 0)
    processes = [context.Process(target=_grab, args=(store.folder, together, granted)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert granted.value == 40


def test_which_account_had_no_room_is_told_and_counted(store):
    budget = Budget(store, usd_per_day=100)
    for _ in range(2):
        with pytest.raises(BudgetExceeded, match="that a log's proof may cost") as refused:
            budget.reserve(3, {"compile:a": 5, "prove:log": 2})
        assert refused.value.account == "prove:log"
    with pytest.raises(BudgetExceeded):
        budget.reserve(101, {})
    assert budget.refused == {"prove:log": 2, budget.day().removeprefix("budget:"): 1}
