"""An app that knows nothing of Cuecard, and its traffic taken over as far as the evidence carries, by itself."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from compiler.observation import Observations
from compiler.proof import Proof, Proofs
from compiler.registry import Registry, TaskState
from tests.e2e.conftest import Server, serving, settings_for
from tests.fake_upstream import FakeUpstream, Fault
from tests.learned import TOXIC, mails, request

URGENT = "Say whether the mail below is urgent. Answer with high or low, nothing else.\nMail: {}"
PATIENCE = 60.0
META, INCUMBENT, CANDIDATE = "fake-mini", "fake-strong", "fake-nano"


def right(body: Any) -> str:
    """What the app's own model answers: told by the text alone."""
    text = body["messages"][-1]["content"]
    words = ("high", "low") if "urgent" in text else ("yes", "no")
    return words[sum(map(ord, text)) % 3 == 0]


def wrong(body: Any) -> str:
    return {"high": "low", "low": "high", "yes": "no", "no": "yes"}[right(body)]


class App:
    """Asks through the SDK, as it always did."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sdk = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-app", max_retries=0)
        server.opened.append(self._sdk)
        self._texts: Iterator[str] = mails()
        self.routes: dict[str, list[str]] = {}  # of each prompt's calls

    async def ask(self, prompt: str, times: int) -> list[bool]:
        """Whether each answer was right; one that does not come is an error."""
        found = []
        for _ in range(times):
            body = request(prompt, next(self._texts))
            raw = await self._sdk.chat.completions.with_raw_response.create(**body)
            self.routes.setdefault(prompt, []).append(raw.headers["X-Cuecard-Route"])
            found.append(raw.parse().choices[0].message.content == right(body))
        return found

    async def until(self, prompt: str, stage: str) -> Proof:
        """Goes on asking until the prompt's task is at that stage."""
        async with asyncio.timeout(PATIENCE):
            while (found := self.state(prompt)) is None or found[0].stage != stage:
                await self.ask(prompt, 10)
        assert found[1]
        return found[1]

    def state(self, prompt: str) -> tuple[TaskState, Proof | None] | None:
        with self._server.open_store() as store:
            registry = Registry(store)
            for name, task in registry.adopted().items():
                if prompt.partition(".")[0] in task.description:
                    return registry.state(name), Proofs(store).get(name)
        return None


async def test_one_task_goes_live_one_is_kept_and_one_that_gets_worse_is_paused(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    worse = False

    def candidate(body: Any) -> str:
        text = body["messages"][-1]["content"]
        return wrong(body) if "urgent" in text or (worse and "toxic" in text) else right(body)

    fake.answers |= {INCUMBENT: right, CANDIDATE: candidate, META: "<prompt>Answer as shown.</prompt>"}
    settings = settings_for(fake, tmp_path, mode="auto", capture={"per_second": 500}, compile={"min_examples": 20})
    settings["models"] = {"meta": META, "judge": CANDIDATE, "production": [CANDIDATE]}
    async with serving(tmp_path, settings) as server:
        app = App(server)
        proof = await app.until(TOXIC, "live")
        assert proof.pairs >= 622 and proof.outcomes == {"same": proof.pairs}
        async with asyncio.timeout(10):  # a worker looks four times a second
            while app.routes[TOXIC][-50:].count("original") > 5:
                assert all(await app.ask(TOXIC, 10))
        assert app.routes[TOXIC][-50:].count("compiled") > 25  # the rest fell back: on a busy machine some are late

        proof = await app.until(URGENT, "kept")
        state, _ = app.state(URGENT) or (None, None)
        assert state and "worse than your model" in state.reason and state.traffic == 0
        assert set(app.routes[URGENT]) == {"original"}, "what was never proven never served"
        assert proof.outcomes["different"] == proof.pairs

        worse = True
        proof = await app.until(TOXIC, "paused")
        async with asyncio.timeout(2):
            while not all(await app.ask(TOXIC, 20)):
                pass
        assert set(app.routes[TOXIC][-20:]) == {"original"}

        spent = fake.totals()
        with server.open_store() as store:
            registry = Registry(store)
            assert {registry.state(name).stage for name in registry.adopted()} == {"paused", "kept"}
        assert spent[META]["calls"] == 2, "one prompt for each task"


async def test_an_outage_of_either_model_costs_the_client_nothing_and_restarts_lose_no_pair(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.answers |= {INCUMBENT: right, CANDIDATE: right, META: "<prompt>Answer as shown.</prompt>"}
    settings = settings_for(fake, tmp_path, mode="auto", capture={"per_second": 500}, compile={"min_examples": 20})
    settings["models"] = {"meta": META, "judge": CANDIDATE, "production": [CANDIDATE]}
    pairs = 0
    for _ in range(2):  # a server and its successor on the same store
        async with serving(tmp_path, settings) as server:
            app = App(server)
            proof = await app.until(TOXIC, "ramping")
            assert proof.pairs >= pairs and proof.outcomes == {"same": proof.pairs}

            fake.answers[CANDIDATE] = Fault.respond(503)
            async with asyncio.timeout(20):
                while "fallback" not in app.routes.get(TOXIC, ()):
                    assert all(await app.ask(TOXIC, 10)), "the app's own model answers"
            assert all(await app.ask(TOXIC, 30))
            fake.answers[CANDIDATE] = right

            _, after = app.state(TOXIC) or (None, None)
            assert after and set(after.outcomes) == {"same"}, "an outage is no evidence"
            pairs = after.pairs
    with Observations(tmp_path / "store", retention_days=14) as kept:
        newer = sum(position <= after.position for position, _ in kept.since(0))
    assert pairs <= newer, "each is counted once"
