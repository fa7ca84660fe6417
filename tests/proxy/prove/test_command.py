"""`cuecard prove` as a person or a script meets it, over a fake upstream."""

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream, Fault
from tests.judging import prefers
from tests.learned import SUMMARY, TOXIC, mails
from tests.proxy.prove.logs import TOXIC_NAME, URGENT_NAME, billed, call_of, calls, logged, only_toxic, right, unlike


@pytest.fixture
def page(tmp_path: Path):
    """The report as it was written."""
    return lambda: (tmp_path / "cuecard-proof.html").read_text("utf-8")


# Verdicts


async def test_one_task_passes_and_the_other_fails(told, log, fake):
    found = await told("log.jsonl", code=1)
    good, bad = found["tasks"]
    assert (good["task"], good["verdict"], bad["task"], bad["verdict"]) == (TOXIC_NAME, "pass", URGENT_NAME, "fail")
    assert good["loss_bound"] <= good["max_loss"] == 0.1
    assert (good["examples"], good["differing"], good["models"]["candidate"]) == (25, 0, "fake-nano")
    assert good["pairs"] < 75, "no more than it takes"
    assert bad["reason"] == f"worse than your model by more than the margin ({bad['pairs']} pairs)"
    assert {pair["candidate"] for pair in bad["worst"]} == {"later"}
    assert found["exit_code"] == 1
    assert found["usd"] == pytest.approx(billed(fake)) == sum(cost["usd"] for cost in found["costs"])


async def test_a_log_of_which_all_can_be_moved_ends_with_0(prove, tmp_path, page):
    logged(tmp_path / "log.jsonl", calls(TOXIC))
    done = await prove("log.jsonl")
    said = " ".join(done.stdout.split())
    assert said.startswith("1 of 1 task can move to a cheaper model: at most 9.")
    assert re.search(r"worse \(95 % sure\), which saves an estimated \$0\.\d+ a month\.", said)
    assert f"{TOXIC_NAME}: pass on fake-nano" in said
    assert "the report is in cuecard-proof.html" in said
    assert page().count("<polyline") == 1


async def test_pairs_are_later_than_what_the_compile_saw(told, tmp_path, fake):
    log = calls(TOXIC)
    logged(tmp_path / "log.jsonl", log)
    fake.answers["fake-nano"] = right
    (task,) = (await told("log.jsonl"))["tasks"]
    shown = [call["request"]["messages"][-1]["content"] for call in log]
    pairs = shown[25 : 25 + task["pairs"] - len(task["card"]["sealed"])]
    asked = [call.json["messages"][-1]["content"] for call in fake.calls_to("fake-nano")]
    assert {*asked[-len(pairs) :]} == {*pairs}, "oldest first, no more than it takes"
    assert {*asked[: -len(pairs)]} <= {*shown[:25]}


async def test_values_that_make_tasks_of_their_own_are_proven_apart_and_named(told, tmp_path, fake):
    prompt = (
        "Decide whether the comment, written in LANGUAGE, is toxic. Answer with yes or no, nothing else.\nComment: {}"
    )
    languages = ("French", "German", "Dutch")
    logs = [calls(prompt.replace("LANGUAGE", name), texts=unlike(at)) for at, name in enumerate(languages)]
    logged(tmp_path / "log.jsonl", *logs)
    fake.answers["fake-nano"] = lambda body: "yes" if "Dutch" in str(body) else right(body)
    found = await told("log.jsonl", code=1)
    verdicts = {note.rpartition(" ")[2]: task["verdict"] for task in found["tasks"] for note in task["notes"][:1]}
    assert verdicts == {"'French'": "pass", "'German'": "pass", "'Dutch'": "fail"}


async def test_the_max_loss_can_be_given(told, log):
    found = await told("log.jsonl", "--max-loss", "30%", code=1)
    assert found["tasks"][0]["max_loss"] == 0.3
    assert found["tasks"][0]["pairs"] < 40


# Money


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
async def test_it_never_pays_a_cent_more_than_was_said(told, log, fake, share):
    usd = share * (await told("log.jsonl", "--store", "another", code=1))["usd"]
    fake.calls.clear()
    found = await told("log.jsonl", "--max-usd", f"{usd:.6f}", code=4)
    assert billed(fake) <= usd and found["usd"] <= usd
    assert found["tasks"][-1]["verdict"] == "stopped"
    assert found["tasks"][-1]["reason"].startswith("the next call could have passed --max-usd ($0.0")


async def test_a_compile_that_the_cap_cut_short_is_no_verdict_and_goes_on(told, log, fake):
    """It is no measure of what a card could do."""
    found = await told("log.jsonl", "--max-usd", "0.01", code=4)
    assert [task["verdict"] for task in found["tasks"]] == ["pass", "stopped"]
    assert found["tasks"][1]["card"] is None and fake.calls_to("fake-strong") == []
    assert [task["verdict"] for task in (await told("log.jsonl", code=1))["tasks"]] == ["pass", "fail"]
    assert fake.calls_to("fake-strong")


async def test_all_runs_on_a_log_are_paid_out_of_one_purse(told, log, fake):
    await told("log.jsonl", "--max-usd", "0.0101", code=4)
    await told("log.jsonl", "--max-usd", "0.0101", code=4)
    assert billed(fake) <= 0.0101
    first = len(fake.calls)
    found = await told("log.jsonl", "--max-usd", "1", code=1)
    assert [task["verdict"] for task in found["tasks"]] == ["pass", "fail"]
    assert found["usd"] == pytest.approx(billed(fake)), "the earlier runs' too"
    assert len(fake.calls) > first
    asked = [call.body for call in fake.calls]
    assert len(asked) == len(set(asked)), "nothing is paid twice"


async def test_run_again_it_says_the_same_unpaid(told, log, fake):
    first = await told("log.jsonl", code=1)
    asked = len(fake.calls)
    assert await told("log.jsonl", code=1) == first
    assert len(fake.calls) == asked


async def test_with_a_longer_log_the_same_proof_goes_on(told, tmp_path, fake):
    logged(tmp_path / "log.jsonl", calls(TOXIC, 80))
    fake.answers["fake-nano"] = lambda body: (
        "no" if body["messages"][-1]["content"].endswith(("case 925", "case 1036")) else right(body)
    )
    found = await told("log.jsonl", code=1)
    (task,) = found["tasks"]
    assert re.search(r"not enough pairs to tell: \d+ pairs show at most 1\d\.\d % worse", task["reason"])
    needed = int(re.search(r"about (\d+) more", task["reason"])[1])
    compiled, before = len(fake.calls_to("fake-strong")), {call.body for call in fake.calls}
    logged(tmp_path / "log.jsonl", calls(TOXIC, 80 + needed + 20))
    found = await told("log.jsonl")
    (task,) = found["tasks"]
    assert (task["verdict"], task["proof_number"], task["examples"]) == ("pass", 1, 20)
    assert len(fake.calls_to("fake-strong")) == compiled
    assert len([call for call in fake.calls if call.body in before]) == len(before)
    assert found["usd"] == pytest.approx(billed(fake))


async def test_another_margin_is_another_proof_of_the_same_card(told, tmp_path, fake):
    logged(tmp_path / "log.jsonl", calls(TOXIC, 200))
    await told("log.jsonl")
    asked = len(fake.calls)
    (task,) = (await told("log.jsonl", "--max-loss", "0.2"))["tasks"]
    assert (task["verdict"], task["proof_number"]) == ("pass", 2)
    assert any("each one begun makes the next one's bar higher" in note for note in task["notes"])
    assert len(fake.calls) == asked


# What is not tried


async def test_what_can_not_be_tried_is_listed_and_costs_nothing(told, prove, tmp_path, fake, page):
    few = calls(TOXIC, 30)
    logged(tmp_path / "log.jsonl", few)
    found = await told("log.jsonl", code=3)
    assert found["tasks"] == [] and fake.calls == []
    (one,) = found["untried"]
    assert (one["task"], one["requests"]) == (TOXIC_NAME, 30)
    assert re.match(
        r"too few requests: 30, of which 20 are for the compile; a proof takes 54 more at least", one["reason"]
    )
    assert found["verdict"].startswith("No task of this log could be tried")
    assert one["reason"] in page().replace("&#39;", "'")
    assert "too few requests" in (await prove("log.jsonl", code=3)).stdout


async def test_a_model_that_is_no_cheaper_is_not_tried(told, tmp_path, fake, settings):
    settings["prices"]["fake-nano"] = settings["prices"]["fake-strong"]
    logged(tmp_path / "log.jsonl", calls(TOXIC))
    found = await told("log.jsonl", code=3)
    assert found["untried"][0]["reason"] == "the cheapest model costs no less here"


async def test_what_goes_on_as_conversations_is_left_alone(told, tmp_path, fake):
    first = calls(TOXIC)
    later = [
        call_of(
            {
                **call["request"],
                "messages": [
                    *call["request"]["messages"],
                    {"role": "assistant", "content": "no"},
                    {"role": "user", "content": "Sure?"},
                ],
            },
            call["time"] + 1,
            "yes",
        )
        for call in first[:3]
    ]
    logged(tmp_path / "log.jsonl", first, later)
    found = await told("log.jsonl", code=3)
    assert [one["reason"] for one in found["untried"]] == [
        "its requests go on as conversations, which no card serves yet",
        "it has several turns",
    ]


async def test_data_in_a_system_prompt_is_left_alone(told, tmp_path, fake):
    told_before = zip(calls(TOXIC), islice(mails(), 200, 300), strict=True)
    data = [with_system(call, f"What the customer wrote before: {text}.") for call, text in told_before]
    logged(tmp_path / "log.jsonl", data)
    found = await told("log.jsonl", code=3)
    assert found["untried"][0]["reason"] == "its system prompt holds data"
    assert fake.calls == []


def with_system(call: dict[str, Any], system: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "Is it toxic?"}]
    return {**call, "request": {**call["request"], "messages": messages}}


async def test_what_offers_tools_is_of_no_task(told, tmp_path, fake):
    tools = [{"type": "function", "function": {"name": "answer", "parameters": {}}}]
    log = [{**call, "request": {**call["request"], "tools": tools}} for call in calls(TOXIC)]
    logged(tmp_path / "log.jsonl", log)
    found = await told("log.jsonl", code=3)
    assert [(group["reason"], group["calls"]) for group in found["no_task"]] == [("tools", 100)]


# A judge


class Judged:
    """A log of summaries, a judge and a candidate whose answers it finds as good, or worse."""

    def __init__(self, tmp_path: Path, settings: dict[str, Any], fake: FakeUpstream) -> None:
        settings["models"]["judge"] = "fake-mini"
        self.log = logged(
            tmp_path / "log.jsonl",
            [{**call, "response": said(call, "Summary of ")} for call in calls(SUMMARY, 200)],
        )
        fake.answers |= {"fake-nano": summary("In short: "), "fake-strong": summary("Summary of ")}
        fake.answers["fake-mini"] = prefers(lambda a, b: goodness(a) - goodness(b))


def said(call: dict[str, Any], before: str) -> dict[str, Any]:
    text = summary(before)(call["request"])
    return {**call["response"], "choices": [{"message": {"role": "assistant", "content": text}}]}


def summary(before: str):
    return lambda body: f"{before}{body['messages'][-1]['content'].split('Mail: ')[-1]}. It has to be answered soon."


def goodness(answer: str) -> int:
    return int(answer.startswith(("Summary of", "In short")) and "soon" in answer and "not" not in answer)


async def test_where_only_a_judge_can_tell_it_is_calibrated_first(told, tmp_path, settings, fake):
    Judged(tmp_path, settings, fake)
    (task,) = (await told("log.jsonl", "--max-loss-text", "0.2"))["tasks"]
    assert (task["verdict"], task["max_loss"], task["outcomes"]) == ("pass", 0.2, {"judged": task["pairs"]})
    assert 0.5 < task["kappa"] < 1
    assert task["worst"] == [], "the judge found none worse"


async def test_what_a_judge_finds_worse_is_shown_with_its_words(told, tmp_path, settings, fake, page):
    Judged(tmp_path, settings, fake)
    seen = {call["request"]["messages"][-1]["content"] for call in calls(SUMMARY, 50)}
    fake.answers["fake-nano"] = lambda body: (
        summary("In short: ")(body) if body["messages"][-1]["content"] in seen else "It is not known."
    )
    (task,) = (await told("log.jsonl", code=1))["tasks"]
    assert task["reason"].startswith("worse than your model by more than the margin")
    assert len(task["worst"]) == 5
    assert task["worst"][0]["judge"] == "One of them is wrong."
    assert task["worst"][0]["current"].startswith("Summary of ")
    assert page().count("One of them is wrong.") == 5
    asked = [call.json["messages"] for call in fake.calls_to("fake-strong")]
    again = [call["request"]["messages"] for call in calls(SUMMARY, 200)]
    assert not any(messages in again for messages in asked), "what is clearly worse needs no judge that is calibrated"


async def test_a_judge_that_sees_nothing_proves_nothing(told, tmp_path, settings, fake):
    Judged(tmp_path, settings, fake)
    fake.answers["fake-mini"] = prefers(lambda a, b: 0)
    (task,) = (await told("log.jsonl", code=1))["tasks"]
    assert task["reason"].startswith("the judge can't tell good answers from bad ones")


# What goes wrong


async def test_what_no_prompt_makes_good_enough_is_said_and_not_tried_again(told, log, fake):
    fake.answers["fake-nano"] = "nonsense"
    found = await told("log.jsonl", code=1)
    assert {task["verdict"] for task in found["tasks"]} == {"fail"}
    for task in found["tasks"]:
        assert task["reason"].startswith("not compiled: no cheaper model is good enough: fake-nano loses")
    asked = len(fake.calls)
    again = await told("log.jsonl", code=1)
    assert again["tasks"] == found["tasks"] and len(fake.calls) == asked


async def test_a_meta_model_that_refuses_is_said(told, tmp_path, settings, fake):
    """Where nobody judges, and answers of several lines can't be compared, its prompt is taken as it is."""
    texts = [{**call, "response": said(call, "Summary:\n")} for call in calls(SUMMARY)]
    logged(tmp_path / "log.jsonl", texts)
    fake.answers["fake-strong"] = "I'm sorry, I can't."
    (task,) = (await told("log.jsonl", code=1))["tasks"]
    assert task["reason"] == "not compiled: the meta model refused"


async def test_a_compile_that_its_own_cap_stops_is_said_and_the_rest_goes_on(told, log, settings):
    settings["compile"]["max_usd"] = 0.0001
    found = await told("log.jsonl", code=1)
    assert ["not compiled: the next call may cost" in task["reason"] for task in found["tasks"]] == [True, True]


async def test_models_that_answer_no_more_stop_a_task_and_it_goes_on_later(told, log, fake):
    asked = []

    def dying(body: Any) -> Any:
        asked.append(body)
        return Fault.respond(503) if len(asked) > 60 else right(body)

    fake.answers["fake-nano"] = dying
    found = await told("log.jsonl", code=4)
    assert found["tasks"][0]["reason"] == "its models don't answer: fake-nano: HTTP 503"
    answered = len([call for call in fake.calls_to("fake-nano") if call.billed])
    fake.answers["fake-nano"] = only_toxic
    before = {call.body for call in fake.calls if call.billed}
    found = await told("log.jsonl", code=1)
    assert [task["verdict"] for task in found["tasks"]] == ["pass", "fail"]
    again = [call for call in fake.calls_to("fake-nano")[answered:] if call.billed and call.body in before]
    assert len(again) == answered - 60 == 0


async def test_a_request_that_the_candidate_never_answers_falls_back_and_is_given_up(told, tmp_path, fake):
    logged(tmp_path / "log.jsonl", calls(TOXIC))
    fake.answers["fake-nano"] = lambda body: (
        Fault.respond(400) if body["messages"][-1]["content"].endswith("case 1036") else right(body)
    )
    (task,) = (await told("log.jsonl"))["tasks"]
    assert (task["verdict"], task["outcomes"]["fallback"]) == ("pass", 1)
    assert [pair["outcome"] for pair in task["worst"]] == ["fallback"]
    (again,) = (await told("log.jsonl"))["tasks"]
    assert again["outcomes"] == task["outcomes"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.jsonl"], "gone.jsonl: no such file"),
        ([], "Missing argument"),
        (["log.jsonl", "--max-usd", "0"], "Invalid value for '--max-usd'"),
        (["log.jsonl", "--max-loss", "0.5"], "Invalid value for '--max-loss'"),
        (["log.jsonl", "--max-loss", "-1"], "Invalid value for '--max-loss'"),
        (["log.jsonl", "--max-loss-text", "much"], "Invalid value for '--max-loss-text'"),
        (["log.jsonl", "--html", "nowhere/page.html"], "nowhere/page.html: its folder is not there"),
        (["log.jsonl", "--format", "langfuse"], "no call could be read"),
        (["empty.jsonl"], "no call could be read: there is nothing in it"),
        (["log.jsonl", "--store", "log.jsonl"], "--store"),
    ],
)
async def test_what_a_person_got_wrong_ends_with_2_and_costs_nothing(prove, log, tmp_path, fake, words, said):
    (tmp_path / "empty.jsonl").write_text("")
    done = await prove(*words, code=2)
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr and fake.calls == []


async def test_without_a_key_or_a_price_nothing_is_asked(prove, log, settings, fake):
    del settings["prices"]["fake-strong"]
    assert "fake-strong has no known price; add it under `prices`" in (await prove("log.jsonl", code=2)).stderr
    settings["prices"] = dict(PRICES)
    del settings["upstreams"]["fake"]["api_key"]
    assert "upstream 'fake' has no api_key of its own" in (await prove("log.jsonl", code=2)).stderr
    assert fake.calls == []


async def test_the_exit_codes_are_in_the_help(prove):
    said = " ".join((await prove("--help")).stdout.split())
    for meaning in (
        "0 all",
        "1 at least one failed",
        "2 wrong use",
        "3 nothing could be tried",
        "4 stopped",
        "130 Ctrl-C",
    ):
        assert meaning in said


async def test_without_times_the_order_of_the_log_counts_and_a_month_only_where_its_days_are_told(
    told, prove, tmp_path, fake
):
    def untimed(call: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": "system", "content": "Answer in one word."}, *call["request"]["messages"]]
        return {"request": {**call["request"], "messages": messages}, "response": call["response"]}

    log = calls(TOXIC)
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(untimed(call)) + "\n" for call in log))
    (task,) = (await told("log.jsonl"))["tasks"]
    assert (task["verdict"], task["saving"]["month"], task["saving"]["share"] > 0.9) == ("pass", None, True)
    asked = [call.json["messages"] for call in fake.calls_to("fake-nano")]
    last = 25 + task["pairs"] - len(task["card"]["sealed"])
    newest = [call["request"]["messages"][-1] for call in log[last - 8 : last]]
    assert all(messages[-1] in newest for messages in asked[-8:])
    assert all(len([one for one in messages if one["role"] == "system"]) == 1 for messages in asked)
    done = await prove("log.jsonl", "--spans", "10")
    assert "saves an estimated $0." in done.stdout
    assert (
        "tasks to be tried: 1, not tried: 0; at most $60.00, of which earlier runs on this log spent $0." in done.stderr
    )
    assert "their requests go to fake-strong, fake-nano and to the model that answered them, redacted" in done.stderr


async def test_a_log_without_answers_can_not_be_tried(told, tmp_path):
    log = [{**call, "response": {**call["response"], "choices": []}} for call in calls(TOXIC)]
    logged(tmp_path / "log.jsonl", log)
    assert (await told("log.jsonl", code=3))["untried"][0]["reason"] == "the log does not hold its answers"


async def test_every_form_that_replay_reads_can_be_proven_on(told, tmp_path, fake):
    records = [
        {
            "id": f"o-{at}",
            "type": "GENERATION",
            "startTime": f"2026-10-{1 + at // 24:02d}T{at % 24:02d}:00:00Z",
            "model": "fake-strong",
            "input": call["request"]["messages"],
            "output": call["response"]["choices"][0]["message"],
            "usageDetails": {"input": 60, "output": 1},
        }
        for at, call in enumerate(calls(TOXIC))
    ]
    (tmp_path / "export.json").write_text(json.dumps(records))
    (task,) = (await told("export.json"))["tasks"]
    assert (task["verdict"], task["requests"]) == ("pass", 100)
