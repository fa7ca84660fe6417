"""What /admin shows and does of recognised tasks: the same as the commands, in OpenAI's shape where it is wrong."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.observation import FOLDER, Observations
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.store import Store
from proxy.cli import main
from tests.learned import SUMMARY, TOXIC, learn, mails, request, some
from tests.proven import compiled, proven, recognised
from tests.proxy.capturing import decoded
from tests.proxy.gateway import Proxy

ONE, TWO = "decide-whether-comment-toxic", "summarise-mail-colleague-one-sentence"
DECLARED = {"description": "Never called."}


@pytest.fixture
async def proxy(run, tmp_path: Path) -> Proxy:
    learn(tmp_path / "store", *some(TOXIC), *some(SUMMARY))
    return await run(tasks={"declared": DECLARED})


async def ask(proxy: Proxy, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    url = f"{proxy.url}/admin/tasks{path}"
    async with proxy.http.request(method, url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


def known(proxy: Proxy) -> dict[str, Any]:
    return Catalogue(proxy.store).tasks()


async def test_the_list_is_that_of_the_command(proxy, tmp_path, monkeypatch):
    status, found = await ask(proxy, "GET", "")
    assert status == 200
    assert [one["task"]["name"] for one in found["tasks"]] == ["declared"]
    assert {one["name"] for one in found["recognised"]} == {ONE, TWO}
    (tmp_path / "cuecard.yaml").write_text(f"upstreams: {{x: {{base_url: '{proxy.fake.url}', api_key: none}}}}\n")
    command = ["tasks", "--json", "--config", str(tmp_path / "cuecard.yaml")]
    monkeypatch.setattr("proxy.tasks.load_settings", lambda _: proxy.settings)
    printed = json.loads((await asyncio.to_thread(CliRunner().invoke, main, command)).stdout)
    assert (printed["declared"], printed["recognised"]) == (found["tasks"], found["recognised"])


async def test_one_task_is_shown_whoever_made_it_known(proxy):
    status, found = await ask(proxy, "GET", f"/{ONE}")
    assert (status, found["name"], found["stage"]) == (200, ONE, "observing")
    assert "comment is toxic" in found["templates"][0]["text"]
    status, found = await ask(proxy, "GET", "/declared")
    assert (status, found["task"]["description"]) == (200, "Never called.")


async def test_a_person_renames_ignores_and_merges(proxy):
    assert await ask(proxy, "POST", f"/{ONE}/rename", {"to": "moderation"}) == (200, {"name": "moderation"})
    assert set(known(proxy)) == {"moderation", TWO}
    assert await ask(proxy, "POST", f"/{TWO}/ignore") == (200, {"name": TWO, "ignored": True})
    assert known(proxy)[TWO].ignored
    assert await ask(proxy, "POST", f"/{TWO}/unignore") == (200, {"name": TWO, "ignored": False})
    assert not known(proxy)[TWO].ignored
    status, merged = await ask(proxy, "POST", "/merge", {"names": ["moderation", TWO]})
    assert (status, merged["name"], len(merged["templates"])) == (200, "moderation", 2)
    assert set(known(proxy)) == {"moderation"}


async def test_the_next_requests_go_by_it(proxy):
    body = request(TOXIC, next(mails()))
    async with await proxy.chat(body) as answer:
        assert answer.headers["X-Cuecard-Task"] == ONE
    await ask(proxy, "POST", f"/{ONE}/ignore")
    await ask(proxy, "POST", f"/{ONE}/rename", {"to": "moderation"})
    async with asyncio.timeout(5):
        while (answer := await proxy.chat(body)).headers["X-Cuecard-Task"] != "moderation":
            await asyncio.sleep(0.02)
    await proxy.metered("original_total", 1, reason="ignored")


async def test_a_recognised_task_is_forgotten_a_declared_one_is_no_longer_declared(proxy, tmp_path):
    assert await ask(proxy, "DELETE", f"/{ONE}") == (200, {"forgotten": ONE, "requests": 20, "templates": 1})
    for folder in (tmp_path / "store", tmp_path / "store" / FOLDER):
        assert "comment is toxic" not in decoded(folder)
    with Observations(tmp_path / "store", retention_days=14) as observations:
        assert len(list(observations.since())) == 20
    assert set(known(proxy)) == {TWO}
    assert await ask(proxy, "DELETE", "/declared") == (200, {"removed": "declared"})
    assert (await ask(proxy, "DELETE", f"/{ONE}"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "param"),
    [
        ("GET", "/nope", None, 404, "task_not_found", None),
        ("DELETE", "/nope", None, 404, "task_not_found", None),
        ("POST", "/nope/rename", {"to": "other"}, 404, "task_not_found", None),
        ("POST", "/nope/ignore", None, 404, "task_not_found", None),
        ("POST", "/nope/unignore", None, 404, "task_not_found", None),
        ("POST", "/merge", {"names": [ONE, "nope"]}, 404, "task_not_found", None),
        ("POST", f"/{ONE}/rename", {"to": TWO}, 400, None, "to"),
        ("POST", f"/{ONE}/rename", {"to": "declared"}, 400, None, "to"),
        ("POST", f"/{ONE}/rename", {"to": "No Name"}, 400, None, "to"),
        ("POST", f"/{ONE}/rename", {"to": 7}, 400, None, "to"),
        ("POST", f"/{ONE}/rename", {}, 400, None, "to"),
        ("POST", f"/{ONE}/rename", [], 400, "invalid_json", None),
        ("POST", "/merge", {"names": []}, 400, None, "names"),
        ("POST", "/merge", {"names": ONE}, 400, None, "names"),
        ("POST", "/merge", {"names": [ONE, 7]}, 400, None, "names"),
        ("POST", "/merge", "x", 400, "invalid_json", None),
    ],
)
async def test_what_is_wrong_is_said_in_openais_shape_and_changes_nothing(
    proxy, method, path, body, status, code, param
):
    before = known(proxy)
    found, error = await ask(proxy, method, path, body)
    assert found == status
    assert error["error"].keys() == {"message", "type", "param", "code"}
    assert (error["error"]["code"], error["error"]["param"]) == (code, param)
    assert known(proxy) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", f"/{ONE}"), ("DELETE", f"/{ONE}"), ("POST", "/merge")]
    + [("POST", f"/{ONE}/{verb}") for verb in ("rename", "ignore", "unignore")],
)
async def test_all_of_it_needs_the_token_where_one_is_set(run, tmp_path, method, path):
    learn(tmp_path / "store", *some(TOXIC))
    proxy = await run(auth={"admin_token": "admin-token-1"})
    before = known(proxy)
    status, error = await ask(proxy, method, path, {"to": "other", "names": [ONE]})
    assert (status, error["error"]["code"]) == (403, "forbidden")
    assert known(proxy) == before
    token = {"Authorization": "Bearer admin-token-1"}
    assert (await ask(proxy, method, path, {"to": "other", "names": [ONE]}, **token))[0] == 200


async def test_requests_are_answered_while_the_store_is_read(proxy, monkeypatch):
    """Reading it takes a while here; the event loop has none of it."""
    reading, go_on = asyncio.Event(), asyncio.Event()
    loop, read = asyncio.get_running_loop(), Catalogue.templates

    def slow(catalogue: Catalogue) -> Any:
        loop.call_soon_threadsafe(reading.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)
        return read(catalogue)

    monkeypatch.setattr("proxy.seen.Catalogue.templates", slow)
    asked = asyncio.create_task(ask(proxy, "GET", ""))
    async with asyncio.timeout(10):
        await reading.wait()
        async with await proxy.chat(request(TOXIC, "x")) as answer:
            assert answer.status == 200
        go_on.set()
        assert (await asked)[0] == 200


async def test_a_store_that_cannot_be_used_is_said_so(proxy, monkeypatch):
    def broken(_: Any) -> Any:
        with Store(Path("/dev/null")) as store:
            return store

    monkeypatch.setattr("proxy.operator.Catalogue", broken)
    status, error = await ask(proxy, "POST", f"/{ONE}/ignore")
    assert (status, error["error"]["code"]) == (503, "store_unavailable")


# How far a card may serve


@pytest.fixture
def ramping(proxy) -> None:
    proven(proxy.store, compiled(proxy.store, recognised(ONE)), 300, mode="manual")


async def test_a_card_is_approved_paused_resumed_and_rolled_back(proxy, ramping):
    status, found = await ask(proxy, "POST", f"/{ONE}/approve", {"max_traffic": 0.1, "why": "looks good"})
    assert (status, found["stage"], found["traffic"], found["card"]) == (200, "ramping", 0.1, f"{ONE}@1")
    status, found = await ask(proxy, "POST", f"/{ONE}/pause", {"why": "a complaint"})
    assert (status, found["stage"], found["traffic"], found["reason"]) == (200, "paused", 0.0, "a complaint")
    status, found = await ask(proxy, "POST", f"/{ONE}/resume")
    assert (status, found["stage"]) == (200, "shadowing")
    status, found = await ask(proxy, "POST", f"/{ONE}/rollback")
    assert (status, found["stage"], found["card"]) == (200, "kept", None)
    async with proxy.http.get(f"{proxy.url}/admin/audit") as answer:
        entries = (await answer.json())["audit"]
    assert [(e["who"], e["act"], e["why"]) for e in entries] == [
        ("admin", "approve", "looks good"),
        ("admin", "pause", "a complaint"),
        ("admin", "resume", ""),
        ("admin", "rollback", ""),
    ]


@pytest.mark.parametrize(
    ("body", "most"),
    [
        (None, 0.98),
        ({}, 0.98),
        ({"max_traffic": "10%"}, 0.1),
        ({"max_traffic": 1}, 0.98),
        ({"max_traffic": "0.5"}, 0.5),
    ],
)
async def test_a_share_is_a_number_or_percent_and_may_be_left_out(proxy, ramping, body, most):
    assert (await ask(proxy, "POST", f"/{ONE}/approve", body))[1]["traffic"] == pytest.approx(most)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"max_traffic": 0}, 400, "max_traffic"),
        ({"max_traffic": -0.1}, 400, "max_traffic"),
        ({"max_traffic": 10}, 400, "max_traffic"),
        ({"max_traffic": True}, 400, "max_traffic"),
        ({"max_traffic": None}, 400, "max_traffic"),
        ({"max_traffic": "1"}, 400, "max_traffic"),
        ({"max_traffic": [0.1]}, 400, "max_traffic"),
        ({"why": 7}, 400, "why"),
        ([], 400, None),
    ],
)
async def test_what_is_wrong_with_an_approval_approves_nothing(proxy, ramping, body, status, param):
    found, error = await ask(proxy, "POST", f"/{ONE}/approve", body)
    assert (found, error["error"]["param"]) == (status, param)
    assert Registry(proxy.store).state(ONE).traffic == 0.0


@pytest.mark.parametrize("act", ["approve", "pause", "resume", "rollback"])
async def test_a_task_without_a_card_is_a_conflict_an_unknown_one_is_not_found(proxy, act):
    assert (await ask(proxy, "POST", f"/nope/{act}"))[0] == 404
    Registry(proxy.store).adopt(recognised(ONE), [])
    status, error = await ask(proxy, "POST", f"/{ONE}/{act}")
    assert (status, error["error"]["code"]) == (409, "not_now")
    assert "has no card: it is observing" in error["error"]["message"]


@pytest.mark.parametrize("act", ["approve", "pause", "resume", "rollback"])
async def test_ruling_needs_the_token_where_one_is_set(run, act):
    proxy = await run(auth={"admin_token": "admin-token-1"})
    compiled(proxy.store, recognised(ONE))
    before = Registry(proxy.store).state(ONE)
    assert (await ask(proxy, "POST", f"/{ONE}/{act}"))[0] == 403
    assert Registry(proxy.store).state(ONE) == before
    async with proxy.http.get(f"{proxy.url}/admin/audit") as answer:
        assert answer.status == 403


async def test_an_adopted_task_is_listed_and_shown_with_its_proof(proxy, ramping):
    found = {one["name"]: one for one in (await ask(proxy, "GET", ""))[1]["recognised"]}
    assert (found[ONE]["stage"], found[ONE]["adopted"][0]["pairs"]) == ("shadowing", 300)
    status, shown = await ask(proxy, "GET", f"/{ONE}")
    assert (status, shown["proof"]["pairs"], shown["templates"]) == (200, 300, found[ONE]["templates"])


async def test_a_variant_of_enumerated_values_is_ruled_by_its_own_name(proxy):
    proven(proxy.store, compiled(proxy.store, recognised(f"{ONE}~1a2b3c4d")), 300, mode="manual")
    status, error = await ask(proxy, "POST", f"/{ONE}/approve")
    assert (status, f"say which one: {ONE}~1a2b3c4d" in error["error"]["message"]) == (404, True)
    assert (await ask(proxy, "POST", f"/{ONE}~1a2b3c4d/approve"))[0] == 200
    assert (await ask(proxy, "GET", f"/{ONE}~1a2b3c4d"))[1]["standing"]["stage"] == "live"


async def test_forgetting_a_task_forgets_its_card(proxy, ramping):
    assert (await ask(proxy, "DELETE", f"/{ONE}"))[0] == 200
    assert Registry(proxy.store).adopted() == {}
    assert proxy.store.keys("card:") == []
