"""The Node SDK, only its base URL changed."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.test_serve import PROMPT, SENTIMENT, Start
from tests.fake_upstream import FakeUpstream, Fault

VERSION = "7.57.0"
SCRIPT = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "sk-client", maxRetries: 0 });
const messages = [{ role: "user", content: "nice" }];
const out = { errors: {} };
out.chat = (await client.chat.completions.create({ model: "fake-mini", messages })).choices[0].message.content;
out.task = (await client.chat.completions.create({ model: "task:sentiment", messages })).choices[0].message.content;
for (const model of ["fake-mini", "task:sentiment"]) {
  out["stream " + model] = "";
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
    out["stream " + model] += chunk.choices[0]?.delta?.content ?? "";
}
out.models = (await client.models.list()).data.map((model) => model.id);
for (const model of ["fails-401", "fails-429", "fails-500", "task:nope"]) {
  try { await client.chat.completions.create({ model, messages }); } catch (error) {
    out.errors[model] = [error.constructor.name, error.status, error.headers.get("retry-after")];
  }
}
console.log(JSON.stringify(out));
"""


async def _run(*command: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
    return out.decode()


async def test_the_node_sdk_chats_streams_runs_tasks_and_raises_its_own_errors(
    start: Start, fake: FakeUpstream, tmp_path: Path
) -> None:
    if not shutil.which("npm"):
        assert not os.environ.get("CI"), "CI must have node and npm"
        pytest.skip("node and npm are not installed")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "app.js").write_text(SCRIPT)
    await _run("npm", "install", "--no-audit", "--no-fund", "--no-save", f"openai@{VERSION}", folder=tmp_path)
    fake.answers.update({"fake-strong": PROMPT, "fake-nano": "good", "fake-mini": "fine, thanks"})
    for status in (401, 429, 500):
        fake.answers[f"fails-{status}"] = Fault.respond(status, headers={"Retry-After": "7"})
    server = await start(tasks={"sentiment": SENTIMENT})
    said = json.loads(await _run("node", "app.js", f"{server.url}/v1", folder=tmp_path))
    assert said["chat"] == said["stream fake-mini"] == "fine, thanks"
    assert said["task"] == said["stream task:sentiment"] == "good"
    assert "task:sentiment" in said["models"]
    assert said["errors"] == {
        "fails-401": ["AuthenticationError", 401, "7"],
        "fails-429": ["RateLimitError", 429, "7"],
        "fails-500": ["InternalServerError", 500, "7"],
        "task:nope": ["NotFoundError", 404, None],
    }
