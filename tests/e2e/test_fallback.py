"""A candidate in trouble: the client's own model answers."""

from typing import Any

import pytest

from tests.e2e.conftest import World
from tests.e2e.test_serve import CALL, PROMPT, SENTIMENT, until_compiled
from tests.fake_upstream import Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def shared_settings() -> dict[str, Any]:
    return {
        "tasks": {"sentiment": {**SENTIMENT, "incumbent": "fake-mini"}},
        "timeouts": {"candidate": "300ms"},
    }


@pytest.mark.parametrize("fault", [Fault.respond(500), Fault.respond(429), Fault.disconnect(), Fault.stall()])
async def test_a_candidate_that_fails_or_stalls_costs_the_client_nothing(world: World, fault: Fault) -> None:
    server, fake = world
    fake.answers |= {"fake-strong": PROMPT, "fake-nano": "good"}
    await until_compiled(server, CALL)
    fake.answers["fake-nano"] = fault
    async with await server.chat(CALL) as answer:
        assert (answer.status, answer.headers["X-Cuecard-Route"]) == (200, "fallback")
    fake.release.set()
