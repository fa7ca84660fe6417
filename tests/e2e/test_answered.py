"""What a client is answered, in good weather and in bad: all by one server."""

import asyncio
import json
from typing import Any

import openai
import pytest
from yarl import URL

from tests.e2e.conftest import World
from tests.e2e.test_serve import CALL, PROMPT, SENTIMENT, client, until_compiled

pytestmark = pytest.mark.asyncio(loop_scope="module")


REFUSED = {**SENTIMENT, "description": "Say whether what they did is good or bad."}
MESSAGES = CALL["messages"]


@pytest.fixture(scope="module")
def shared_settings() -> dict[str, Any]:
    return {"tasks": {"sentiment": {**SENTIMENT, "incumbent": "fake-mini"}, "refused": REFUSED}}


async def test_a_request_for_an_ordinary_model_reaches_the_upstream_byte_for_byte(world: World) -> None:
    server, fake = world
    raw = b'{ "model":"fake-strong",  "messages":[{"role":"user","content":"h\\u00e9llo"}] , "unknown": 1.50 }'
    async with server.http.post(
        URL(f"{server.url}/v1/chat/completions?a=%2F", encoded=True),
        data=raw,
        headers={"Content-Type": "application/json"},
    ) as answer:
        assert answer.status == 200
        assert answer.headers["X-Cuecard-Route"] == "original"
        assert float(answer.headers["X-Cuecard-Cost-Usd"]) > 0
    call = fake.calls_to("fake-strong")[0]
    assert call.body == raw
    assert call.path == "/v1/chat/completions?a=%2F"
    sent = {name.lower(): value for name, value in call.headers}
    assert sent[b"authorization"] == b"Bearer sk-ours"
    assert not [name for name in sent if name.startswith(b"x-cuecard")]


async def test_other_paths_pass_through_with_their_query_and_body(world: World) -> None:
    server, _ = world
    async with server.http.post(f"{server.url}/v1/embeddings", json={"model": "e", "input": "x"}) as answer:
        assert answer.status == 200
    async with server.http.delete(URL(f"{server.url}/v1/files/a%2Fb?x=1%202", encoded=True)) as answer:
        echoed = await answer.json()
    assert echoed["method"] == "DELETE"
    assert echoed["path"].startswith("/v1/files/a%2Fb")


async def test_an_unknown_task_and_broken_json_are_answered_in_openais_shape(world: World) -> None:
    server, _ = world
    with pytest.raises(openai.NotFoundError, match="task:nope"):
        await client(server).chat.completions.create(model="task:nope", messages=MESSAGES)
    async with server.http.post(
        f"{server.url}/v1/chat/completions", data=b'{"model": ', headers={"Content-Type": "application/json"}
    ) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_a_task_declared_over_admin_is_a_model_at_once(world: World) -> None:
    server, fake = world
    fake.answers["fake-strong"] = PROMPT
    async with server.http.post(
        f"{server.url}/admin/tasks", json={"name": "joke", "description": "Tell a joke."}
    ) as answer:
        assert answer.status == 201
    sdk = client(server)
    async with asyncio.timeout(5):
        while "task:joke" not in [m.id async for m in sdk.models.list()]:
            await asyncio.sleep(0.02)
    answer = await sdk.chat.completions.create(model="task:joke", messages=[{"role": "user", "content": "cats"}])
    assert answer.choices[0].message.content


async def test_when_the_meta_model_refuses_the_description_is_the_prompt_and_nobody_fails(
    world: World,
) -> None:
    server, fake = world
    fake.answers["fake-strong"] = "I'm sorry, I can't help with that."
    fake.answers["fake-nano"] = "good"
    for _ in range(3):
        async with await server.chat({**CALL, "model": "task:refused"}) as answer:
            assert answer.status == 200
            assert answer.headers["X-Cuecard-Route"] == "original"
    assert len(fake.calls_to("fake-strong")) == 1
    sent = json.loads(fake.calls_to("fake-nano")[0].body)
    assert sent["messages"][0] == {"role": "system", "content": REFUSED["description"]}


async def test_a_breach_of_contract_is_answered_by_the_incumbent(world: World) -> None:
    server, fake = world
    fake.answers["fake-strong"] = PROMPT
    fake.answers["fake-nano"] = "well, it is good"
    fake.answers["fake-mini"] = "good"
    await until_compiled(server, CALL)
    for stream in (False, True):
        async with await server.chat({**CALL, "stream": stream}) as answer:
            text = await answer.text()
            assert answer.headers["X-Cuecard-Route"] == "fallback"
            assert answer.headers["X-Cuecard-Model"] == "fake-mini"
            assert "good" in text
