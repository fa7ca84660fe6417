"""A task whose answers are calls of the app's own tools, by the app's own SDK."""

import json
from typing import Any

from openai import AsyncOpenAI

from tests.e2e.conftest import Server
from tests.e2e.test_serve import Start
from tests.fake_upstream import FakeUpstream

TASK = {
    "description": "Look the weather up where the user asks for it.",
    "system": "You look the weather up.",
    "incumbent": "fake-mini",
    "trust": "declared",
    "output": {"kind": "tool_call"},
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}}}
]
MESSAGES: Any = [{"role": "system", "content": TASK["system"]}, {"role": "user", "content": "Rain in Lima?"}]


def calling(arguments: str) -> dict[str, Any]:
    return {
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}],
    }


class App:
    def __init__(self, server: Server) -> None:
        self._sdk = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-app", max_retries=0)
        server.opened.append(self._sdk)

    async def asks(self) -> tuple[str, str]:
        """The route, and the arguments of the call."""
        raw = await self._sdk.chat.completions.with_raw_response.create(
            model="fake-mini", messages=MESSAGES, tools=TOOLS, metadata={"task": "weather"}
        )
        (call,) = raw.parse().choices[0].message.tool_calls or ()
        assert call.type == "function"
        return raw.headers["X-Cuecard-Route"], call.function.arguments

    async def streams(self) -> str:
        stream = await self._sdk.chat.completions.create(
            model="fake-mini", messages=MESSAGES, tools=TOOLS, metadata={"task": "weather"}, stream=True
        )
        deltas = [chunk.choices[0].delta async for chunk in stream if chunk.choices]
        calls = [call for delta in deltas for call in delta.tool_calls or ()]
        return "".join(call.function.arguments or "" for call in calls if call.function)


async def test_a_card_calls_the_apps_tools_and_what_no_program_can_read_is_not_shown(
    start: Start, fake: FakeUpstream
) -> None:
    right = json.dumps({"city": "Lima"})
    fake.answers |= {"fake-nano": calling(right), "fake-mini": calling(right)}
    server = await start(tasks={"weather": TASK})
    app = App(server)
    while (await app.asks())[0] != "compiled":
        pass
    assert not fake.calls_to("fake-strong"), "nobody writes a prompt for it"
    assert await app.asks() == ("compiled", right)
    assert await app.streams() == right
    sent = fake.calls_to("fake-nano")[-1].json
    assert (sent["tools"], sent["messages"]) == (TOOLS, MESSAGES)

    fake.answers["fake-nano"] = calling('{"city": ')
    assert await app.asks() == ("fallback", right)
    assert await app.streams() == right
    async with await server.chat({"model": "fake-mini", "messages": MESSAGES, "tools": TOOLS}) as answer:
        assert answer.headers["X-Cuecard-Route"] == "original", "nobody said that it is of that task"
