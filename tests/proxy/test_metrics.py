"""Each in a process of its own: where the values live is fixed when prometheus_client is first imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

OPENING = """
from compiler.ledger import Charge
from compiler.pricing import Usage
from proxy.metrics import MAX_TASKS, Metrics, exposition, use_slot
use_slot("worker-0")
metrics = Metrics()
def charge(cost, **usage):
    metrics.charge(Charge("mood", "m", "serve", "original", Usage(**usage), cost))
"""


@pytest.fixture
def run(tmp_path: Path):
    folder = tmp_path / "metrics"
    folder.mkdir()

    def run(script: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", OPENING + script],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_call_is_booked_by_disjoint_types_and_its_cost(run):
    out = run("charge(0.5, input=10, output=6, cached_input=4, reasoning=2); print(exposition().decode())")
    for kind, tokens in (("input", 6), ("cached_input", 4), ("output", 4), ("reasoning", 2)):
        assert f'cuecard_tokens_total{{model="m",role="serve",type="{kind}"}} {tokens}.0\n' in out
    assert 'type="cache_write"' not in out
    assert 'cuecard_cost_usd_total{model="m",role="serve",task="mood"} 0.5\n' in out
    assert "cuecard_unpriced_requests_total{" not in out


def test_an_unknown_price_is_counted_and_never_guessed(run):
    out = run("charge(None, input=1); charge(0.0, input=1); print(exposition().decode())")
    assert 'cuecard_unpriced_requests_total{model="m"} 1.0\n' in out
    assert "cuecard_cost_usd_total{" not in out


def test_counts_of_all_processes_add_up_and_outlive_them(run):
    run("charge(0.5, input=1)")
    assert 'cuecard_cost_usd_total{model="m",role="serve",task="mood"} 1.0\n' in run(
        "charge(0.5, input=1); print(exposition().decode())"
    )


def test_a_process_that_ended_is_in_flight_no_more(run):
    out = run(
        "from proxy.metrics import forget_slot; metrics.requests_now = 1; metrics.show_inflight()\n"
        "print(exposition().decode()); forget_slot('worker-0'); print('---'); print(exposition().decode())"
    )
    before, after = out.split("---")
    assert "cuecard_inflight_requests 1.0" in before
    assert "cuecard_inflight_requests 1.0" not in after


def test_labels_are_bounded(run):
    out = run(
        "print(*[metrics.task(str(n)) for n in range(MAX_TASKS + 1)][-2:], metrics.task('0'))\n"
        "print(metrics.known_model('m')); metrics.model('m'); print(metrics.known_model('m'))"
    )
    assert out.split() == ["99", "other", "0", "other", "m"]


def test_a_task_is_in_one_stage(run):
    out = run(
        "from compiler.ledger import Incumbent; from compiler.registry import TaskState, TaskView\n"
        "from compiler.task import Task; task = Task('mood', 'd')\n"
        "for stage in ('compiling', 'kept'):\n"
        "    metrics.tasks({'mood': TaskView(task, TaskState(stage), None, Incumbent())}, {'mood': 0.04})\n"
        "print(exposition().decode())"
    )
    stages = [line for line in out.splitlines() if line.startswith("cuecard_task_stage{") and line.endswith(" 1.0")]
    assert stages == ['cuecard_task_stage{stage="kept",task="mood"} 1.0']
    assert 'cuecard_task_traffic_ratio{task="mood"} 0.0' in out
    assert 'cuecard_task_loss_bound_ratio{task="mood"} 0.04' in out


def test_a_task_that_a_person_paused_is_paused_whatever_its_state_says(run):
    out = run(
        "from compiler.ledger import Incumbent; from compiler.registry import TaskState, TaskView\n"
        "from compiler.task import Task; task = Task('mood', 'd')\n"
        "metrics.tasks({'mood': TaskView(task, TaskState('live'), None, Incumbent(), 'a complaint')}, {'mood': 0.02})\n"
        "print(exposition().decode())"
    )
    stages = [line for line in out.splitlines() if line.startswith("cuecard_task_stage{") and line.endswith(" 1.0")]
    assert stages == ['cuecard_task_stage{stage="paused",task="mood"} 1.0']
    assert 'cuecard_task_loss_bound_ratio{task="mood"} 0.02' in out
