"""What is known of recognised tasks, and what a person decides about them, at a terminal."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import compiler.ledger
import proxy.seen
from compiler.ledger import Charge, Ledger, Tally
from compiler.pricing import Usage
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.rollout import Rollout
from compiler.store import Store
from proxy.cli import main
from proxy.configfile import load_settings
from proxy.declare import configured_tasks
from proxy.seen import seen_tasks
from proxy.share import in_percent
from tests.learned import SUMMARY, TITLE, TOXIC, learn, observed, request, some
from tests.proven import CONTROL, compiled, proven, recognised

CONFIG = """
upstreams: {x: {base_url: "http://127.0.0.1:9/v1", api_key: none}}
store: {url: "file:store"}
models: {meta: gpt-4.1, judge: gpt-4.1-mini, production: [gpt-4.1-nano]}
tasks: {declared: {description: "Never called."}}
"""
ONE, TWO, THREE = "decide-whether-comment-toxic", "summarise-mail-colleague-one-sentence", "write-title-article"
LANGUAGES = ("French", "German", "Polish")
TRANSLATE = "Translate the text below into {}. Keep names and numbers as they are.\nText: {{}}"
CALL = Charge(ONE, "gpt-4.1", "serve", "original", Usage(2_000, 50), 0.01, ends_request=True, reason="observe")
NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cuecard.yaml").write_text(CONFIG)
    learn(tmp_path / "store", *some(TOXIC), *some(SUMMARY), *some(TITLE))
    with Store(tmp_path / "store") as store:
        Registry(store).declare(configured_tasks(load_settings(tmp_path / "cuecard.yaml")), "config")
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(main, [*arguments, "--config", str(folder / "cuecard.yaml")])
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def tasks(run, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """`cuecard tasks …`, its options in front."""

    def tasks(*arguments: str, code: int = 0) -> Result:
        command = ["tasks", "--config", str(folder / "cuecard.yaml"), *arguments]
        done = CliRunner().invoke(main, command)
        assert done.exit_code == code, done.output
        return done

    return tasks


def book(folder: Path, *charges: Charge) -> None:
    tally = Tally()
    for charge in charges:
        tally.add(charge)
    with Store(folder / "store") as store:
        Ledger(store).add(tally)


def known(folder: Path) -> dict[str, Any]:
    with Store(folder / "store") as store:
        return Catalogue(store).tasks()


def listed(run) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(run("tasks", "--json").stdout)["recognised"]}


# What is seen


def test_the_list_fits_80_columns_the_dearest_first(run, folder):
    book(folder, *[CALL] * 30, *[CALL._replace(task=TWO)] * 10)
    text = run("tasks").stdout
    assert max(map(len, text.splitlines())) <= 80
    lines = text.splitlines()
    at = lines.index("recognised in the traffic of the last 7 days")
    assert "task" in lines[at + 1]
    assert [line.split() for line in lines[at + 2 :] if not line.startswith(" ")] == [
        [ONE, "observing", "30", "75.0", "%"],
        [TWO, "observing", "10", "25.0", "%"],
        [THREE, "observing", "0.0", "0.0", "%"],
    ]
    said = " ".join(text.split())
    assert "user: Decide whether the comment is toxic. Answer with yes or no, nothing else. Comment: {text1}" in said
    assert "declared" in said
    assert "Never called." not in said


def test_a_long_template_is_shortened_in_the_list_and_whole_in_the_json(run, folder):
    long = f"Read this. {'Mind the rules of the house, and what was said before. ' * 10}Now summarise: {{}}"
    learn(folder / "store", *some(long))
    assert "…" in run("tasks").stdout
    (text,) = {t["text"] for one in listed(run).values() for t in one["templates"] if "rules" in t["text"]}
    assert text.count("Mind the rules") == 10


def test_an_empty_store_says_what_to_do(tmp_path):
    (tmp_path / "cuecard.yaml").write_text(CONFIG.replace("tasks:", "#"))
    text = CliRunner().invoke(main, ["tasks", "--config", str(tmp_path / "cuecard.yaml")]).stdout
    assert text.startswith("no task yet: send traffic")


def test_the_json_has_all_of_a_task(run, folder):
    book(folder, *[CALL] * 30, *[CALL._replace(task="-", reason="tools")] * 10)
    found = json.loads(run("tasks", "--json").stdout)
    assert [one["task"]["name"] for one in found["declared"]] == ["declared"]
    one = found["recognised"][0]
    (template,) = one.pop("templates")
    cost, share = one.pop("cost_usd"), one.pop("share_of_cost")
    assert (cost, share) == (pytest.approx(0.3), pytest.approx(0.75))  # of what all the app's calls cost
    assert one == {
        "name": ONE,
        "stage": "observing",
        "merged": False,
        "model": "fake-strong",
        "tenant": "default",
        "calls": 30,
        "calls_a_day": 30.0,
        "adopted": [],
    }
    assert template["learned_from"] == 20
    assert template["text"].startswith("user: Decide whether the comment is toxic.")


@pytest.mark.parametrize(
    ("booked", "calls", "a_day"),
    [
        ({0: 100}, 100, 100.0),  # less than a day is taken for a day's
        ({23: 100}, 100, 100.0),
        ({60: 300, 1: 200}, 500, 500 / (60.5 / 24)),
        ({24 * 9: 5_000, 24: 100}, 100, 100 / (24.5 / 24)),  # only the last 7 days count
        (dict.fromkeys(range(0, 24 * 8, 6), 12), 348, 348 / (168.5 / 24)),
        ({24 * 9: 5_000}, 0, 0.0),
    ],
)
def test_calls_a_day_are_those_of_the_last_seven_from_the_first_on(folder, monkeypatch, booked, calls, a_day):
    """`booked`: how many calls, so many hours ago. What another task did before is no day of this one's."""
    for hours, number in booked.items():
        _at(monkeypatch, NOW - timedelta(hours=hours))
        book(folder, *[CALL] * number)
    _at(monkeypatch, NOW - timedelta(hours=150))
    book(folder, CALL._replace(task=TWO, cost=0.5))
    _at(monkeypatch, NOW)
    with Store(folder / "store") as store:
        one = next(one for one in seen_tasks(store) if one.task.name == ONE)
    assert one.calls == calls
    assert one.calls_a_day == pytest.approx(a_day, rel=0.01)
    assert one.share == pytest.approx(calls * 0.01 / (calls * 0.01 + 0.5))


def _at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return moment

    monkeypatch.setattr(compiler.ledger, "datetime", Clock)
    monkeypatch.setattr(proxy.seen, "datetime", Clock)


def test_show_has_the_traffic_and_the_template_to_the_letter(run, folder):
    book(folder, *[CALL] * 30)
    text = run("show", ONE).stdout
    assert text.startswith(f"{ONE}: observing, 30.0 calls a day, 100.0 % of the spend\n")
    assert "asked of fake-strong, learned from 20 requests\n" in text
    assert "user: Decide whether the comment is toxic. Answer with yes or no, nothing else.\nComment: {text1}" in text
    assert json.loads(run("show", ONE, "--json").stdout) == listed(run)[ONE] | {"feedback": None}
    assert "declared: observing" in run("show", "declared").stdout


def test_values_that_split_are_shown_until_a_person_merges_them(run, tasks, folder):
    learn(folder / "store", *(o for one in LANGUAGES for o in some(TRANSLATE.format(one))))
    (name,) = set(known(folder)) - {ONE, TWO, THREE}
    assert "3 choices of enumerated values, each a task of its own" in run("show", name).stdout
    with Store(folder / "store") as store:
        before = _recognised(store, TRANSLATE.format("French"))
    assert before.startswith(f"{name}~")
    tasks("merge", name)
    text = run("show", name).stdout
    assert "3 choices of enumerated values\n" in text
    with Store(folder / "store") as store:
        assert _recognised(store, TRANSLATE.format("French")) == name


def _recognised(store: Store, prompt: str) -> str:
    body = request(prompt, "Nothing of it was seen before")
    found = Catalogue(store).recognition().name(observed(body).structure, [body["messages"][0]["content"]])
    return found.variant if found else ""


# Of those that are compiled and proven


def prove(folder, name, pairs=300, **more):
    with Store(folder / "store") as store:
        return proven(store, compiled(store, recognised(name)), pairs, **more)


def test_a_task_that_is_proven_shows_where_it_stands(run, folder):
    share = in_percent(0.02 / prove(folder, ONE, 150).bound)
    text = run("tasks").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert [line.split()[:2] for line in text.splitlines() if line.startswith(ONE)] == [[ONE, "ramping"]]
    said = " ".join(text.split())
    assert f"> ramping, serves {share} by {ONE}@1 on fake-nano: at most 3.7% worse, 95 % sure (150 pairs)" in said
    one = listed(run)[ONE]
    (stand,) = one["adopted"]
    assert (one["stage"], stand["stage"], stand["card"], stand["pairs"]) == ("ramping", "ramping", f"{ONE}@1", 150)
    assert stand["traffic"] == pytest.approx(0.02 / stand["bound"])


def test_variants_are_tasks_of_their_own_each_with_its_stage(run, folder):
    share = in_percent(0.02 / prove(folder, f"{ONE}~1a2b3c4d", 150).bound)
    prove(folder, f"{ONE}~5e6f7a8b", 30, worse=10)
    assert listed(run)[ONE]["stage"] == "mixed"
    said = " ".join(run("tasks").stdout.split())
    assert f"> ~1a2b3c4d: ramping, serves {share} by" in said
    assert "> ~5e6f7a8b: kept, serves nothing" in said
    said = run("show", ONE).stdout
    assert f"{ONE}~1a2b3c4d: ramping" in said
    assert f"proof 1 of {ONE}~5e6f7a8b@1" in run("show", f"{ONE}~5e6f7a8b").stdout


def test_an_ignored_task_is_shown_as_ignored_whatever_it_was(run, tasks, folder):
    prove(folder, ONE)
    tasks("ignore", ONE)
    one = listed(run)[ONE]
    assert (one["stage"], one["adopted"][0]["stage"], one["adopted"][0]["traffic"]) == ("ignored", "ignored", 0.0)
    assert "> ignored, serves nothing" in run("tasks").stdout
    assert "ignored: its card, as it stood, serves nothing" in run("show", ONE).stdout
    tasks("ignore", "--undo", ONE)
    assert listed(run)[ONE]["stage"] == "live"


def test_show_has_template_card_evidence_gates_spend_and_what_was_said(run, folder):
    prove(folder, ONE, mode="manual")
    with Store(folder / "store") as store:
        Rollout(store).approve(ONE, most=0.1, who="anna", why="looks good", control=CONTROL)
    book(folder, CALL._replace(role="shadow", route="-", cost=0.02), CALL._replace(role="judge", route="-", cost=0.01))
    text = run("show", ONE).stdout
    said = " ".join(text.split())
    for part in (
        "user: Decide whether the comment is toxic.",
        f"card {ONE}@1 for fake-nano",
        "[system]\nSay yes or no.\n",
        f"proof 1 of {ONE}@1",
        "300 pairs, at most 1.8 % worse (95 % sure), margin 2 %",
        "pairs by outcome: same 300",
        "100 % |",
        "2 % |---",
        "passed  loss     at most 1.8 % worse (95 % sure);",
        "passed  latency  as fast as your model, or faster",
        "passed  money    $0.3000 where your model takes $3.0000",
        "spent on proving so far: $0.0300",
        f"approved: {ONE}@1; at most 10 % of the requests",
        f"anna approve ({ONE}@1, at most 10 %): looks good",
    ):
        assert part in text or part in said, part
    drawn = text[text.index("proof 1 of") :]
    assert max(map(len, drawn.splitlines())) <= 80


def test_the_json_of_a_proven_task_has_its_proof(run, folder):
    before = prove(folder, ONE)
    found = json.loads(run("show", ONE, "--json").stdout)
    assert found["name"] == ONE
    assert found["standing"] == found["adopted"][0]
    proof = found["proof"]
    assert (proof["card"], proof["pairs"], proof["bound"]) == (f"{ONE}@1", 300, before.bound)
    assert proof["history"][-1] == [*before.history[-1]]
    assert {gate["name"] for gate in proof["gates"]} == {"loss", "drift", "judge", "latency", "money"}
    assert (found["said"], found["audit"]) == ({"approved": "", "most": 1.0, "paused": ""}, [])


def test_a_declared_task_is_shown_with_its_proof(run, folder):
    with Store(folder / "store") as store:
        task = Registry(store).tasks()["declared"][0]
        proven(store, compiled(store, task), 300)
    assert "proof 1 of declared@1" in run("show", "declared").stdout
    assert json.loads(run("show", "declared", "--json").stdout)["proof"]["pairs"] == 300
    (declared,) = json.loads(run("tasks", "--json").stdout)["declared"]
    assert declared["standing"]["traffic"] == 0.98
    assert "98 %" in run("tasks").stdout


def test_the_proof_of_an_older_card_is_none_of_this_one(run, folder):
    prove(folder, ONE)
    with Store(folder / "store") as store:
        compiled(store, recognised(ONE))
    assert "no proof of this card was begun yet" in run("show", ONE).stdout
    assert listed(run)[ONE]["adopted"][0]["bound"] is None


def test_a_task_that_was_rolled_back_for_good_is_json_for_everybody(run, folder):
    prove(folder, ONE)
    with Store(folder / "store") as store:
        Rollout(store).rollback(ONE, who="anna")
    text = run("show", ONE, "--json").stdout
    assert "Infinity" not in text
    assert json.loads(text)["state"]["retry_at"] is None
    shown = run("show", ONE).stdout
    assert f"{ONE}: kept (rolled back)" in shown
    assert "proof of this card" not in shown, "there is none"
    assert "anna  rollback" in shown


# What a person decides


def test_a_task_gets_another_name_and_what_was_booked_stays_under_the_old_one(run, tasks, folder):
    book(folder, *[CALL] * 30)
    assert tasks("rename", ONE, "moderation").stdout == f"{ONE} is now moderation\n"
    assert set(known(folder)) == {"moderation", TWO, THREE}
    assert listed(run)["moderation"]["calls"] == 0
    assert ONE in json.loads(run("report", "--json").stdout)["tasks"]
    tasks("rename", "moderation", "moderation", code=2)  # it is taken


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rename", ONE, TWO], "there is a task"),
        (["rename", ONE, "declared"], "there is a task"),
        (["rename", ONE, "Not A Name"], "is no task name"),
        (["rename", ONE, "name~1a2b"], "is no task name"),
        (["rename", "nope", "other"], "no task 'nope' was recognised"),
        (["rename", "declared", "other"], "no task 'declared' was recognised"),
        (["ignore", ONE, "nope"], "no task 'nope' was recognised"),
        (["ignore", "--undo", "nope"], "no task 'nope' was recognised"),
        (["merge", ONE, "nope"], "no task 'nope' was recognised"),
        (["merge", "nope"], "no task 'nope' was recognised"),
        (["merge", "declared", ONE], "no task 'declared' was recognised"),
    ],
)
def test_a_name_that_is_wrong_changes_nothing(tasks, folder, arguments, said):
    before = known(folder)
    done = tasks(*arguments, code=2)
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert known(folder) == before


@pytest.mark.parametrize("arguments", [["rename", ONE], ["ignore"], ["merge"], ["ignore", "--undo"]])
def test_something_has_to_be_named(tasks, folder, arguments):
    before = known(folder)
    assert "Missing argument" in tasks(*arguments, code=2).stderr
    assert known(folder) == before


def test_tasks_are_left_alone_and_taken_up_again(run, tasks, folder):
    book(folder, *[CALL] * 30, *[CALL._replace(task=TWO)] * 10)
    assert tasks("ignore", ONE, TWO).stdout == f"{ONE}, {TWO}: ignored\n"
    assert {name: one["stage"] for name, one in listed(run).items()} == {
        ONE: "ignored",
        TWO: "ignored",
        THREE: "observing",
    }
    assert "ignored" in run("tasks").stdout
    assert json.loads(run("report", "--json").stdout)["possible_savings"] == {}
    assert tasks("ignore", "--undo", ONE).stdout == f"{ONE}: no longer ignored\n"
    assert [name for name, one in known(folder).items() if one.ignored] == [TWO]
    assert list(json.loads(run("report", "--json").stdout)["possible_savings"]) == [ONE]


def test_tasks_become_one_under_the_first_name(run, tasks, folder):
    assert tasks("merge", TWO, ONE, TWO).stdout.startswith(f"{TWO}: one task of 2 template(s)")
    assert set(known(folder)) == {TWO, THREE}
    assert len(known(folder)[TWO].templates) == 2
    assert "(and 1 more)" in run("tasks").stdout
    with Store(folder / "store") as store:
        assert {_recognised(store, prompt) for prompt in (TOXIC, SUMMARY)} == {TWO}


def test_a_renamed_task_keeps_its_card_and_its_proof(run, tasks, folder):
    prove(folder, ONE)
    tasks("rename", ONE, "moderation")
    one = listed(run)["moderation"]
    assert (one["stage"], one["adopted"][0]["card"], one["adopted"][0]["pairs"]) == ("live", "moderation@1", 300)


def test_merged_tasks_are_observed_anew(run, tasks, folder):
    prove(folder, ONE)
    tasks("merge", TWO, ONE)
    assert (listed(run)[TWO]["stage"], listed(run)[TWO]["adopted"]) == ("observing", [])


def test_tasks_of_two_tenants_are_never_one(tasks, folder):
    learn(folder / "store", *some(TOXIC, tenant="key-0123456789ab"))
    before = known(folder)
    assert f"{ONE}-2" in before
    assert "different tenants" in tasks("merge", ONE, f"{ONE}-2", code=2).stderr
    assert known(folder) == before


def test_what_was_decided_stays_when_the_learner_looks_again(tasks, folder):
    tasks("rename", ONE, "moderation")
    tasks("ignore", "moderation")
    tasks("merge", TWO, THREE)
    before = known(folder)
    learn(folder / "store", *some(TOXIC, 40), *some("Is this mail spam? Say yes or no.\nMail: {}"))
    assert {name: known(folder)[name] for name in before} == before
    assert len(known(folder)) == 3


# What the report makes of it


def test_the_report_says_of_recognised_tasks_what_they_could_save_and_where_the_rest_went(run, tasks, folder):
    tasks("ignore", TWO)
    book(
        folder,
        *[CALL] * 5_000,
        *[CALL._replace(task=TWO, reason="ignored")] * 20,
        *[CALL._replace(task="-", reason="catch_all")] * 3,
        *[CALL._replace(task="-", reason="unrecognised")] * 2,
        CALL._replace(task=THREE, reason="tools"),
    )
    found = json.loads(run("report", "--json").stdout)
    steps = {step["name"]: step for step in found["funnel"]["steps"]}
    left_out = {(n, g["reason"]): g["calls"] for n, step in steps.items() for g in step["excluded"]}
    assert left_out == {
        ("eligible", "tools"): 1,
        ("matched", "catch_all"): 3,
        ("matched", "unrecognised"): 2,
        ("live", "observe"): 5_000,
        ("live", "ignored"): 20,
    }
    assert list(found["possible_savings"]) == [ONE], "an ignored task is none that one thinks of compiling"
    assert found["possible_savings"][ONE]["verdict"] in ("worth it", "perhaps")
    text = run("report").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "\ndecide-whether-comment-" in text
    assert "net saving" not in text, "nothing was spent to save"
