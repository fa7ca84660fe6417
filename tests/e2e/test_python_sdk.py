"""OpenAI's Python SDK, only its base URL changed."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Literal, NamedTuple

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.e2e.conftest import Server, serving, settings_for
from tests.e2e.test_serve import PROMPT, SENTIMENT
from tests.fake_upstream import FakeUpstream, Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAY: Any = [{"role": "user", "content": "Weather in Paris?"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]
CALLED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_750_000_000,
    "model": "fake-mini",
    "status": "completed",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Sunny.", "annotations": []}],
        }
    ],
    "usage": {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7,
    },
}


class Report(BaseModel):
    city: str
    sky: Literal["clear", "cloudy"]
    degrees: float


class World(NamedTuple):
    server: Server
    fake: FakeUpstream
    sdk: AsyncOpenAI


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("sdk")
    async with FakeUpstream() as fake:
        fake.answers.update({"fake-strong": PROMPT, "fake-nano": "good"})
        async with serving(folder, settings_for(fake, folder, tasks={"sentiment": SENTIMENT})) as server:
            sdk = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-client", max_retries=0)
            server.opened.append(sdk)
            yield World(server, fake, sdk)


@pytest.fixture
def world(running: World) -> World:
    """The same for every test, but for what the upstream has heard."""
    running.fake.calls.clear()
    return running


def events(*found: dict[str, Any], done: bool = False) -> Fault:
    """An answer as a stream of them."""
    lines = [f"event: {e['type']}\n" if "type" in e else "" for e in found]
    lines = [f"{line}data: {json.dumps(e)}\n\n" for line, e in zip(lines, found, strict=True)]
    return Fault.respond(200, {"Content-Type": "text/event-stream"}, "".join(lines) + "data: [DONE]\n\n" * done)


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake-mini", "choices": [choice]}


async def test_it_chats_and_shows_who_answered(world: World) -> None:
    world.fake.queue("fake-mini", "Sunny.")
    raw = await world.sdk.chat.completions.with_raw_response.create(model="fake-mini", messages=SAY)
    assert raw.parse().choices[0].message.content == "Sunny."
    assert (raw.headers["x-cuecard-route"], raw.headers["x-cuecard-model"]) == ("original", "fake-mini")
    assert raw.http_response.reason_phrase == "OK"


async def test_it_streams_with_usage(world: World) -> None:
    world.fake.queue("fake-mini", "Sunny, all day long.")
    stream = await world.sdk.chat.completions.create(
        model="fake-mini", messages=SAY, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Sunny, all day long."
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == world.fake.calls[-1].output


async def test_the_client_that_blocks_works_as_well(world: World) -> None:
    def talk() -> tuple[str | None, str]:
        with OpenAI(base_url=f"{world.server.url}/v1", api_key="sk-client", max_retries=0) as sdk:
            whole = sdk.chat.completions.create(model="fake-mini", messages=SAY)
            with sdk.chat.completions.stream(model="fake-mini", messages=SAY) as stream:
                return whole.choices[0].message.content, stream.get_final_completion().choices[0].message.content or ""

    world.fake.queue("fake-mini", "Sunny.", "Cloudy.")
    assert await asyncio.to_thread(talk) == ("Sunny.", "Cloudy.")


async def test_a_tool_is_called_and_its_result_sent_back(world: World) -> None:
    world.fake.queue("fake-mini", {"content": None, "tool_calls": [CALLED]}, "Sunny in Paris.")
    asked = await world.sdk.chat.completions.create(model="fake-mini", messages=SAY, tools=TOOLS, tool_choice="auto")
    message = asked.choices[0].message
    assert message.tool_calls
    call = message.tool_calls[0]
    assert (asked.choices[0].finish_reason, call.type, call.id) == ("tool_calls", "function", "call_1")
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    told: Any = [*SAY, message, {"role": "tool", "tool_call_id": call.id, "content": "clear"}]
    answer = await world.sdk.chat.completions.create(model="fake-mini", messages=told, tools=TOOLS)
    assert answer.choices[0].message.content == "Sunny in Paris."
    assert [m["role"] for m in world.fake.calls[-1].json["messages"]] == ["user", "assistant", "tool"]
    assert world.fake.calls[-1].json["messages"][1]["tool_calls"] == [CALLED]


async def test_two_tool_calls_stream_in_pieces(world: World) -> None:
    def piece(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
        begun = {"id": f"call_{index}", "type": "function"} if name else {}
        function = {"arguments": arguments, **({"name": name} if name else {})}
        return chunk({"tool_calls": [{"index": index, **begun, "function": function}]})

    world.fake.queue(
        "fake-mini",
        events(
            chunk({"role": "assistant", "content": None}),
            *(piece(0, "", "weather"), piece(0, '{"ci'), piece(0, 'ty": "Paris"}')),
            *(piece(1, "", "weather"), piece(1, '{"city": "Łódź"}')),
            chunk({}, "tool_calls"),
            done=True,
        ),
    )
    async with world.sdk.chat.completions.stream(model="fake-mini", messages=SAY, tools=TOOLS) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert kinds.count("tool_calls.function.arguments.done") == 2
    calls = final.choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Łódź"]


async def test_structured_output_is_parsed(world: World) -> None:
    world.fake.queue("fake-mini", '{"city": "Paris", "sky": "clear", "degrees": 21.5}')
    done = await world.sdk.chat.completions.parse(model="fake-mini", messages=SAY, response_format=Report)
    assert done.choices[0].message.parsed == Report(city="Paris", sky="clear", degrees=21.5)
    sent = world.fake.calls[-1].json["response_format"]
    assert (sent["type"], sent["json_schema"]["strict"]) == ("json_schema", True)


async def test_structured_output_streams(world: World) -> None:
    world.fake.queue("fake-mini", '{"city": "Paris", "sky": "cloudy", "degrees": -3}')
    async with world.sdk.chat.completions.stream(model="fake-mini", messages=SAY, response_format=Report) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == Report(city="Paris", sky="cloudy", degrees=-3)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_task_is_a_model(world: World, stream: bool) -> None:
    raw = await world.sdk.chat.completions.with_raw_response.create(
        model="task:sentiment", messages=[{"role": "user", "content": "I love it"}], stream=stream
    )
    assert raw.headers["x-cuecard-card"] == "sentiment@1"
    answer: Any = raw.parse()
    if stream:
        assert "".join([c.choices[0].delta.content or "" async for c in answer if c.choices]) == "good"
    else:
        assert (answer.model, answer.choices[0].message.content) == ("fake-nano", "good")


async def test_embeddings_are_numbers(world: World) -> None:
    """The SDK asks for base64 and unpacks it."""
    found = await world.sdk.embeddings.create(model="fake-mini", input=["one", "two"])
    plain = await world.sdk.embeddings.create(model="fake-mini", input=["one", "two"], encoding_format="float")
    assert [row.embedding for row in found.data] == [pytest.approx(row.embedding) for row in plain.data]
    assert world.fake.calls[0].json["encoding_format"] == "base64"


async def test_a_file_goes_up_and_its_content_comes_down(world: World) -> None:
    data = bytes(range(256)) * 2_000
    told = {"id": "file-1", "object": "file", "bytes": len(data), "created_at": 1, "filename": "a b.bin"}
    world.fake.answers["/v1/files"] = {**told, "purpose": "batch", "status": "processed"}
    world.fake.answers["/v1/files/file-1/content"] = Fault.respond(200, {"Content-Type": "a/b"}, data)
    uploaded = await world.sdk.files.create(file=("a b.bin", data), purpose="batch")
    assert (uploaded.id, uploaded.bytes) == ("file-1", len(data))
    sent = world.fake.calls[-1]
    boundary = (sent.header("content-type") or "").partition("boundary=")[2].encode()
    assert (sent.body.count(b"--" + boundary), sent.body.count(data)) == (3, 1)
    assert (await world.sdk.files.content("file-1")).content == data
    async with world.sdk.files.with_streaming_response.content("file-1") as streamed:
        assert b"".join([piece async for piece in streamed.iter_bytes()]) == data


async def test_the_models_are_the_upstreams_and_the_tasks(world: World) -> None:
    listed = [model.id async for model in world.sdk.models.list()]
    assert listed == [*world.fake.models, "task:sentiment"]
    assert (await world.sdk.models.retrieve("task:sentiment")).owned_by == "cuecard"


async def test_responses_pass_through(world: World) -> None:
    world.fake.queue("/v1/responses", RESPONSE)
    answer = await world.sdk.responses.create(model="fake-mini", input="Weather?", store=False)
    assert (answer.output_text, answer.usage and answer.usage.total_tokens) == ("Sunny.", 7)
    assert world.fake.calls[-1].json == {"model": "fake-mini", "input": "Weather?", "store": False}


async def test_responses_stream_through(world: World) -> None:
    delta = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    world.fake.queue(
        "/v1/responses",
        events(
            {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "status": "in_progress"}},
            {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Sun", **delta},
            {"type": "response.output_text.delta", "sequence_number": 2, "delta": "ny.", **delta},
            {"type": "response.completed", "sequence_number": 3, "response": RESPONSE},
        ),
    )
    text = ""
    async for event in await world.sdk.responses.create(model="fake-mini", input="Weather?", stream=True):
        text += event.delta if event.type == "response.output_text.delta" else ""
        last = event
    assert text == "Sunny."
    assert last.type == "response.completed"


async def test_realtime_talks_both_ways(world: World) -> None:
    """The fake upstream says back what it hears."""
    async with world.sdk.realtime.connect(model="fake-realtime") as connection:
        for text in ("Hello.", "x" * 200_000):
            said: Any = {"type": "conversation.item.create", "item": {"type": "message", "content": text}}
            await connection.send(said)
            assert json.loads(await connection.recv_bytes()) == said
    await world.fake.wait_until(lambda: world.fake.calls[-1].done)
    call = world.fake.calls[-1]
    assert (call.path, call.header("authorization")) == ("/v1/realtime?model=fake-realtime", "Bearer sk-ours")


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_errors_are_its_own(world: World, status: int, raised: type[openai.APIStatusError]) -> None:
    for path in ("fake-mini", "/v1/embeddings"):
        world.fake.queue(path, Fault.respond(status, headers={"Retry-After": "7", "x-request-id": "req_7"}))
    with pytest.raises(raised) as chat:
        await world.sdk.chat.completions.create(model="fake-mini", messages=SAY)
    with pytest.raises(raised) as other:
        await world.sdk.embeddings.create(model="fake-mini", input="x")
    for caught in (chat, other):
        assert (caught.value.request_id, caught.value.response.headers["retry-after"]) == ("req_7", "7")
        assert caught.value.body == {"message": f"fake {status}", "type": "fake_error", "param": None, "code": None}


async def test_it_tries_again_as_the_upstream_asks(world: World) -> None:
    world.fake.queue("fake-mini", Fault.respond(429, headers={"Retry-After-Ms": "1"}), "Sunny.")
    answer = await world.sdk.with_options(max_retries=1).chat.completions.create(model="fake-mini", messages=SAY)
    assert answer.choices[0].message.content == "Sunny."
    assert [call.header("x-stainless-retry-count") for call in world.fake.calls] == ["0", "1"]
