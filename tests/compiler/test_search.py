import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.errors import BudgetExceeded, CompileFailed
from compiler.example import Example
from compiler.llm import Llm, Purpose
from compiler.models import Models, Options
from compiler.score import Scoring
from compiler.search import CANDIDATES, compile
from compiler.store import Store
from compiler.task import Contract, Task
from compiler.tokens import TokenCounter
from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream, Fault

pytestmark = pytest.mark.usefixtures("retries_at_once")

MOOD = Task("mood", "Tell the mood.")
EXAMPLES = [Example(f"input {i} is {label}", label) for i in range(25) for label in ("good", "bad")]
HELD_OUT = EXAMPLES[30:]
WRITTEN = "RULES: say good or bad."


@pytest.fixture
async def llm(models: Models, store: Store, fake: FakeUpstream) -> AsyncIterator[Llm]:
    fake.answers |= {"fake-strong": f"<prompt>{WRITTEN}</prompt>", "fake-nano": right_with_rules}
    async with Llm(models, store, usd_per_day=5) as llm:
        yield llm


def right_with_rules(request: dict[str, Any]) -> str:
    """The cheap model: right where it was given the rules, else always "bad"."""
    label = request["messages"][-1]["content"].split()[-1]
    return label if request["messages"][0]["content"] == WRITTEN else "bad"


async def test_the_candidate_with_most_right_answers_wins_and_the_shortest_of_equals(llm, models):
    steps: list[str] = []
    card = await compile(MOOD, EXAMPLES, models, llm=llm, on_step=steps.append)
    assert (card.winner, card.program.system, card.program.demonstrations) == ("prompt", WRITTEN, ())
    assert {s.name: (s.right, s.of) for s in card.scores} == {
        "description": (10, 20),
        "prompt": (20, 20),
        "description + demonstrations": (10, 20),
        "prompt + demonstrations": (20, 20),
    }
    assert tuple(s.name for s in card.scores) == CANDIDATES
    assert card.notes == ()
    assert steps[-1] == "mood: prompt wins"


async def test_a_shorter_prompt_wins_over_a_longer_one_that_is_as_good(llm, models, fake):
    fake.answers["fake-nano"] = lambda request: request["messages"][-1]["content"].split()[-1]
    card = await compile(replace(MOOD, system="Tell the mood. " * 20), EXAMPLES, models, llm=llm)
    assert {score.share for score in card.scores} == {1.0}
    assert card.winner == "prompt"


async def test_the_card_tells_where_it_comes_from_and_what_it_cost(llm, models, fake):
    card = await compile(MOOD, EXAMPLES, models, llm=llm, version=7)
    assert (card.task, card.version, card.definition, card.model) == ("mood", 7, MOOD.definition(), "fake-nano")
    assert card.contract == Contract("label", ("bad", "good"))
    assert (card.provenance["meta_model"], card.provenance["dialogue"]) == ("fake-strong", "write-prompt.v1")
    assert card.scoring == Scoring("label")  # no judge: every difference is a loss
    bill = sum(
        (sums["input"] * PRICES[model]["input"] + sums["output"] * PRICES[model]["output"]) / 1e6
        for model, sums in fake.totals().items()
    )
    assert card.compile_usd == pytest.approx(bill)
    assert card.static_tokens == TokenCounter().messages([{"role": "system", "content": WRITTEN}])
    assert card.original_tokens == TokenCounter().messages([{"role": "system", "content": MOOD.description}])
    assert sum(s.input_tokens for s in card.scores) == fake.totals()["fake-nano"]["input"]
    assert sum(s.output_tokens for s in card.scores) == fake.totals()["fake-nano"]["output"]


async def test_the_meta_model_is_asked_once_and_every_candidate_on_every_held_out_example(llm, models, fake):
    await compile(MOOD, EXAMPLES, models, llm=llm)
    assert len(fake.calls_to("fake-strong")) == 1
    asked = Counter(call.json["messages"][-1]["content"] for call in fake.calls_to("fake-nano"))
    assert asked == {example.input: len(CANDIDATES) for example in HELD_OUT}


async def test_no_held_out_example_is_ever_shown_to_a_model(llm, models, fake):
    await compile(MOOD, EXAMPLES, models, llm=llm)
    seen = [call.json["messages"] for call in fake.calls_to("fake-strong")]
    seen += [call.json["messages"][:-1] for call in fake.calls_to("fake-nano")]
    assert not [e for e in HELD_OUT if any(e.input in turn["content"] for m in seen for turn in m)]


async def test_never_more_calls_are_in_flight_than_allowed(llm, models, fake):
    fake.answers["fake-nano"] = Fault.stall("good")
    working = asyncio.create_task(compile(MOOD, EXAMPLES, models, llm=llm, options=Options(concurrency=3)))
    await fake.wait_for(3, "fake-nano")
    await llm.ask("fake-mini", [], Purpose("mood", "compile", "other", 1.0), max_tokens=1)  # a round trip later
    assert len(fake.calls_to("fake-nano")) == 3
    fake.release.set()
    await working


@pytest.mark.parametrize(
    ("examples", "winner"),
    [(EXAMPLES[:39], "prompt + demonstrations"), (EXAMPLES[:1], "prompt + demonstrations"), ([], "prompt")],
)
async def test_too_few_examples_are_not_scored_on_and_the_meta_models_prompt_is_taken(
    llm, models, fake, examples, winner
):
    card = await compile(MOOD, examples, models, llm=llm)
    assert (card.winner, card.program.system, card.scores) == (winner, WRITTEN, ())
    assert card.notes == ("not scored: fewer than 40 examples",)
    assert fake.calls_to("fake-nano") == []


async def test_without_examples_the_contract_is_free_text(llm, models):
    assert (await compile(MOOD, [], models, llm=llm)).contract == Contract("text")


async def test_free_text_is_not_scored_without_a_judge(llm, models, fake):
    card = await compile(MOOD, [Example(f"in {i}", f"out {i}") for i in range(50)], models, llm=llm)
    assert card.notes == ("not scored: free text can only be compared by a judge",)
    assert card.scores == ()
    assert fake.calls_to("fake-nano") == []


async def test_a_declared_contract_stands_over_what_the_examples_show(llm, models):
    contract = Contract("label", ("good", "bad", "mixed"))
    card = await compile(replace(MOOD, contract=contract), EXAMPLES[:4], models, llm=llm)
    assert card.contract == contract
    assert card.program.system.endswith("- good\n- bad\n- mixed")


async def test_the_apps_own_prompt_is_a_candidate(llm, models, fake):
    own = replace(MOOD, system=WRITTEN)
    fake.answers["fake-strong"] = "<prompt>Much worse: good, bad.</prompt>"
    card = await compile(own, EXAMPLES, models, llm=llm)
    assert (card.winner, card.program.system) == ("description", WRITTEN)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("I'm sorry, but I can't help with that.", "the meta model refused"),
        ({"content": None, "refusal": "No."}, "the meta model returned nothing"),
        ("", "the meta model returned nothing"),
        ({"content": "<prompt>Half a pro", "finish_reason": "length"}, "the meta model's answer was cut off"),
        (Fault.respond(500), "fake-strong: HTTP 500"),
        (Fault.respond(401), "fake-strong: HTTP 401"),
        (Fault.respond(429), "fake-strong: 429 from its upstream"),
        (Fault.disconnect(), "fake-strong: APIConnectionError"),
        (Fault.respond(200, body="<html>"), "without any choice"),
    ],
)
async def test_a_meta_model_that_gives_no_prompt_makes_no_card(llm, models, fake, answer, says):
    fake.answers["fake-strong"] = answer
    with pytest.raises(CompileFailed, match=says):
        await compile(MOOD, EXAMPLES, models, llm=llm)
    assert fake.calls_to("fake-nano") == []


async def test_a_meta_model_that_refused_is_asked_anew_on_the_next_try(llm, models, fake):
    fake.queue("fake-strong", "I'm sorry, I can't.")
    with pytest.raises(CompileFailed):
        await compile(MOOD, EXAMPLES, models, llm=llm)
    assert (await compile(MOOD, EXAMPLES, models, llm=llm)).winner == "prompt"


async def test_a_compile_that_takes_too_long_makes_no_card(llm, models, fake):
    fake.answers["fake-strong"] = Fault.stall()
    with pytest.raises(CompileFailed, match=r"took longer than 0.002 minutes"):
        await compile(MOOD, EXAMPLES, models, llm=llm, options=Options(max_minutes=0.002))


async def test_a_budget_too_small_for_the_first_call_sends_nothing(llm, models, fake):
    with pytest.raises(BudgetExceeded):
        await compile(MOOD, EXAMPLES, models, llm=llm, options=Options(max_usd=0.01))
    assert fake.calls == []


async def test_a_budget_that_ends_while_scoring_leaves_the_best_so_far(models, store, fake, llm):
    dear = replace(models, prices={**PRICES, "fake-nano": {"input": 100.0, "output": 400.0}})
    async with Llm(dear, store, usd_per_day=5) as own:
        card = await compile(MOOD, EXAMPLES, dear, llm=own, options=Options(max_usd=0.3, concurrency=1))
    assert 1 <= len(card.scores) < len(CANDIDATES)
    assert card.notes[0].startswith("scoring stopped early: the next call may cost $")
    assert card.winner in {score.name for score in card.scores}


async def test_a_model_that_fails_while_scoring_leaves_the_best_so_far(llm, models, fake):
    fake.answers["fake-nano"] = lambda request: (
        Fault.respond(400) if len(request["messages"]) > 2 else right_with_rules(request)
    )
    card = await compile(MOOD, EXAMPLES, models, llm=llm)
    assert [score.name for score in card.scores] == ["description", "prompt"]
    assert (card.winner, card.notes) == ("prompt", ("scoring stopped early: fake-nano: HTTP 400",))


async def test_a_model_that_fails_from_the_start_makes_no_card(llm, models, fake):
    fake.answers["fake-nano"] = Fault.respond(404)
    with pytest.raises(CompileFailed, match="fake-nano: HTTP 404"):
        await compile(MOOD, EXAMPLES, models, llm=llm)


async def test_a_finished_compile_asked_for_again_costs_nothing(llm, models, fake):
    first = await compile(MOOD, EXAMPLES, models, llm=llm)
    calls = len(fake.calls)
    again = await compile(MOOD, EXAMPLES, models, llm=llm)
    assert len(fake.calls) == calls
    assert replace(again, created=first.created) == first


async def test_another_wording_is_compiled_and_paid_on_its_own_account(llm, models, fake):
    await compile(MOOD, EXAMPLES, models, llm=llm)
    await compile(replace(MOOD, description="Tell the mood!"), EXAMPLES, models, llm=llm)
    assert len(fake.calls_to("fake-strong")) == 2


async def test_a_compile_of_its_own_leaves_nothing_on_the_disk(models, fake, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fake.answers["fake-strong"] = f"<prompt>{WRITTEN}</prompt>"
    assert (await compile(MOOD, [], models)).program.system == WRITTEN
    assert list(tmp_path.iterdir()) == []


COMPILE = """
import asyncio, json, sys
from pathlib import Path
from compiler import Example, Options, Task, compile
from compiler.llm import Llm
from compiler.store import Store
from tests.conftest import fake_models

async def main():
    url, folder, examples = sys.argv[1], Path(sys.argv[2]), [Example(*e) for e in json.loads(sys.argv[3])]
    async with Llm(fake_models(url), Store(folder), usd_per_day=5) as llm:
        await compile(Task("mood", "Tell the mood."), examples, llm.models, llm=llm, options=Options(concurrency=4))

asyncio.run(main())
"""


async def test_a_killed_compile_pays_again_at_most_for_the_calls_in_flight(llm, models, fake, store):
    answered = 0

    def stall_after_thirty(request: dict[str, Any]) -> Any:
        nonlocal answered
        answered += 1
        return right_with_rules(request) if answered <= 30 else Fault.stall(right_with_rules(request))

    fake.answers["fake-nano"] = stall_after_thirty
    examples = json.dumps([[e.input, e.expected] for e in EXAMPLES])
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMPILE, fake.url, str(store.folder), examples, cwd=Path.cwd()
    )
    await fake.wait_for(34, "fake-nano")
    killed.send_signal(signal.SIGKILL)
    assert await killed.wait() == -9
    before, spent = len(fake.calls), llm.budget.spent(llm.budget.day())
    fake.release.set()
    fake.answers["fake-nano"] = right_with_rules
    card = await compile(MOOD, EXAMPLES, models, llm=llm, options=Options(concurrency=4))
    assert card.winner == "prompt"
    assert [score.of for score in card.scores] == [20] * 4
    assert before == 1 + 34
    times = Counter(json.dumps(call.json) for call in fake.calls)
    assert sum(count - 1 for count in times.values()) == 4
    assert len(fake.calls_to("fake-strong")) == 1
    assert spent < card.compile_usd
    bill = sum(
        (sums["input"] * PRICES[model]["input"] + sums["output"] * PRICES[model]["output"]) / 1e6
        for model, sums in fake.totals().items()
    )
    assert bill <= card.compile_usd  # what was in flight stays counted as spent
