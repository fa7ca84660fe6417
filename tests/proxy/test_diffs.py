"""`cuecard diffs` and GET /admin/tasks/{name}/diffs: the worst pairs of a proof, with what they were of."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from compiler.diffs import Diff, Diffs
from compiler.observation import Observations
from compiler.proof import Proofs
from compiler.registry import Registry
from compiler.store import Store
from compiler.task import Task
from proxy.cli import main
from tests.conftest import PRICES
from tests.learned import TOXIC, learn, some
from tests.proven import compiled, proven, recognised
from tests.proxy.gateway import Proxy

NAME = "decide-whether-comment-toxic"


@pytest.fixture
def store(tmp_path: Path):
    learn(tmp_path / "store", *some(TOXIC, answer='{"toxic": true, "sure": 9}'))
    with Store(tmp_path / "store") as store:
        proven(store, compiled(store, recognised(NAME)), 50, worse=2)
        yield store


@pytest.fixture
def positions(store) -> list[int]:
    """Of what is recorded; the first three were worse, by half, and not."""
    with Observations(store.folder, retention_days=14) as observations:
        found = [position for position, _ in observations.since()]
    Diffs(store).add(
        NAME,
        [
            Diff(found[0], 1_700_000_000.0, 1.0, "different", "", "", '{"toxic": false, "sure": 9}'),
            Diff(found[1], 1_700_000_100.0, 0.5, "judged", "", "B is wrong.", '{"toxic": false, "sure": 8}'),
            Diff(found[2], 1_700_000_200.0, 0.0, "fallback", "empty", "", ""),
        ],
    )
    return found


@pytest.fixture
def cuecard(tmp_path: Path):
    file = tmp_path / "cuecard.yaml"
    settings: dict[str, Any] = {"upstreams": {"x": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}}}
    file.write_text(yaml.safe_dump({**settings, "prices": PRICES, "store": {"url": "file:store"}}))

    def cuecard(*words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(main, ["diffs", *words, "--config", str(file)])
        assert done.exit_code == code, done.output
        return done

    return cuecard


def told(cuecard, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cuecard(NAME, "--json", *words).stdout)
    return found


def test_the_worst_come_first_with_what_was_asked_and_both_answers(cuecard, store, positions):
    found = told(cuecard)
    assert [(one["outcome"], one["d"]) for one in found["diffs"]] == [
        ("different", 1.0),
        ("judged", 0.5),
        ("fallback", 0.0),
    ]
    first, second, third = found["diffs"]
    assert first["input"].startswith("Decide whether the comment is toxic.")
    assert (first["current"], first["candidate"]) == ('{"toxic": true, "sure": 9}', '{"toxic": false, "sure": 9}')
    assert (second["judge"], second["time"], third["reason"]) == ("B is wrong.", 1_700_000_100.0, "empty")
    assert (found["task"], found["card"], found["pairs"], found["kept"]) == (NAME, f"{NAME}@1", 50, 3)
    assert found["outcomes"] == {"same": 48, "different": 2}
    assert found["models"] == {"current": "fake-strong", "card": "fake-nano"}


def test_only_so_many_are_shown(cuecard, store, positions):
    assert [one["d"] for one in told(cuecard, "--worst", "2")["diffs"]] == [1.0, 0.5]


def test_a_person_reads_them_at_a_terminal(cuecard, store, positions):
    lines = [line.rstrip() for line in cuecard(NAME).stdout.splitlines()]
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "1  different, d = +1.00, 2023-11-14 22:13 UTC" in text
    assert "   field          /toxic\n   current model  true\n   card           false" in text
    assert "judge          B is wrong. (A: current model, B: card)" in text
    assert "3  fallback (empty), d = +0.00" in text
    assert "   card           (nothing)" in text
    assert f"{NAME}@1: 50 pairs (same 48, different 2); the 3 worst of 3 kept." in " ".join(text.split())


def test_what_retention_took_is_no_longer_kept_and_the_rest_is(cuecard, store, positions):
    with Observations(store.folder, retention_days=14) as observations:
        observations._delete([row.key for row in observations._rows() if int(row.key.split(":")[1]) == positions[0]])
    first, second, _ = told(cuecard)["diffs"]
    assert (first["input"], first["current"], first["candidate"]) == (None, None, '{"toxic": false, "sure": 9}')
    assert second["input"]
    assert "(no longer kept)" in cuecard(NAME).stdout


def test_before_any_proof_it_says_so(cuecard, store):
    Registry(store).declare({"mood": (Task("mood", "Tell."), [])}, "config")
    found = json.loads(cuecard("mood", "--json").stdout)
    assert (found["card"], found["pairs"], found["diffs"]) == (None, 0, [])
    assert "no proof was begun yet; `cuecard try mood`" in cuecard("mood").stdout


def test_a_proof_without_a_difference_says_so(cuecard, store):
    assert "no difference is kept" in " ".join(cuecard(NAME).stdout.split())


@pytest.mark.parametrize("worst", ["0", "51", "-1", "x"])
def test_what_is_no_number_of_them_is_a_mistake(cuecard, store, worst):
    assert "Invalid value for '--worst'" in cuecard(NAME, f"--worst={worst}", code=2).stderr


def test_an_unknown_task_is_told_the_nearest(cuecard, store):
    done = cuecard("decide-wether-comment-toxic", code=2)
    assert f"did you mean '{NAME}'?" in done.stderr and done.stdout == ""
    assert "did you mean" not in cuecard("xyz", code=2).stderr


def test_of_a_task_whose_values_are_tasks_it_says_which_one(cuecard, store):
    compiled(store, recognised("other~1a2b3c4d"))
    assert "say which one: other~1a2b3c4d" in cuecard("other", code=2).stderr


# Over HTTP


async def ask(proxy: Proxy, path: str, **headers: str) -> tuple[int, Any]:
    async with proxy.http.get(f"{proxy.url}/admin/tasks{path}", headers=headers) as answer:
        return answer.status, await answer.json()


async def test_over_http_it_is_the_same(run, cuecard, store, positions):
    proxy = await run()
    assert await ask(proxy, f"/{NAME}/diffs?worst=2") == (200, await asyncio.to_thread(told, cuecard, "--worst", "2"))
    assert len((await ask(proxy, f"/{NAME}/diffs"))[1]["diffs"]) == 3


@pytest.mark.parametrize(
    ("path", "status", "code", "param"),
    [("/nope/diffs", 404, "task_not_found", None)]
    + [(f"/{NAME}/diffs?worst={worst}", 400, None, "worst") for worst in ("0", "51", "x", "-1", "²", "", "9" * 5_000)],
)
async def test_over_http_what_is_wrong_is_said_in_openais_shape(run, store, path, status, code, param):
    proxy = await run()
    found, error = await ask(proxy, path)
    assert (found, error["error"]["code"], error["error"]["param"]) == (status, code, param)


async def test_over_http_it_needs_the_token_where_one_is_set(run, store, positions):
    proxy = await run(auth={"admin_token": "admin-token-1"})
    assert (await ask(proxy, f"/{NAME}/diffs"))[0] == 403
    assert (await ask(proxy, f"/{NAME}/diffs", Authorization="Bearer admin-token-1"))[0] == 200


def test_reading_them_changes_nothing(cuecard, store, positions):
    before = Proofs(store).get(NAME).to_json()
    cuecard(NAME)
    assert Proofs(store).get(NAME).to_json() == before
