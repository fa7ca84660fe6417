"""The commands' text for a person; what they do is tested where it is done."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.ledger import Charge, Ledger, Tally
from compiler.pricing import Usage
from compiler.store import Store
from proxy.cli import main

CONFIG = """
upstreams: {x: {base_url: 'http://127.0.0.1:9/v1', api_key: none}}
store: {url: 'file:s'}
models: {meta: gpt-4.1, judge: gpt-4.1-mini, production: [gpt-4.1-nano]}
"""
CHAT = "/v1/chat/completions"


@pytest.fixture
def printed(tmp_path: Path, monkeypatch):
    """What `cuecard report` prints at a terminal's width."""
    (tmp_path / "cuecard.yaml").write_text(CONFIG)

    def printed(*options: str) -> str:
        monkeypatch.setenv("COLUMNS", "80")
        done = CliRunner().invoke(main, ["report", "--config", str(tmp_path / "cuecard.yaml"), *options])
        assert done.exit_code == 0, done.output
        assert max(map(len, done.stdout.splitlines())) <= 80 or "--json" in options
        return done.stdout

    return printed


@pytest.fixture
def report(tmp_path: Path, printed):
    """The same, over a ledger of some charges."""

    def report(*charges: Charge) -> str:
        tally = Tally()
        for charge in charges:
            tally.add(charge)
        with Store(tmp_path / "s") as store:
            Ledger(store).add(tally)
        return printed()

    return report


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_the_report_fits_80_columns_and_says_what_was_saved_with_the_compile_paid(report):
    usage = Usage(input=123_456_789, output=9_876_543)
    served = Charge("sentiment", "gpt-4.1-nano-2025-04-14", "serve", "compiled", usage, 16.3, baseline=325.9)
    compiled = Charge("sentiment", "gpt-4.1", "compile", "-", Usage(input=900, output=300), 0.0042)
    text = report(served, compiled)
    for shown in ("compiled", "compile ", "123456789", "9876543", "16.3000", "325.9000"):
        assert shown in text
    assert (
        "net saving +$309.60, give or take what is not known of your model (estimated); spent on compile $0.0042"
        in unwrapped(text)
    )


def test_a_report_of_nothing_says_so(report):
    assert report() == "nothing was called yet\n"


def test_the_report_opens_with_where_the_bill_went(report):
    served = Charge("-", "gpt-4.1", "serve", "original", Usage(), 1.0, ends_request=True, endpoint=CHAT)
    text = report(
        *[served._replace(reason="not_chat", endpoint="/v1/responses", cost=0.5)] * 36,
        *[served._replace(reason="tools")] * 3,
        *[served._replace(reason="unproven", task="mood")] * 2,
        served._replace(reason="tools", model="x[y]", cost=None, unrecorded=True),
        served._replace(route="compiled", task="mood", cost=0.25),
        served._replace(role="compile", route="-", cost=0.125, endpoint=""),
    )
    lines = text.splitlines()
    assert [line.split("  ")[0] for line in lines if line[:1].isalpha()][:6] == [
        *("bill", "your app", "seen", "eligible", "matched", "live")
    ]
    said = unwrapped(text)
    for sentence in (
        "bill 44 calls, $23.38 and 1 of unknown cost (x[y]): your app's $23.25, Cuecard's own $0.125",
        "+ 1 call, $0.125, Cuecard's own: writing and scoring prompts",
        "your app 43 calls, $23.25 and 1 of unknown cost: your app's calls",
        "- 36 calls, $18.00, arrived on /v1/responses: metered, not yet optimisable",
        "seen 7 calls, $5.25 and 1 of unknown cost",
        "- 4 calls, $3.00 and 1 of unknown cost (x[y]), offered tools: not yet optimisable",
        "eligible 3 calls, $2.25",
        "matched 3 calls, $2.25",
        "- 2 calls, $2.00, belonged to a task that is not proven yet",
        "live 1 call, $0.25",
        "= 1 call, $0.25, answered by a card",
        "asked that nothing of them be kept: 1 requests",
    ):
        assert sentence in said, sentence
    assert "\n  x[y] " in text
    assert text.index("live") < text.index("What could be saved") < text.index("tokens")


def test_what_a_task_could_save_is_said_in_a_few_lines(report):
    text = unwrapped(
        report(
            *[Charge("mood", "gpt-4.1", "serve", "original", Usage(2_000, 10), 1.0, None, ends_request=True,
                     reason="unproven", endpoint=CHAT)] * 20_000,
            Charge("odd", "home-made", "serve", "original", Usage(2_000, 10), None, None, ends_request=True,
                   reason="unproven", endpoint=CHAT),
            Charge("small", "gpt-4.1-nano", "serve", "original", Usage(2_000, 10), 1.0, None, ends_request=True,
                   reason="unproven", endpoint=CHAT),
        )
    )  # fmt: skip
    assert "mood worth it: $" in text
    assert "a month on gpt-4.1-nano instead of gpt-4.1, 20,000 calls a day. Compile: $" in text
    assert "expected, $2.00 at most; proof: $" in text
    assert "Calls to break even: " in text
    assert "days to pay back: 1." in text
    assert "odd not known: no price is known for home-made" in text
    assert "small no saving: gpt-4.1-nano is no cheaper than gpt-4.1-nano here (1 calls a day)" in text


def test_calls_of_unknown_cost_are_marked_in_the_table(report):
    call = Charge("-", "m", "serve", "original", Usage(1), None, reason="tools", endpoint=CHAT)
    assert " ? " in report(call).splitlines()[-1]
    assert "0.5000 + ?" in report(call._replace(cost=0.5))


def test_a_store_of_the_version_before_is_reported(tmp_path, printed):
    """Its rows had three names, and no reason."""
    sums = {"calls": 3, "requests": 3, "failed": 0, "counted": 0, "unpriced": 0, "input": 9, "cached_input": 0}
    sums |= {"cache_write": 0, "output": 3, "reasoning": 0, "cost": 1.5, "baseline": 0.0, "baselined": 0}
    with Store(tmp_path / "s") as store:
        rows = [["gpt-4.1", "serve", "original", sums], ["gpt-4.1-nano", "serve", "compiled", sums]]
        store.put("totals:default:mood", rows)
        store.put(f"ledger:{datetime.now(UTC):%Y-%m-%dT%H}:default:mood", rows)
    for options in ((), ("--days", "1")):
        text = unwrapped(printed(*options))
        assert "- 3 calls, $1.50, booked by a version of Cuecard that kept no reasons" in text
        assert "live 3 calls, $1.50" in text
    shown = json.loads(printed("--json"))
    assert shown["funnel"]["bill"]["usd"] == 3.0
    assert shown["possible_savings"] == {}


def test_off_and_the_supervisor_load_no_web_server_no_tables_and_no_price_list():
    """They start in half the time."""
    needless = ("aiohttp", "rich", "genai_prices.types", "openai._client")
    code = f"import sys, proxy.cli; print(*[name for name in {needless} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
