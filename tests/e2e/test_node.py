"""The Node SDK, only its base URL changed: one run of `node_app.mjs`, whose story these tests read."""

import asyncio
import hashlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.conftest import serving, settings_for
from tests.e2e.test_python_sdk import CALLED, RESPONSE, chunk, events
from tests.e2e.test_serve import PROMPT, SENTIMENT
from tests.fake_upstream import FakeUpstream, Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")

PACKAGES = ("openai@7.57.0", "ws@8.21.0", "zod@4.6.7")
FILE = b"0123456789\n" * 45_454 + b"012345"
PARIS = {"city": "Paris"}
MODULES = Path(sys.prefix) / "node"  # kept: the install takes longer than the tests


class Story(NamedTuple):
    said: dict[str, Any]
    fake: FakeUpstream


async def _run(*command: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
    return out.decode()


async def _installed() -> Path:
    mark = MODULES / "packages.json"
    wanted = json.dumps(PACKAGES)
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(MODULES, ignore_errors=True)
        MODULES.mkdir()
        (MODULES / "package.json").write_text('{"type": "module"}')
        await _run("npm", "install", "--no-audit", "--no-fund", "--no-save", *PACKAGES, folder=MODULES)
        mark.write_text(wanted)
    return MODULES / "node_modules"


def _answers(fake: FakeUpstream) -> None:
    fake.answers.update({"fake-strong": PROMPT, "fake-nano": "good", "fake-mini": "fine, thanks"})
    fake.answers["calls-tools"] = {"content": None, "tool_calls": [CALLED]}
    begun = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": piece}} for piece in ('{"ci', 'ty": "Paris"}')]
    deltas = [chunk({"role": "assistant", "tool_calls": [call]}) for call in (begun, *pieces)]
    fake.answers["streams-tools"] = events(*deltas, chunk({}, "tool_calls"), done=True)
    fake.answers["in-json"] = '{"city": "Paris", "degrees": 21.5}'
    fake.answers["/v1/files"] = {"id": "file-1", "object": "file", "filename": "a b.jsonl", "purpose": "batch"}
    fake.answers["/v1/files/file-1/content"] = Fault.respond(200, {"Content-Type": "a/b"}, FILE)
    fake.answers["/v1/responses"] = lambda asked: (
        events({"type": "response.created"}, {"type": "response.completed", "response": RESPONSE})
        if asked.get("stream")
        else RESPONSE
    )
    for status in (401, 429, 500):
        fake.answers[f"fails-{status}"] = Fault.respond(status, headers={"Retry-After": "7"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    if not shutil.which("npm"):
        assert not os.environ.get("CI"), "CI must have node and npm"
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "node_modules").symlink_to(await _installed())
    shutil.copy(Path(__file__).with_name("node_app.mjs"), folder / "app.mjs")
    async with FakeUpstream() as fake:
        _answers(fake)
        async with serving(folder, settings_for(fake, folder, tasks={"sentiment": SENTIMENT})) as server:
            yield Story(json.loads(await _run("node", "app.mjs", f"{server.url}/v1", folder=folder)), fake)


async def test_it_chats_and_streams_and_runs_tasks(story: Story) -> None:
    assert story.said["chat"] == ["fine, thanks", "original"]
    assert story.said["task"] == "good"
    assert story.said["streams"] == {"fake-mini": "fine, thanks", "task:sentiment": "good"}


async def test_it_calls_tools_whole_and_streamed_and_sends_their_result_back(story: Story) -> None:
    assert story.said["tools"] == [[["weather", PARIS]], [["weather", PARIS]]]
    messages = story.fake.calls_to("after-tools")[0].json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["tool_calls"] == [CALLED]
    assert story.said["after"] == "echo: clear"


async def test_it_parses_structured_outputs_whole_and_streamed(story: Story) -> None:
    assert story.said["parsed"] == [{**PARIS, "degrees": 21.5}] * 2
    assert {call.json["response_format"]["type"] for call in story.fake.calls_to("in-json")} == {"json_schema"}


async def test_it_embeds_and_lists_models(story: Story) -> None:
    assert story.said["embeddings"] == [8, 8]
    assert story.said["models"] == [*story.fake.models, "task:sentiment"]


async def test_it_uploads_and_downloads_files(story: Story) -> None:
    assert story.said["file"] == "file-1"
    assert [FILE in call.body for call in story.fake.calls if call.path == "/v1/files"] == [True]
    assert story.said["content"] == hashlib.sha256(FILE).hexdigest()


async def test_its_responses_pass_through_whole_and_streamed(story: Story) -> None:
    assert story.said["response"] == "Sunny."
    assert story.said["events"] == ["response.created", "response.completed"]


async def test_a_realtime_socket_talks_both_ways(story: Story) -> None:
    assert story.said["realtime"] == ["realtime", {"type": "response.cancel", "event_id": "e1"}]
    called = [call for call in story.fake.calls if call.path.startswith("/v1/realtime")]
    assert [call.header("authorization") for call in called] == ["Bearer sk-ours"]


async def test_it_raises_its_own_errors(story: Story) -> None:
    assert story.said["errors"] == {
        "fails-401": ["AuthenticationError", 401, "7"],
        "fails-429": ["RateLimitError", 429, "7"],
        "fails-500": ["InternalServerError", 500, "7"],
        "task:nope": ["NotFoundError", 404, None],
    }
