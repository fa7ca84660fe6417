"""`cuecard try` as a person types it, over a fake upstream; in its own process where it is stopped or killed."""

import asyncio
import json
import os
import pty
import signal
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from compiler.example import Example
from compiler.ledger import Ledger
from compiler.observation import Observations
from compiler.proof import Proofs
from compiler.recognition.forgetting import forget_task
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import Task
from proxy.cli import main
from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream, Fault
from tests.judging import prefers
from tests.learned import TOXIC, keep, learn, mails, observed, request, some
from tests.proven import compiled, proven, recognised

NAME = "decide-whether-comment-toxic"
YES, NO = '{"toxic": true}', '{"toxic": false}'
USD = {"fake-nano": (0.1, 0.4), "fake-mini": (0.4, 1.6)}


@pytest.fixture
def settings(tmp_path: Path, fake) -> dict[str, Any]:
    return {
        "upstreams": {"fake": {"base_url": fake.url, "api_key": "sk-ours"}},
        "models": {"meta": "fake-strong", "judge": "fake-nano", "production": ["fake-nano"]},  # which nobody asks
        "prices": {name: dict(price) for name, price in PRICES.items()},
        "store": {"url": f"file:{tmp_path / 'store'}"},
    }


@pytest.fixture
def config(tmp_path: Path, settings) -> Path:
    return written(tmp_path / "cuecard.yaml", settings)


def written(file: Path, settings: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.fixture
def store(tmp_path: Path):
    """A recognised task of twenty requests, with a card."""
    learn(tmp_path / "store", *some(TOXIC, answer=YES))
    with Store(tmp_path / "store") as store:
        compiled(store, recognised(NAME))
        yield store


@pytest.fixture
def cuecard(config: Path):
    async def cuecard(*words: str, code: int = 0) -> Result:
        """In a thread: the command has an event loop of its own, the fake upstream runs in this one."""
        done = await asyncio.to_thread(CliRunner().invoke, main, ["try", *words, "--config", str(config)])
        assert done.exit_code == code, done.output
        return done

    return cuecard


async def told(cuecard, *words: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await cuecard(NAME, "--json", *words, code=code)).stdout)
    return found


def billed(fake: FakeUpstream) -> float:
    return sum(call.input * USD[call.model][0] + call.output * USD[call.model][1] for call in fake.calls) / 1e6


def booked(store: Store) -> dict[str, float]:
    return {row.role: sums.cost for task, row, sums in Ledger(store).rows() if task == NAME}


def some_wrong(body: Any) -> str:
    return NO if body["messages"][-1]["content"].endswith(("case 703", "case 666")) else YES


# What is shown


async def test_both_answers_are_shown_and_summed_up(cuecard, store, fake):
    fake.answers["fake-nano"] = some_wrong
    found = await told(cuecard, "--calls", "8")
    assert found["inputs"] == {"of": 20, "recorded": True, "chosen": 8}
    pairs = found["pairs"]
    assert [pair["input"].rpartition("case ")[2] for pair in pairs] == [str(37 * n) for n in range(19, 11, -1)]
    assert [(pair["outcome"], pair["current"], pair["candidate"]) for pair in pairs] == [
        ("different", YES, NO),
        ("different", YES, NO),
        *[("same", YES, YES)] * 6,
    ]
    sums = found["summary"]
    assert (sums["tried"], sums["failed"], sums["same"], sums["no_worse"], sums["mean_d"]) == (8, 0, 6, 6, 0.25)
    assert sums["usd"] == {"pairs": 8, "current": pytest.approx(0.008), "card": pytest.approx(billed(fake))}
    assert sums["seconds"]["current"] == {"p50": 0.5, "p95": 0.5}
    assert 0 < sums["seconds"]["card"]["p50"] <= sums["seconds"]["card"]["p95"]
    assert found["usd"] == pytest.approx(billed(fake)) == booked(store)["shadow"]
    assert found["stopped"] is None


async def test_a_person_sees_the_worst_last_next_to_the_sums(cuecard, store, fake):
    fake.answers["fake-nano"] = some_wrong
    done = await cuecard(NAME, "--calls", "8")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert max(map(len, lines)) <= 80
    heads = [line.partition("  ")[2].partition(",")[0] for line in lines if line[:1].isdigit()]
    assert heads == ["same"] * 6 + ["different"] * 2
    text = " ".join(done.stdout.split())
    assert "calls 8 of 8 came through" in text
    assert "agreement 6 of 8 the same (75 %): same 6, different 2" in text or "different 2, same 6" in text
    assert "this is no evidence: none of it counts in the task's proof" in text
    assert f"{NAME}@1 on fake-nano: the 8 newest of 20 recorded inputs, at most $1" in done.stderr
    assert "nobody judges: the judge fake-nano can't compare answers of fake-nano" in done.stderr
    assert "8 of 8: " in done.stderr


async def test_a_judge_is_asked_about_what_differs_and_quoted(cuecard, config, settings, store, fake):
    settings["models"]["judge"] = "fake-mini"
    written(config, settings)
    fake.answers |= {"fake-nano": NO, "fake-mini": prefers(lambda a, b: 1 if "true" in a else -1)}
    found = await told(cuecard, "--calls", "2")
    assert [(pair["outcome"], pair["d"], pair["judge"]) for pair in found["pairs"]] == [
        ("judged", 1.0, "One of them is wrong.")
    ] * 2
    assert {*booked(store)} == {"shadow", "judge"}
    assert found["usd"] == pytest.approx(billed(fake)) == sum(booked(store).values())


@pytest.mark.parametrize("judge", ["fake-nano", "unpriced"])
async def test_a_judge_that_can_not_judge_is_said_and_the_rest_goes_on(cuecard, config, settings, store, fake, judge):
    settings["models"]["judge"] = judge
    written(config, settings)
    fake.answers["fake-nano"] = NO
    done = await cuecard(NAME, "--calls", "1")
    assert "nobody judges: " in done.stderr and judge in done.stderr


async def test_a_fallback_is_paid_twice(cuecard, store, fake):
    fake.answers["fake-nano"] = "no JSON"
    found = await told(cuecard, "--calls", "2")
    assert [(pair["outcome"], pair["reason"], pair["candidate"]) for pair in found["pairs"]] == [
        ("fallback", "json", "no JSON")
    ] * 2
    assert found["summary"]["usd"]["card"] == pytest.approx(billed(fake) + 0.002)


async def test_a_declared_task_is_tried_on_its_examples_where_nothing_is_recorded(cuecard, store, fake):
    task, examples = Task("mood", "Tell."), [Example(f"text {n}", YES) for n in range(3)]
    Registry(store).declare({"mood": (task, examples)}, "config")
    compiled(store, task)
    fake.answers["fake-nano"] = lambda body: NO if body["messages"][-1]["content"] == "text 1" else YES
    done = await cuecard("mood", "--json")
    told = json.loads(done.stdout)
    assert "the 3 newest of 3 examples (nothing is recorded)" in done.stderr
    assert [(pair["input"], pair["outcome"]) for pair in told["pairs"]] == [
        ("text 2", "same"),
        ("text 1", "expected"),
        ("text 0", "same"),
    ]
    assert told["summary"]["usd"]["current"] is told["summary"]["seconds"]["current"] is None
    assert "what the current model costs is not known" in " ".join((await cuecard("mood")).stdout.split())


# What it leaves alone


async def test_nothing_of_it_is_in_the_proof(cuecard, store, fake):
    proven(store, Registry(store).snapshot().adopted[NAME].compiled, 50)
    before, state = Proofs(store).get(NAME).to_json(), Registry(store).state(NAME)
    fake.answers["fake-nano"] = NO
    await cuecard(NAME)
    assert (Proofs(store).get(NAME).to_json(), Registry(store).state(NAME)) == (before, state)
    assert store.keys("diffs:") == store.keys("memo:") == []


async def test_while_off_it_runs_because_a_person_asked_and_stays_off(cuecard, store, fake):
    Registry(store).set_off(True)
    fake.answers["fake-nano"] = YES
    done = await cuecard(NAME, "--calls", "2")
    assert "Cuecard is off, and stays off" in done.stderr
    assert len(fake.calls) == 2 and Registry(store).is_off()


# Money


@pytest.mark.parametrize("usd", ["0.0002", "0.00025"])
async def test_it_never_spends_more_than_was_said(cuecard, store, fake, usd):
    fake.answers["fake-nano"] = YES
    more = (observed(request(TOXIC, f"{mail} again"), answer=YES) for mail in islice(mails(), 80))
    learn(store.folder, *more)
    found = await told(cuecard, "--calls", "100", "--max-usd", usd)
    assert 0 < len(fake.calls) < 100
    assert billed(fake) <= float(usd) and found["usd"] == pytest.approx(billed(fake))
    assert found["stopped"] == f"the next call could have passed --max-usd (${usd})"
    assert len(found["pairs"]) == len(fake.calls)


async def test_it_never_spends_more_than_a_day_may_cost(cuecard, config, settings, store, fake):
    settings["background"] = {"usd_per_day": 0.0002}
    written(config, settings)
    fake.answers["fake-nano"] = YES
    await told(cuecard, "--calls", "10")
    found = await told(cuecard)
    assert len(found["pairs"]) == len(fake.calls) - 10 < 20
    assert "`background.usd_per_day`" in found["stopped"]
    await told(cuecard, code=1)
    assert billed(fake) <= 0.0002


async def test_too_little_for_one_call_is_said(cuecard, store, fake):
    done = await cuecard(NAME, "--max-usd", "0.000001", code=1)
    assert "0 of 20 came through" in done.stdout
    assert "stopped" in done.stdout and "--max-usd ($1e-06)" in done.stdout
    assert fake.calls == []


# What can be wrong


@pytest.mark.parametrize("usd", ["0", "-1", "nan", "inf", "much"])
async def test_what_is_no_sum_is_a_mistake(cuecard, store, fake, usd):
    assert "Invalid value for '--max-usd'" in (await cuecard(NAME, f"--max-usd={usd}", code=2)).stderr


@pytest.mark.parametrize("calls", ["0", "-1", "401", "many"])
async def test_what_is_no_number_of_calls_is_a_mistake(cuecard, store, fake, calls):
    assert "Invalid value for '--calls'" in (await cuecard(NAME, f"--calls={calls}", code=2)).stderr


async def test_what_is_missing_is_said_before_anything_is_asked(cuecard, store, fake, tmp_path):
    async def complaint(name: str = NAME) -> str:
        done = await cuecard(name, code=2)
        assert done.stdout == "" and done.stderr.count("\n") == 1
        return done.stderr

    assert f"did you mean '{NAME}'?" in await complaint("decide-wether-comment-toxic")
    Registry(store).adopt(recognised("other"), [])
    assert "'other' has no card: it is observing" in await complaint("other")
    compiled(store, Task("mood", "Tell."))
    Registry(store).declare({"mood": (Task("mood", "Tell."), [])}, "config")
    missing = await complaint("mood")
    assert "nothing of 'mood' is recorded, and it has no examples that its card does not show" in missing
    with Observations(tmp_path / "store", retention_days=14) as observations:
        observations.forget(tenant="default")
    Registry(store).adopt(recognised(NAME), [])
    assert f"nothing of '{NAME}' is recorded: there is no input to try its card on" in await complaint()
    assert fake.calls == []


async def test_without_a_key_or_a_price_nothing_is_asked(cuecard, config, settings, store, fake):
    del settings["upstreams"]["fake"]["api_key"]
    written(config, settings)
    assert "upstream 'fake' has no api_key of its own" in (await cuecard(NAME, code=2)).stderr
    settings["upstreams"]["fake"]["api_key"] = "sk-ours"
    del settings["prices"]["fake-nano"]
    written(config, settings)
    assert "fake-nano has no known price; add it under `prices`" in (await cuecard(NAME, code=2)).stderr
    assert fake.calls == []


async def test_a_refused_key_ends_it_at_once(cuecard, store, fake):
    fake.keys = {"another"}
    done = await cuecard(NAME, code=1)
    assert "stopped     fake-nano: HTTP 401" in done.stdout
    assert len(fake.calls) == 4


# Stopped, killed, at a terminal


async def process(config: Path, *words: str, **more: Any) -> asyncio.subprocess.Process:
    heeding = ("env", "--default-signal=INT")  # tests that run in the background were told to ignore it
    command = (
        *heeding,
        sys.executable,
        "-c",
        "from proxy.cli import main; main()",
        "try",
        NAME,
        "--config",
        str(config),
        *words,
    )
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | more
    return await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2], **pipes)


async def told_of(running: asyncio.subprocess.Process, number: int) -> None:
    """Until it said that so many came through."""
    assert running.stderr
    async with asyncio.timeout(30):
        while not (await running.stderr.readline()).startswith(f"{number} of ".encode()):
            pass


def stalling(last: int):
    calls = iter(range(1_000))
    return lambda body: Fault.stall(YES) if next(calls) >= last else YES


async def test_ctrl_c_shows_what_there_is(config, store, fake):
    fake.answers["fake-nano"] = stalling(6)
    running = await process(config, "--json")
    await told_of(running, 6)
    await fake.wait_for(8)
    running.send_signal(signal.SIGINT)
    out, error = await running.communicate()
    assert running.returncode == 130, error.decode()
    assert b"Traceback" not in error
    found = json.loads(out)
    assert (len(found["pairs"]), found["stopped"]) == (6, "you stopped it")
    assert found["usd"] >= billed(fake)
    assert store.keys("memo:") == []


async def test_kill_9_leaves_what_was_spent_in_the_books_and_the_next_one_runs(config, cuecard, store, fake):
    fake.answers["fake-nano"] = stalling(6)
    running = await process(config)
    await told_of(running, 6)
    await fake.wait_for(8)
    running.kill()
    await running.communicate()
    done = [call for call in fake.calls if call.answer]
    assert booked(store)["shadow"] == pytest.approx(sum(c.input * 0.1 + c.output * 0.4 for c in done) / 1e6)
    fake.release.set()
    found = await told(cuecard, "--calls", "4")
    assert found["summary"]["same"] == 4


async def test_what_is_forgotten_while_it_runs_is_asked_no_more(cuecard, store, fake):
    with Observations(store.folder, retention_days=14) as observations:

        def forgetting(body: Any) -> str:
            forget_task(store, observations, NAME)
            return YES

        fake.answers["fake-nano"] = forgetting
        found = await told(cuecard)
    assert found["summary"]["tried"] == len(fake.calls) == 4
    assert "requests were forgotten meanwhile" in found["stopped"]
    assert store.keys("memo:") == store.keys("card:") == []


async def test_two_at_once_pay_and_book_their_own(config, store, fake):
    fake.answers["fake-nano"] = YES
    both = [await process(config, "--json") for _ in range(2)]
    found = [json.loads((await one.communicate())[0]) for one in both]
    assert [one["summary"]["same"] for one in found] == [20, 20]
    assert sum(one["usd"] for one in found) == pytest.approx(billed(fake)) == booked(store)["shadow"]


async def test_at_a_terminal_it_shows_a_bar_and_goes_on_below_it(config, store, fake):
    fake.answers["fake-nano"] = YES
    ours, its = pty.openpty()
    running = await process(config, stderr=its)
    os.close(its)
    shown = asyncio.create_task(asyncio.to_thread(_drained, ours))
    out, _ = await running.communicate()
    assert running.returncode == 0
    assert "20 of 20: same" in await shown and b"20 of 20 came through" in out


def _drained(terminal: int) -> str:
    found = b""
    try:
        while more := os.read(terminal, 4_096):
            found += more
    except OSError:  # its other end is closed
        pass
    os.close(terminal)
    return found.decode()


async def test_what_is_recorded_while_it_runs_is_no_matter(config, store, fake):
    fake.answers["fake-nano"] = stalling(2)
    running = await process(config, "--json", "--calls", "4")
    await fake.wait_for(4)
    keep(store.folder, *some(TOXIC, 3, answer=NO))
    fake.release.set()
    found = json.loads((await running.communicate())[0])
    assert found["summary"]["same"] == 4
