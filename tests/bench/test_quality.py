"""What the bench of quality counts, keeps and compares; no real model is asked."""

import json
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path

import openai
import pytest
from click.testing import CliRunner
from rich.console import Console

from bench.quality import __main__ as command
from bench.quality import tasks
from bench.quality.__main__ import Run
from bench.quality.arms import ARMS, META_CALLS, MODELS, Work, best_told, measure, shown
from bench.quality.counting import Counting, Line, Tally
from bench.quality.evolved import COMPONENT, Adapter, Calls, OutOfCalls, evolve
from bench.quality.figures import bars, chance_of_fewer, wilson
from bench.quality.generated import MONTHS, appointment, order, sentence, sum_of_five, unique
from bench.quality.report import as_json, quality, reasons, searches, verdicts
from bench.quality.results import Result, Results
from bench.quality.tasks import BY_NAME, SPECS, agrees, share
from compiler.card import Card
from compiler.errors import CompileFailed
from compiler.example import Example
from compiler.llm import Purpose
from compiler.program import Prompt
from compiler.task import Contract
from proxy.demo.setting import LOCAL
from tests.fake_upstream import FakeUpstream, Fault

EASY, ORDERS, INTENTS, SYSTEM = (BY_NAME[name] for name in ("language", "orders", "banking-4", "clinc-4"))
SHOWN = {"EUR": ("€", "euros"), "USD": ("$", "US dollars"), "GBP": ("£", "pounds"), "CHF": ("Swiss francs",)}
SENTENCES = {"Ein Satz.": "German", "Une phrase.": "French", "A sentence.": "English"}


@pytest.mark.parametrize("make", [order, appointment, sum_of_five, sentence])
def test_rows_come_of_their_seed_and_none_twice(make):
    found = unique(make, "a", 180)
    assert found == unique(make, "a", 180) != unique(make, "b", 180)
    assert len({text for text, _ in found}) == 180


def test_the_gold_of_a_sum_is_what_it_comes_to():
    for text, gold in unique(sum_of_five, "a", 200):
        a, b, c, d, e = map(int, re.findall(r"\d+", text))
        assert text == f"{a} x {b} - {c} + {d} - {e}"
        assert a * b - c + d - e == int(gold) in range(10)


def test_the_gold_of_an_order_is_in_its_text():
    for text, gold in unique(order, "a", 200):
        wanted = json.loads(gold)
        assert wanted["customer"] in text
        assert f"{wanted['amount']:,}".removesuffix("0") in text
        year, month, day = wanted["date"].split("-")
        assert year in text and (month in text or MONTHS[int(month) - 1][:3] in text) and str(int(day)) in text
        assert any(shown in text for shown in (wanted["currency"], *SHOWN[wanted["currency"]]))


def test_the_gold_of_an_appointment_is_what_its_text_says():
    for text, gold in unique(appointment, "a", 200):
        name, date, time = gold.split(", ")
        day, month = date.split()
        assert name in text and month in text and re.search(rf"\b{day}(st|nd|rd|th)?\b", text)
        hour, minute = map(int, time.split(":"))
        if "am" in (half := re.findall(r"\d (am|pm)\b", text)) or "pm" in half:
            assert ("am" in half) == (hour < 12)
            assert re.search(rf"\b{(hour - 1) % 12 + 1}(:{minute:02})? (am|pm)", text)
        else:
            assert f"{hour}:{minute:02}" in text


def test_a_task_is_sent_as_the_app_sends_it_and_known_as_it_would_be_recognised():
    one, two = INTENTS.messages("Hi"), SYSTEM.messages("Hi")
    assert [m["role"] for m in one] == ["user"] and one[0]["content"] == INTENTS.input("Hi")
    assert [m["role"] for m in two] == ["system", "user"] and two[1]["content"] == SYSTEM.input("Hi") == "Hi"
    assert INTENTS.messages("Hi", "Other.")[0]["content"].startswith("Other.\nQuestion: Hi")
    assert (INTENTS.task().instructions, SYSTEM.task().instructions) == ("", SYSTEM.instruction)
    assert "Question: {text1}" in INTENTS.task().description
    assert all(spec.task().recognised for spec in SPECS)


def test_traffic_and_gold_rows_of_a_made_task_are_different_and_always_the_same(tmp_path):
    for spec in (spec for spec in SPECS if spec.dataset is None):
        asked, gold = tasks.rows(spec, tmp_path, traffic=120, gold=60)
        assert (len(asked), len(gold)) == (120, 60)
        assert not {text for text, _ in asked} & {text for text, _ in gold}
        assert tasks.rows(spec, tmp_path, traffic=10, gold=5) == (asked[:10], gold[:5])


def test_rows_of_a_data_set_have_as_many_of_each_label(tmp_path, monkeypatch):
    every = [(f"{label} {number}", label) for number in range(40) for label in (*INTENTS.labels, "other")]
    monkeypatch.setattr(tasks, "fetch_rows", lambda dataset, split, cache: [(f"{split} {t}", g) for t, g in every])
    asked, gold = tasks.rows(INTENTS, tmp_path, traffic=120, gold=60)
    assert {label: sum(row[1] == label for row in asked) for label in INTENTS.labels} == dict.fromkeys(
        INTENTS.labels, 30
    )
    assert (len(asked), len(gold)) == (120, 60)
    assert all(text.startswith("test ") for text, _ in gold)


def test_answers_are_held_to_the_letter_but_for_a_fence_around_json():
    assert share(SYSTEM, " pin_change\n", "pin_change") == 1.0
    assert share(SYSTEM, "Pin_change", "pin_change") == 0.0
    wanted = '{"customer": "A B", "amount": 10}'
    assert agrees(ORDERS, '```json\n{"amount": 10.0, "customer": "A B"}\n```', wanted)
    assert share(ORDERS, '{"customer": "A B", "amount": "10"}', wanted) == 0.5
    assert share(ORDERS, "10", wanted) == 0.0
    assert agrees(ORDERS, "no JSON", "no JSON") and not agrees(ORDERS, "{}", "no JSON")


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 100, 0.7222, 0.8749), (0, 0, 0, 1)],
)
def test_the_interval_is_wilsons(right, of, low, high):
    assert wilson(right, of) == pytest.approx((low, high), abs=1e-4)


def test_the_paired_test_looks_at_rows_that_only_one_has_right():
    same = [True] * 30 + [False] * 30
    assert chance_of_fewer(same, same) == 1.0
    assert chance_of_fewer([False] * 5 + same, [True] * 5 + same) == pytest.approx(1 / 32)
    assert chance_of_fewer([True] * 5 + same, [False] * 5 + same) == 1.0


def result(task: str, arm: str, right: int, of: int = 20, **more: object) -> Result:
    rights = tuple(number < right for number in range(of))
    answers = tuple("yes" if one else "no" for one in rights)
    return replace(Result(task, arm, answers, rights, Tally(of, usd=0.02), 4.0), **more)


def measured(**cards: Result) -> dict[str, dict[str, Result]]:
    return {
        task.replace("_", "-"): {
            "incumbent": result(task.replace("_", "-"), "incumbent", 18),
            "plain": result(task.replace("_", "-"), "plain", 8),
            "card": card,
            "gepa": result(task.replace("_", "-"), "gepa", 12),
        }
        for task, card in cards.items()
    }


def test_the_bars_say_what_was_reached():
    intents = [spec.name for spec in SPECS if spec.group == "intent"]
    good = {name.replace("-", "_"): result(name, "card", 17, rewritten=True) for name in intents[:4]}
    good["language"] = result("language", "card", 20, winner="description")
    good["arithmetic"] = result("arithmetic", "card", 18, kept="too far from it")
    assert [bar.passed for bar in bars(measured(**good))] == [True] * 7
    bad = {name: result(one.task, "card", 1, rewritten=True) for name, one in good.items()}
    assert [bar.passed for bar in bars(measured(**bad))] == [False] * 7


def test_what_is_kept_gains_nothing_and_a_bar_that_nothing_is_known_of_is_not_passed():
    found = bars(measured(clinc_4=result("clinc-4", "card", 18, kept="why")))
    assert [bar.seen for bar in found] == [None, None, None, None, "+0.300 (0.900, 0.600; 1 tasks)", None, None]
    assert [bar.passed for bar in found if not bar.told] == [False] * 6


def test_users_get_the_current_models_answer_where_the_card_breaks_its_contract():
    current, card = result("clinc-4", "incumbent", 18), result("clinc-4", "card", 5)
    assert card.served(current) == 0.25
    assert replace(card, breached=(False,) * 10 + (True,) * 10).served(current) == 13 / 20


def test_the_tables_fit_and_the_json_has_figures_only():
    found = measured(clinc_4=result("clinc-4", "card", 17, winner="a [b]", best=0.9, answers=("secret",) * 20))
    say = Console(width=120, record=True, quiet=False, file=StringIO())
    say.print(quality(found), searches(found), verdicts(bars(found)))
    text = say.export_text()
    assert "a [b]" in text and "0.85" in text and max(map(len, text.splitlines())) <= 120
    assert "secret" not in json.dumps(as_json(found, bars(found)))


def test_why_there_is_no_card_is_told_with_what_was_seen_at_best():
    found = measured(arithmetic=result("arithmetic", "card", 18, kept="too far from it", best=0.125))
    assert reasons(found) == ["arithmetic is kept: too far from it (best seen: 0.12)"]
    assert reasons(measured(clinc_4=result("clinc-4", "card", 18))) == []


def test_a_result_is_read_as_it_was_kept_and_not_for_another_task(tmp_path):
    results = Results(tmp_path)
    one = result("clinc-4", "card", 7, steps=("a", "b"), breached=(True,) * 20, meta=Tally(3), program={"system": "x"})
    results.put(one, "abc")
    assert results.get("clinc-4", "card", "abc") == one
    assert results.get("clinc-4", "card", "other") is results.get("clinc-4", "plain", "abc") is None
    results.record("clinc-4", "abc", ["x"])
    results.forget("clinc-4", "card")
    assert (results.get("clinc-4", "card", "abc"), results.recorded("clinc-4", "abc")) == (None, ["x"])
    assert SYSTEM.fingerprint(1, 2) != SYSTEM.fingerprint(1, 3) != replace(SYSTEM, instruction="x").fingerprint(1, 3)


def test_a_person_shows_as_many_of_each_label_as_there_are_few_of_them():
    traffic = [Example(f"{number}", label) for number in range(9) for label in (*INTENTS.labels, "Unknown")]
    found = [one.expected for one in shown(INTENTS, traffic)]
    assert found == [*INTENTS.labels, *INTENTS.labels]
    many = BY_NAME["clinc-10"]
    assert len(shown(many, [Example(label, label) for label in many.labels * 3])) == 10
    assert len(shown(ORDERS, traffic)) == 4


def test_the_best_share_of_a_search_is_read_off_what_it_says():
    assert best_told(["mood: prompt 31/40", "step 3/4", "34/40 now", "at 3/8/2026"]) == 0.85
    assert best_told(["nothing"]) is None


# With a fake model over a real socket


@pytest.fixture
async def counting(fake: FakeUpstream):
    one = Counting({"big": fake.url, "small": fake.url}, LOCAL.prices)
    async with one.serving():
        yield one


def right_language(request: dict) -> str:
    text = request["messages"][-1]["content"].partition("Sentence: ")[2]
    return SENTENCES.get(text) or next(gold for t, gold in unique(sentence, "language", 180) if t == text)


async def test_calls_are_counted_and_priced_by_who_made_them(fake, counting):
    fake.answers[MODELS["small"]] = "German"
    fake.cached_tokens = 10
    fake.queue(MODELS["small"], Fault.respond(500))
    work = Work(EASY, counting)
    await work.answers([EASY.messages("Ein Satz.")] * 3, "plain", "gold", "small")
    tally = counting.tally(Line("language", "plain", "gold"), "small")
    assert (tally.calls, tally.failed, tally.cached) == (4, 1, 30)
    fresh = tally.input - 30
    assert tally.usd == pytest.approx((fresh * 0.1 + 30 * 0.025 + tally.output * 0.4) / 1e6)
    assert counting.tally(Line("language", "gepa", "gold"), "small") == Tally()


def example(text: str) -> Example:
    return Example(text, SENTENCES[text])


def test_gepas_adapter_scores_against_what_was_recorded_and_begins_no_batch_over_its_calls():
    asked = []

    def ask(messages):
        asked.append(messages)
        return "German"

    calls = Calls(ask, 5)
    adapter = Adapter(EASY, calls)
    batch = [example("Ein Satz."), example("Une phrase.")]
    found = adapter.evaluate(batch, {COMPONENT: "Say which."}, capture_traces=True)
    assert (found.scores, found.outputs, calls.left) == ([1.0, 0.0], ["German", "German"], 3)
    assert asked[0][0]["content"] == "Say which.\nSentence: Ein Satz."
    told = adapter.make_reflective_dataset({}, found, [COMPONENT])[COMPONENT]
    assert told[0]["Feedback"] == "This answer is right." and "French" in told[1]["Feedback"]
    assert adapter.evaluate(batch, {COMPONENT: "x"}).trajectories is None
    with pytest.raises(OutOfCalls):
        adapter.evaluate(batch, {COMPONENT: "x"})
    assert (len(asked), adapter.over) == (4, True)


@pytest.mark.parametrize(("calls", "most_meta"), [(40, META_CALLS), (500, 3)])
def test_gepa_takes_a_better_instruction_and_keeps_to_its_calls(calls, most_meta):
    rows = unique(sentence, "x", 40)
    examples = [Example(text, gold) for text, gold in rows]
    gold = dict(rows)
    seen = {"small": 0, "big": 0}

    def small(messages):
        seen["small"] += 1
        content = messages[-1]["content"]
        return gold[content.partition("Sentence: ")[2]] if content.startswith("Better.") else "Klingon"

    def big(messages):
        seen["big"] += 1
        return "```\nBetter.\n```" if seen["big"] > 1 else "```\nWorse.\n```"

    found = evolve(EASY, examples, small=Calls(small, calls), big=Calls(big, most_meta), validated=10)
    assert found.instruction == "Better." and found.score == 1.0
    assert seen["small"] <= calls and seen["big"] <= most_meta
    assert any("Iteration" in line for line in found.told)


def test_an_instruction_that_was_sought_without_a_model_is_none():
    def ask(messages):
        if "Better" in str(messages):
            raise openai.OpenAIError("gone")
        return "Klingon"

    examples = [Example(text, gold) for text, gold in unique(sentence, "x", 40)]
    big = Calls(lambda messages: "```\nBetter.\n```", 8)
    with pytest.raises(openai.OpenAIError, match="gone"):
        evolve(EASY, examples, small=Calls(ask, 100), big=big, validated=10)
    assert big.left == 7


def run_in(folder: Path) -> Run:
    return Run(Results(folder), folder, 24, 6, Console(quiet=True))


async def test_each_arm_asks_its_own_way_and_what_was_measured_is_not_asked_again(fake, counting, tmp_path):
    fake.answers |= {MODELS["big"]: right_language, MODELS["small"]: right_language}
    run, arms = run_in(tmp_path), ["incumbent", "plain", "demonstrations", "gepa"]
    await run.task(EASY, arms, counting)
    found = run.found([EASY], list(ARMS))["language"]
    assert [*found] == arms and all(one.accuracy == 1.0 for one in found.values())
    assert found["gepa"].candidate.calls > 0 and found["gepa"].winner == "seed"
    assert all(one.gold.calls == 6 for one in found.values())
    told = [len(call.json["messages"]) for call in fake.calls if call.json["messages"][-1] != {}]
    assert 13 in told, "two turns of each language's two examples, and the text"
    asked = len(fake.calls)
    await run_in(tmp_path).task(EASY, arms, counting)
    assert len(fake.calls) == asked and not run.missing([EASY], arms)
    run.results.forget("language", "demonstrations")
    await run_in(tmp_path).task(EASY, arms, counting)
    assert len(fake.calls) == asked + 6


async def test_a_task_without_a_card_is_answered_by_the_current_model(fake, counting, tmp_path, monkeypatch):
    async def fails(*args: object, **more) -> None:
        more["on_step"]("language: prompt 3/12")
        raise CompileFailed("not good enough")

    monkeypatch.setattr("bench.quality.arms.compile", fails)
    current = result("language", "incumbent", 4, of=6)
    gold = unique(sentence, "x", 6)
    one = await measure(Work(EASY, counting, [example("Ein Satz.")]), "card", gold, current)
    assert (one.kept, one.best, one.answers, one.gold) == ("not good enough", 0.25, current.answers, current.gold)
    assert not fake.calls


async def test_what_a_compile_asks_is_counted_and_its_program_answers(fake, counting, monkeypatch):
    async def compiled(task, examples, models, *, options, llm, on_step) -> Card:
        purpose = Purpose(task.name, "compile", "compile:x", 1.0)
        for model in (models.meta, *models.production):
            await llm.ask(model, Prompt("").messages(examples[0].input), purpose, max_tokens=5)
        on_step(f"{task.name}: 18/20")
        program = Prompt("Say the language.")
        contract = Contract("label", labels=("French", "German"))
        made = "2026-11-27T00:00:00"
        return Card(task.name, 1, task.definition(), "m", program, contract, "rules", 1, 1, made, 0.1)

    monkeypatch.setattr("bench.quality.arms.compile", compiled)
    fake.answers |= {MODELS["big"]: "told", MODELS["small"]: right_language}
    gold = [*SENTENCES.items()]
    one = await measure(Work(EASY, counting, [example("Ein Satz.")]), "card", gold, None)
    assert (one.meta.calls, one.candidate.calls, one.gold.calls) == (1, 1, 3)
    assert (one.winner, one.rewritten, one.best, one.accuracy) == ("rules", True, 0.9, 1.0)
    assert one.breached == (False, False, True), "English is no label of its contract"
    assert one.program["task"] == "language"
    assert fake.calls[-1].json["messages"] == Prompt("Say the language.").messages(EASY.input("A sentence."))


def test_the_command_tells_what_is_kept_without_asking_a_model(tmp_path):
    results = Results(tmp_path)
    results.put(result("language", "plain", 20), EASY.fingerprint(tasks.TRAFFIC, tasks.GOLD_AT_MOST))
    told = CliRunner().invoke(
        command.main, ["--out", str(tmp_path), "--only-report", "--json", str(tmp_path / "x.json"), "--check"]
    )
    assert told.exit_code == 1 and "language" in told.output
    assert json.loads((tmp_path / "x.json").read_text())["tasks"]["language"]["plain"]["right"] == 20
    command.forget(results, ["language"], list(ARMS))
    assert not (tmp_path / "language").exists()


def test_a_run_measures_every_arm_tells_it_and_goes_on_where_one_was_ended(tmp_path, monkeypatch):
    gold = dict(unique(order, "orders", 180))
    asked: list[str] = []

    def big(request: dict) -> str:
        text = request["messages"][-1]["content"]
        asked.append(text)
        found = gold.get(text.partition("Note: ")[2])
        return found or (right_language(request) if text.startswith(EASY.instruction) else "<prompt>Do it.</prompt>")

    def small(request: dict) -> str:
        text = request["messages"][-1]["content"]
        asked.append(text)
        return gold.get(text.partition("Note: ")[2], "{}") if len(request["messages"]) > 2 else "German"

    @asynccontextmanager
    async def models(cache: Path):
        async with FakeUpstream() as fake:
            fake.answers |= {MODELS["big"]: big, MODELS["small"]: small}
            counting = Counting({"big": fake.url, "small": fake.url}, LOCAL.prices)
            async with counting.serving():
                yield counting

    monkeypatch.setattr(command, "models", models)
    given = ["--task", "orders", "--task", "language", "--out", str(tmp_path), "--traffic", "48", "--gold", "6"]

    def told(*more: str) -> str:
        done = CliRunner().invoke(command.main, [*given, *more], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    first = told("--arm", "plain", "--arm", "demonstrations")
    assert "demonstrations" in first and "gepa" not in first.partition("Bars")[0]
    before = len(asked)
    told()
    assert {path.stem for path in (tmp_path / "orders").glob("*.json")} == {"traffic", *ARMS}
    before = len(asked)
    shown = told("--json", str(tmp_path / "figures.json"))
    assert len(asked) == before and "orders" in shown
    figures = json.loads((tmp_path / "figures.json").read_text())["tasks"]
    assert figures["orders"]["incumbent"]["right"] == figures["orders"]["demonstrations"]["right"] == 6
    assert 0 < figures["language"]["gepa"]["candidate"]["calls"] <= 200
    assert 0 < figures["language"]["gepa"]["meta"]["calls"] <= META_CALLS
    assert figures["language"]["card"]["candidate"]["calls"] + figures["language"]["card"]["meta"]["calls"] > 0
