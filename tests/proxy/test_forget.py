"""`cuecard forget`, without a server; tests/e2e/test_capture.py has one running."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compiler.example import Example
from compiler.ledger import Charge, Ledger, Tally
from compiler.observation import FOLDER, Observation, Observations
from compiler.pricing import Usage
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import Task
from proxy.cli import main
from tests.learned import SUMMARY, TITLE, TOXIC, learn, some
from tests.proxy.capturing import decoded

CONFIG = """
upstreams: {x: {base_url: "http://127.0.0.1:9/v1", api_key: none}}
store: {url: "file:store"}
tasks: {declared: {description: "Never called."}}
auth: {keys: [{key: "sk-of-idle", tenant: idle}]}
"""


@pytest.fixture(autouse=True)
def kept(tmp_path: Path) -> None:
    """Of the task mood one of each tenant, of shop one more that belongs to no task."""
    (tmp_path / "cuecard.yaml").write_text(CONFIG)
    kinds = [("shop", "mood", "secret 0"), ("lab", "mood", "secret 1"), ("shop", "", "secret 2")]
    with Observations(tmp_path / "store", retention_days=1) as observations:
        observations.add(
            [Observation(time.time(), t, "s", "m", name, {"q": text}, "", [], [], None, 1.0) for t, name, text in kinds]
        )


def forget(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["forget", *arguments, "--config", str(tmp_path / "cuecard.yaml")])


def left(tmp_path: Path) -> set[str]:
    """What is readable anywhere in the files."""
    data = b"".join(path.read_bytes() for path in (tmp_path / "store" / FOLDER).iterdir())
    return {f"secret {n}" for n in range(3) if f"secret {n}".encode() in data}


@pytest.mark.parametrize(
    ("arguments", "number", "stays"),
    [
        (["mood"], 2, {"secret 2"}),
        (["--tenant", "shop"], 2, {"secret 1"}),
        (["mood", "--tenant", "shop"], 1, {"secret 1", "secret 2"}),
        (["--tenant", "idle"], 0, {"secret 0", "secret 1", "secret 2"}),
        (["declared"], 0, {"secret 0", "secret 1", "secret 2"}),
        (["--tenant", "default"], 0, {"secret 0", "secret 1", "secret 2"}),
    ],
)
def test_it_deletes_what_is_named_and_says_how_many(tmp_path, arguments, number, stays):
    done = forget(tmp_path, *arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"forgotten: {number} captured requests" in done.stdout
    assert "what stays: declared tasks with your examples and their cards, sums of cost" in done.stdout
    assert left(tmp_path) == stays


@pytest.mark.parametrize("arguments", [["moood"], ["--tenant", "shup"], ["mood", "--tenant", "shup"]])
def test_a_name_that_nobody_knows_is_a_mistake_and_nothing_goes(tmp_path, arguments):
    done = forget(tmp_path, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nothing was captured of a" in done.stderr
    assert "known: " in done.stderr
    assert len(left(tmp_path)) == 3


@pytest.mark.parametrize("arguments", [[], ["--tenant", ""], [""], ["", "--tenant", ""]])
def test_it_has_to_be_told_what(tmp_path, arguments):
    done = forget(tmp_path, *arguments)
    assert done.exit_code == 2
    assert "say what is to be forgotten" in done.stderr
    assert len(left(tmp_path)) == 3


# What was recognised

TASK, HASH = "decide-whether-comment-toxic", "key-0123456789ab"


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    """Two tasks without a key, and one of a client whom its key's hash stands for."""
    learn(tmp_path / "store", *some(TOXIC), *some(SUMMARY), *some(TITLE, tenant=HASH))
    tally = Tally()
    for tenant, task in (("default", TASK), ("default", "-"), (HASH, "write-title-article")):
        for _ in range(3):
            tally.add(Charge(task, "m", "serve", "original", Usage(9, 9), 0.5, tenant=tenant, ends_request=True))
    with Store(tmp_path / "store") as store:
        Ledger(store).add(tally)
    return tmp_path / "store"


def known(store: Path) -> set[str]:
    with Store(store) as opened:
        return set(Catalogue(opened).tasks())


@pytest.mark.parametrize(
    ("arguments", "of", "words", "booked"),
    [
        ([TASK], f"of task {TASK}", "comment is toxic", "3 requests, $1.50"),
        ([TASK, "--tenant", "default"], f"of task {TASK} of tenant default", "comment is toxic", "3 requests, $1.50"),
        (["write-title-article"], "of task write-title-article", "Write a title", "3 requests, $1.50"),
        (["--tenant", HASH], f"of tenant {HASH}", "Write a title", "3 requests, $1.50"),
    ],
)
def test_a_recognised_task_goes_with_all_that_was_learned_of_it(tmp_path, learned, arguments, of, words, booked):
    assert words in decoded(learned)
    assert words in decoded(learned / FOLDER)
    done = forget(tmp_path, *arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert (
        f"forgotten: 20 captured requests and their answers, and 1 template(s) learned from them, {of}\n" in done.stdout
    )
    assert f"what stays: declared tasks with your examples and their cards, sums of cost ({booked})" in done.stdout
    assert words not in decoded(learned)
    assert words not in decoded(learned / FOLDER)
    assert len(known(learned)) == 2
    assert left(tmp_path) == {"secret 0", "secret 1", "secret 2"}
    assert forget(tmp_path, *arguments).exit_code == 2, "there is nothing of that name any more"


def test_a_tenant_takes_all_its_tasks_along(tmp_path, learned):
    done = forget(tmp_path, "--tenant", "default")
    assert "forgotten: 40 captured requests and their answers, and 2 template(s)" in done.stdout
    assert "sums of cost (6 requests, $3.00)" in done.stdout
    assert known(learned) == {"write-title-article"}


def test_a_recognised_task_of_another_tenant_has_nothing_to_forget(tmp_path, learned):
    done = forget(tmp_path, TASK, "--tenant", HASH)
    assert (done.exit_code, done.stdout.split(",")[0]) == (0, "forgotten: 0 captured requests and their answers")
    assert len(known(learned)) == 3


def test_a_tenant_and_a_task_are_known_by_what_was_learned_when_their_requests_are_gone(tmp_path, learned):
    with Observations(learned, retention_days=1) as observations:
        observations.forget(tenant=HASH)
        observations.forget(tenant="default")
    learned_of = "0 captured requests and their answers, and 1 template(s) learned from them"
    assert learned_of in forget(tmp_path, TASK).stdout
    assert learned_of in forget(tmp_path, "--tenant", HASH).stdout
    assert known(learned) == {"summarise-mail-colleague-one-sentence"}


def test_an_unknown_name_is_told_the_names_there_are(tmp_path, learned):
    done = forget(tmp_path, "toxic")
    assert done.exit_code == 2
    assert f"known: {TASK}, declared, mood, summarise-mail-colleague-one-sentence, write-title-article" in done.stderr
    assert len(known(learned)) == 3


def test_a_task_that_is_no_longer_configured_is_known_by_what_it_learned(tmp_path):
    with Store(tmp_path / "store") as store:
        registry = Registry(store)
        registry.declare({"gone": (Task("gone", "Tell the mood."), [])}, "config")
        registry.add_examples("gone", [Example("secret 7", "yes")])
        registry.declare({}, "config")
    assert forget(tmp_path, "gone").exit_code == 0
    assert "secret 7" not in decoded(tmp_path / "store")


def test_it_is_known_by_the_name_that_a_person_gave_it_and_by_its_templates_id(tmp_path, learned):
    with Store(learned) as store:
        Catalogue(store).rename(TASK, "moderation")
        (id_,) = Catalogue(store).tasks()["summarise-mail-colleague-one-sentence"].templates
    assert "20 captured requests" in forget(tmp_path, "moderation").stdout
    assert "20 captured requests" in forget(tmp_path, id_).stdout
    assert known(learned) == {"write-title-article"}
