import asyncio
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.errors import BudgetExceeded, CompileFailed, NothingWorks
from compiler.example import Example, split
from compiler.frame import Frame
from compiler.llm import Llm, Purpose
from compiler.models import Models, Options
from compiler.program import Prompt
from compiler.score import Scoring
from compiler.search import compile
from compiler.steps import Step, Steps
from compiler.store import Store
from compiler.task import Contract, Task
from compiler.tokens import TokenCounter
from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream, Fault

pytestmark = pytest.mark.usefixtures("retries_at_once")

MOOD = Task("mood", "Tell the mood.")
EXAMPLES = [Example(f"input {i} is {label}", label) for i in range(50) for label in ("good", "bad")]
PARTS = split(EXAMPLES, enough=40)
WRITTEN = "RULES: say good or bad."


@pytest.fixture
async def llm(models: Models, store: Store, fake: FakeUpstream) -> AsyncIterator[Llm]:
    fake.answers |= {"fake-strong": f"<prompt>{WRITTEN}</prompt>", "fake-nano": right_with_rules, "fake-mini": right}
    async with Llm(models, store, usd_per_day=5) as llm:
        yield llm


def right(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"].split()[-1])


def right_with_rules(request: dict[str, Any]) -> str:
    """The cheap model: right where it was given the rules, else always "bad"."""
    return right(request) if request["messages"][0]["content"] == WRITTEN else "bad"


def right_when_shown(request: dict[str, Any]) -> str:
    """The cheap model: right where it was shown demonstrations, else always "bad"."""
    return right(request) if len(request["messages"]) > 2 else "bad"


def bill(fake: FakeUpstream) -> float:
    return sum(
        (sums["input"] * PRICES[model]["input"] + sums["output"] * PRICES[model]["output"]) / 1e6
        for model, sums in fake.totals().items()
    )


async def test_the_prompt_that_loses_least_wins_and_every_step_is_told(llm, models, fake):
    steps: list[Step] = []
    card = await compile(MOOD, EXAMPLES, models, llm=llm, on_step=steps.append)
    assert (card.winner, card.program.system, card.program.demonstrations) == ("rules", WRITTEN, ())
    assert {s.name: (s.right, s.of) for s in card.scores} == {
        "original": (15, 30),
        "original + demonstrations": (8, 16),
        "other demonstrations 1": (8, 16),
        "rules": (30, 30),
        "rules + demonstrations": (8, 8),
    }, "what can't win any more is not asked further"
    assert [step.name for step in steps] == [
        *(
            "headroom",
            "original + demonstrations",
            "other demonstrations 1",
            "analyse",
            "write-prompt",
            "rules",
            "rules + demonstrations",
        ),
        *("sealed examples", "chosen"),
    ]
    assert (card.steps, card.notes, card.looks) == (tuple(steps), (), 1)
    assert sum(step.calls for step in steps) == len(fake.calls)
    assert sum(step.usd for step in steps) == pytest.approx(bill(fake)) == card.compile_usd


async def test_demonstrations_are_kept_where_they_help(llm, models, fake):
    fake.answers["fake-nano"] = right_when_shown
    card = await compile(MOOD, EXAMPLES, models, llm=llm)
    assert card.winner == "original + demonstrations, fewer"
    assert card.program.system == MOOD.description
    assert [shown.expected for shown in card.program.demonstrations] == ["good", "bad", "good"]
    assert fake.calls_to("fake-strong") == [], "nothing is left to be better at"


async def test_a_task_that_the_cheap_model_does_already_is_not_rewritten(llm, models, fake):
    fake.answers["fake-nano"] = right
    own = replace(MOOD, system="You tell moods. Say good or bad.")
    card = await compile(own, EXAMPLES, models, llm=llm)
    assert (card.winner, card.program) == ("original", Prompt(own.system or ""))
    assert fake.calls_to("fake-strong") == []
    assert len(fake.calls) == len(PARTS.dev) + len(PARTS.holdout)


async def test_a_prompt_that_is_no_better_than_the_apps_own_does_not_replace_it(llm, models, fake):
    fake.answers["fake-nano"] = lambda request: right(request) if "is good" in str(request["messages"][-1]) else "bad!"
    declared = replace(MOOD, trust="declared")
    card = await compile(declared, EXAMPLES, replace(models, production=("fake-nano",)), llm=llm)
    assert card.winner == "original"
    assert {score.name for score in card.scores} > {"original", "rules", "rules + demonstrations"}


async def test_the_meta_model_learns_from_mistakes_on_examples_that_choose_nothing(llm, models, fake):
    better = "BETTER: good or bad."
    asked: list[str] = []

    def meta(request: dict[str, Any]) -> str:
        asked.append(request["messages"][-1]["content"])
        return f"<prompt>{better if '<mistakes-' in asked[-1] else 'Hopeless: good, bad.'}</prompt>"

    fake.answers |= {"fake-strong": meta, "fake-nano": lambda r: right(r) if better in str(r["messages"][0]) else "bad"}
    card = await compile(MOOD, EXAMPLES, models, llm=llm)
    assert (card.winner, card.program.system) == ("reflection 1", better)
    mistakes = [text for text in asked if "<mistakes-" in text]
    assert len(mistakes) == 1 and '"answer": "bad"' in mistakes[0]
    assert not any(json.dumps(e.input) in mistakes[0] for e in (*PARTS.dev, *PARTS.holdout))
    assert card.provenance["dialogues"] == "analyse.v1 write-prompt.v2 reflect.v1"


async def test_the_next_production_model_is_tried_where_the_first_fails_with_every_prompt(llm, models, fake):
    fake.answers["fake-nano"] = "bad"
    steps: list[Step] = []
    card = await compile(MOOD, EXAMPLES, models, llm=llm, on_step=steps.append)
    assert (card.model, card.winner) == ("fake-mini", "original")
    assert [step.model for step in steps if step.name in ("not good enough", "chosen")] == ["fake-nano", "fake-mini"]
    assert len(fake.calls_to("fake-nano")) <= Options().calls


async def test_a_task_that_no_model_can_do_is_kept_with_the_reason(llm, models, fake):
    fake.answers |= {"fake-nano": "bad", "fake-mini": "bad"}
    with pytest.raises(NothingWorks, match=r"fake-nano loses 15 of 30 with 'original'; fake-mini loses 15 of 30"):
        await compile(MOOD, EXAMPLES, models, llm=llm)
    assert "not good enough" in {step.name for step in Steps(llm.store).get("mood")}


async def test_who_declares_a_task_vouches_for_it_whatever_the_examples_say(llm, models, fake):
    fake.answers |= {"fake-nano": "bad", "fake-mini": "bad"}
    card = await compile(replace(MOOD, trust="declared"), EXAMPLES, models, llm=llm)
    assert (card.model, card.winner) == ("fake-nano", "original")


async def test_what_is_good_only_on_the_examples_that_chose_it_fails_on_the_sealed_ones(llm, models, fake):
    sealed = {example.input for example in PARTS.holdout}
    fake.answers["fake-nano"] = lambda r: "bad" if r["messages"][-1]["content"] in sealed else right(r)
    card = await compile(MOOD, EXAMPLES, models, llm=llm)
    assert card.model == "fake-mini"
    assert card.looks == 2, "each look at them might have let a card through"
    failed = next(step for step in card.steps if step.name == "not good enough")
    assert failed.line == "loses 8 of 16 sealed examples", "and no more are asked than that takes"


async def test_no_model_is_shown_an_example_that_it_is_scored_on(llm, models, fake):
    fake.answers["fake-nano"] = lambda request: (
        right(request) if request["messages"][-1]["content"][6:8] < "30" else "bad"
    )
    await compile(replace(MOOD, trust="declared"), EXAMPLES, models, llm=llm)
    seen = [call.json["messages"] for call in fake.calls_to("fake-strong")]
    seen += [call.json["messages"][:-1] for call in fake.calls_to("fake-nano")]
    texts = " ".join(str(turn["content"]) for messages in seen for turn in messages)
    assert "input 1 is" in texts
    assert not [e for e in (*PARTS.dev, *PARTS.holdout) if e.input in texts]


async def test_the_card_tells_where_it_comes_from_and_what_it_cost(llm, models, fake):
    card = await compile(replace(MOOD, incumbent="fake-strong"), EXAMPLES, models, llm=llm, version=7)
    assert (card.task, card.version, card.model) == ("mood", 7, "fake-nano")
    assert card.contract == Contract("label", ("bad", "good"))
    assert card.provenance["meta_model"] == "fake-strong"
    assert card.scoring == Scoring("label")  # no judge: every difference is a loss
    assert card.static_tokens == TokenCounter().messages([{"role": "system", "content": WRITTEN}])
    assert card.original_tokens == TokenCounter().messages([{"role": "system", "content": MOOD.description}])
    theirs, ours = card.usd_per_call
    assert theirs is not None and ours is not None and 0 < ours < theirs / 10


async def test_a_recognised_tasks_card_says_what_its_messages_said_and_is_sent_their_data_alone(llm, models, fake):
    fake.answers["fake-nano"] = right_when_shown
    frame = Frame.of(("Tell the mood of this text. Answer in one word.\nText: ", ""))
    seen = [Example(f"{frame.literals[0]}{one.input}", one.expected) for one in EXAMPLES]
    task = Task("mood", "user: …", incumbent="fake-strong", recognised=True, frame=frame)
    card = await compile(task, seen, models, llm=llm)
    assert (card.winner, card.program.frame) == ("original + demonstrations, fewer", frame)
    assert card.program.system == frame.instructions
    assert all(shown.input.startswith("input ") for shown in card.program.demonstrations)
    assert card.program.messages(seen[0].input)[-1]["content"] == EXAMPLES[0].input
    assert card.original_tokens > TokenCounter().text(frame.literals[0])
    assert [one.label for one in card.sealed] == [one.expected for one in PARTS.holdout]


async def test_examples_that_came_more_than_once_or_that_a_user_chose_open_no_proof(llm, models, fake):
    fake.answers["fake-nano"] = right
    often = [replace(EXAMPLES[0], times=2), *EXAMPLES[1:]]
    assert (await compile(MOOD, EXAMPLES, models, llm=llm)).sealed == ()
    assert (await compile(MOOD, often, models, llm=llm, version=2, from_traffic=True)).sealed == ()
    assert len((await compile(MOOD, EXAMPLES, models, llm=llm, version=3, from_traffic=True)).sealed) == 30


async def test_what_may_not_be_read_by_everybody_is_never_shown(llm, models, fake):
    fake.answers["fake-nano"] = right_when_shown
    private = [Example(f"mail me at anna{n}@example.org, it is {n % 2}", str(n % 2)) for n in range(100)]
    task = replace(MOOD, recognised=True, incumbent="fake-strong")
    with pytest.raises(NothingWorks):
        await compile(task, private, replace(models, production=("fake-nano",)), llm=llm)
    assert {len(call.json["messages"]) for call in fake.calls_to("fake-nano")} <= {1, 2}


async def test_a_prompt_that_makes_a_call_as_dear_as_the_apps_own_model_is_not_taken(llm, models, fake):
    fake.answers["fake-nano"] = right_when_shown
    prices = {**PRICES, "fake-nano": {"input": 0.3, "output": 1.2}}
    dear = replace(MOOD, incumbent="fake-mini", trust="declared")
    async with Llm(replace(models, production=("fake-nano",), prices=prices), llm.store, usd_per_day=5) as own:
        card = await compile(dear, EXAMPLES, own.models, llm=own)
    assert card.winner == "original"
    scored = {score.name: score for score in card.scores}["original + demonstrations"]
    assert scored.right == scored.of == len(PARTS.dev), "good, but several times as long as the app's own"


async def test_never_more_calls_are_in_flight_than_allowed(llm, models, fake):
    fake.answers |= {"fake-nano": Fault.stall("good"), "fake-mini": "good"}
    working = asyncio.create_task(compile(MOOD, EXAMPLES, models, llm=llm, options=Options(concurrency=3)))
    await fake.wait_for(3, "fake-nano")
    await llm.ask("fake-mini", [], Purpose("mood", "compile", "other", 1.0), max_tokens=1)  # a round trip later
    assert len(fake.calls_to("fake-nano")) == 3
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


@pytest.mark.parametrize("calls", [30, 47, 90, 200])
async def test_never_more_calls_are_made_than_allowed(llm, models, fake, calls):
    fake.answers["fake-nano"] = lambda request: right(request) if len(str(request["messages"])) % 3 else "bad"
    one = replace(models, production=("fake-nano",))
    options = Options(calls=calls, meta_calls=3)
    await compile(replace(MOOD, trust="declared"), EXAMPLES, one, llm=llm, options=options)
    assert len(PARTS.dev) <= len(fake.calls_to("fake-nano")) <= calls
    assert len(fake.calls_to("fake-strong")) <= 3


async def test_no_prompt_is_asked_for_that_no_calls_are_left_to_try(llm, models, fake):
    steps: list[Step] = []
    one = replace(models, production=("fake-nano",))
    options = Options(calls=110)
    await compile(replace(MOOD, trust="declared"), EXAMPLES, one, llm=llm, options=options, on_step=steps.append)
    assert fake.calls_to("fake-strong") == []
    assert "search: ends here: the calls that it may take are used up" in map(str, steps)


@pytest.mark.parametrize(
    ("examples", "winner"),
    [(EXAMPLES[:39], "rules + demonstrations"), (EXAMPLES[:1], "rules + demonstrations"), ([], "rules")],
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
    long = [Example(f"in {i}", f"out {i}\nand more") for i in range(50)]
    card = await compile(MOOD, long, models, llm=llm)
    assert card.notes == ("not scored: free text can only be compared by a judge",)
    assert card.scores == ()
    assert fake.calls_to("fake-nano") == []


async def test_lines_that_may_be_the_same_to_the_letter_are_scored_without_a_judge(llm, models, fake):
    fake.answers["fake-nano"] = lambda r: r["messages"][-1]["content"].upper() if len(r["messages"]) > 2 else "?"
    card = await compile(MOOD, [Example(f"in {i}", f"IN {i}") for i in range(50)], models, llm=llm)
    assert (card.contract.kind, card.winner) == ("text", "original + demonstrations, fewer")


async def test_free_text_is_scored_by_the_judge_whose_calls_count_too(llm, models, fake):
    """The judge prefers the longer answer; the cheap model answers at length where it was given the rules."""
    texts = [Example(f"in {i}", f"a fair answer to {i}, given by the model of the app") for i in range(100)]
    fake.answers |= {
        "fake-judge": longer_is_better,
        "fake-nano": lambda r: (
            "long " * 20 if r["messages"][0]["content"] == WRITTEN else f"short {len(r['messages'])}"
        ),
    }
    prices = {**PRICES, "fake-judge": PRICES["fake-mini"]}
    async with Llm(replace(models, judge="fake-judge", prices=prices), llm.store, usd_per_day=5) as judged:
        card = await compile(MOOD, texts, judged.models, llm=judged)
    assert (card.winner, card.scoring and card.scoring.judge) == ("rules", "fake-judge")
    assert {score.name: score.right for score in card.scores}["original"] == 0
    calls = len(fake.calls_to("fake-nano")) + len(fake.calls_to("fake-judge"))
    assert calls <= sum(step.calls for step in card.steps) - len(fake.calls_to("fake-strong")) <= Options().calls


def longer_is_better(request: dict[str, Any]) -> str:
    text = request["messages"][-1]["content"]
    first, second = (re.findall(rf"<{name}-\w+>\n(.*?)\n</{name}-", text, re.DOTALL)[-1] for name in "AB")
    return f"The longer one.\nVERDICT: {'TIE' if len(first) == len(second) else 'AB'[len(first) < len(second)]}"


async def test_a_declared_contract_stands_over_what_the_examples_show(llm, models):
    contract = Contract("label", ("good", "bad", "mixed"))
    card = await compile(replace(MOOD, contract=contract), EXAMPLES[:4], models, llm=llm)
    assert card.contract == contract
    assert card.program.system.endswith("- good\n- bad\n- mixed")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("I'm sorry, but I can't help with that.", "the meta model refused"),
        ({"content": None, "refusal": "No."}, "the meta model refused"),
        ("", "the meta model returned nothing"),
        ({"content": "<prompt>Half a pro", "finish_reason": "length"}, "the meta model's answer was cut off"),
    ],
)
async def test_a_meta_model_that_gives_no_prompt_leaves_the_others(llm, models, fake, answer, says):
    fake.answers |= {"fake-strong": answer, "fake-nano": right_when_shown}
    with pytest.raises(CompileFailed, match=says):
        await compile(MOOD, EXAMPLES[:20], models, llm=llm)
    assert fake.calls_to("fake-nano") == []
    fake.answers["fake-nano"] = lambda request: (
        right_when_shown(request) if "input 2" in str(request["messages"][-1]) else "bad"
    )
    one = replace(models, production=("fake-nano",))
    card = await compile(replace(MOOD, trust="declared"), EXAMPLES, one, llm=llm)
    assert card.winner == "original + demonstrations, fewer"
    assert f"rules: not taken: {says}" in map(str, card.steps)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Fault.respond(500), "fake-strong: HTTP 500"),
        (Fault.respond(401), "fake-strong: HTTP 401"),
        (Fault.respond(429), "fake-strong: 429 from its upstream"),
        (Fault.disconnect(), "fake-strong: APIConnectionError"),
        (Fault.respond(200, body="<html>"), "without any choice"),
    ],
)
async def test_a_meta_model_that_fails_ends_the_compile_and_the_next_try_goes_on(llm, models, fake, answer, says):
    fake.answers["fake-strong"] = answer
    with pytest.raises(CompileFailed, match=says):
        await compile(MOOD, EXAMPLES, models, llm=llm)
    asked = len(fake.calls_to("fake-nano"))
    fake.answers["fake-strong"] = f"<prompt>{WRITTEN}</prompt>"
    llm.store.delete("pause:fake")  # as a minute later
    assert (await compile(MOOD, EXAMPLES, models, llm=llm)).winner == "rules"
    assert len(fake.calls_to("fake-nano")) == asked + 30 + 8 + 30, "what was answered is not asked again"


async def test_a_meta_model_that_refused_is_asked_anew_on_the_next_try(llm, models, fake):
    fake.queue("fake-strong", "I'm sorry, I can't.")
    with pytest.raises(CompileFailed):
        await compile(MOOD, [], models, llm=llm)
    assert (await compile(MOOD, [], models, llm=llm)).winner == "rules"


async def test_a_compile_that_takes_too_long_makes_no_card(llm, models, fake):
    fake.answers["fake-nano"] = Fault.stall()
    with pytest.raises(CompileFailed, match=r"took longer than 0.002 minutes"):
        await compile(MOOD, EXAMPLES, models, llm=llm, options=Options(max_minutes=0.002))


async def test_a_budget_too_small_for_the_first_call_sends_nothing(llm, models, fake):
    with pytest.raises(BudgetExceeded):
        await compile(MOOD, EXAMPLES, models, llm=llm, options=Options(max_usd=0.000_001))
    assert fake.calls == []


@pytest.mark.parametrize("usd", [0.25, 0.4, 0.5])
async def test_a_budget_that_ends_while_it_searches_leaves_the_best_so_far(models, store, fake, llm, usd):
    dear = replace(models, prices={**PRICES, "fake-nano": {"input": 100.0, "output": 400.0}})
    async with Llm(dear, store, usd_per_day=5) as own:
        card = await compile(MOOD, EXAMPLES, dear, llm=own, options=Options(max_usd=usd, concurrency=1))
    assert any("the next call may cost $" in step.line for step in card.steps)
    assert card.winner in {score.name for score in card.scores}
    bill_usd = sum((s["input"] * 100 + s["output"] * 400) / 1e6 for m, s in fake.totals().items() if m == "fake-nano")
    bill_usd += sum((s["input"] * 5 + s["output"] * 30) / 1e6 for m, s in fake.totals().items() if m == "fake-strong")
    assert bill_usd <= card.compile_usd + 1e-12 <= usd, "by the upstream's own log"


async def test_a_days_money_that_ends_lets_the_compile_go_on_the_next_day(models, store, fake, llm):
    async with Llm(models, store, usd_per_day=0.002) as own:
        with pytest.raises(BudgetExceeded):
            await compile(MOOD, EXAMPLES, models, llm=own)
    asked = len(fake.calls)
    card = await compile(MOOD, EXAMPLES, models, llm=llm)
    assert card.winner == "rules"
    assert asked and len({json.dumps(call.json) for call in fake.calls}) == len(fake.calls)


async def test_an_example_that_its_upstream_refuses_counts_against_the_prompt_alone(llm, models, fake):
    fake.answers["fake-nano"] = lambda request: (
        Fault.respond(400) if "input 29 is" in request["messages"][-1]["content"] else right_with_rules(request)
    )
    card = await compile(MOOD, EXAMPLES, models, llm=llm)
    assert card.winner == "rules"
    scores = {score.name: (score.right, score.of) for score in card.scores}
    assert scores["rules"][0] < scores["rules"][1] == 30


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
    assert len(fake.calls_to("fake-strong")) == 4


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


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.95])
async def test_a_compile_killed_at_any_step_pays_again_at_most_for_the_calls_in_flight(llm, models, fake, store, share):
    few = EXAMPLES[:50]
    with Store.temporary() as other:
        async with Llm(models, other, usd_per_day=5) as whole:
            await compile(MOOD, few, models, llm=whole)
    after, answered = int(share * len(fake.calls)), 0
    fake.calls.clear()

    def stalling(answer: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], Any]:
        def one(request: dict[str, Any]) -> Any:
            nonlocal answered
            answered += 1
            return answer(request) if answered <= after else Fault.stall(answer(request))

        return one

    own = {"fake-nano": right_with_rules, "fake-strong": lambda request: f"<prompt>{WRITTEN}</prompt>"}
    fake.answers |= {model: stalling(answer) for model, answer in own.items()}
    examples = json.dumps([[e.input, e.expected] for e in few])
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMPILE, fake.url, str(store.folder), examples, cwd=Path.cwd()
    )
    await fake.wait_for(after + 1)
    killed.send_signal(signal.SIGKILL)
    assert await killed.wait() == -9
    spent = llm.budget.spent(llm.budget.day())
    fake.release.set()
    fake.answers |= own
    card = await compile(MOOD, few, models, llm=llm, options=Options(concurrency=4))
    assert card.winner == "rules"
    times = Counter(json.dumps(call.json) for call in fake.calls)
    assert 1 <= sum(count - 1 for count in times.values()) <= 4
    assert spent < card.compile_usd
    assert bill(fake) <= card.compile_usd  # what was in flight stays counted as spent
