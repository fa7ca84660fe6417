"""The simulation gives the figures of the real code, and says what it was asked to."""

import json
import sys

import numpy as np
import pytest

from bench import proof, trials
from bench.proof import Options
from bench.trials import Cell

SMALL = Options(runs=30, pairs=60, seed=1)


def test_draws_have_the_disagreement_and_the_loss_of_their_cell():
    d = trials.draws(np.random.default_rng(1), Cell(0.02, 0.4, 0.1), 1_000, 200)
    assert np.abs(d).mean() == pytest.approx(0.4, abs=0.01)
    assert d.mean() == pytest.approx(0.1, abs=0.01)


def test_the_simulation_gives_what_the_real_code_gives():
    assert proof.same(SMALL) < 1e-3


def test_a_simulation_that_differs_from_the_real_code_ends_the_run(monkeypatch):
    monkeypatch.setattr(trials.Bank, "restart", lambda bank: bank.now())
    with pytest.raises(AssertionError, match="differ"):
        proof.same(SMALL)


def test_a_cell_gives_the_same_alone_and_among_others():
    assert SMALL.rng("a").random() == SMALL.rng("a").random() != SMALL.rng("b").random()


def test_a_hold_on_traffic_serves_less_of_a_missed_label():
    served = [
        trials.hidden(np.random.default_rng(1), Cell(0.05, 0.0), 20, 700, 0.03, trials.Rollout(held)).served.mean()
        for held in (True, False)
    ]
    assert served[0] < served[1]


def test_against_a_part_of_the_margin_drift_is_seen_that_is_none_against_the_whole():
    observed = trials.draws(np.random.default_rng(1), Cell(0.05, 0.1, 0.045), 20, 4_000)
    whole, part = (trials.alarms(observed, 0.05, np.full(20, kappa)) for kappa in (1.0, 0.6))
    assert np.isfinite(part).mean() > 0.9 > np.isfinite(whole).mean()
    untrusted = trials.alarms(observed, 0.05, np.full(20, 0.3))
    assert (untrusted == whole).all(), "a judge that is not trusted lets nobody serve"


def test_the_command_prints_a_table_writes_json_and_checks(monkeypatch, tmp_path, capsys):
    kept = tmp_path / "proof.json"
    given = ["proof", "--runs", "20", "--pairs", "300", "--only", "speed", "--json", str(kept), "--check"]
    monkeypatch.setattr(sys, "argv", given)
    monkeypatch.setattr(proof, "TO_TRAFFIC", {(0.05, 0.1): (1, 285)})
    with pytest.raises(SystemExit, match="1"):
        proof.main()
    assert "pairs to traffic .5" in capsys.readouterr().out
    bars = json.loads(kept.read_text())["speed"]
    assert bars[0]["passed"] is False
