"""The commands' text for a person; what they do is tested where it is done."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.ledger import Charge, Ledger, Tally
from compiler.pricing import Usage
from compiler.store import Store
from proxy.cli import main


@pytest.fixture
def report(tmp_path: Path, monkeypatch):
    """`cuecard report` at a terminal's width, over a ledger of some charges."""

    def report(*charges: Charge) -> str:
        config = tmp_path / "cuecard.yaml"
        config.write_text(
            "upstreams: {x: {base_url: 'http://127.0.0.1:9/v1', api_key: none}}\nstore: {url: 'file:s'}\n"
        )
        tally = Tally()
        for charge in charges:
            tally.add(charge)
        with Store(tmp_path / "s") as store:
            Ledger(store).add(tally)
        monkeypatch.setenv("COLUMNS", "80")
        done = CliRunner().invoke(main, ["report", "--config", str(config)])
        assert done.exit_code == 0, done.output
        return done.stdout

    return report


def test_the_report_fits_80_columns_and_says_what_was_saved_with_the_compile_paid(report):
    usage = Usage(input=123_456_789, output=9_876_543)
    served = Charge("sentiment", "gpt-4.1-nano-2025-04-14", "serve", "compiled", usage, 16.3, baseline=325.9)
    compiled = Charge("sentiment", "gpt-4.1", "compile", "-", Usage(input=900, output=300), 0.0042)
    text = report(served, compiled)
    assert max(map(len, text.splitlines())) <= 80
    for shown in ("compiled", "compile ", "123456789", "9876543", "16.3000", "325.9000"):
        assert shown in text
    assert "sentiment: compiling $0.0042, net saving $+309.5958 (estimated)" in text


def test_a_report_of_nothing_says_so(report):
    assert report() == "nothing was called yet\n"
