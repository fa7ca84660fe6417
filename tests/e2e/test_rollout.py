"""An app that knows nothing of Cuecard, and its traffic taken over as far as the evidence carries, by itself."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compiler.proof import Proofs
from compiler.registry import Registry
from tests.e2e.conftest import Server, serving, settings_for
from tests.fake_upstream import FakeUpstream
from tests.learned import TITLE, TOXIC, mails, request

URGENT = "Say whether the mail below is urgent. Answer with high or low, nothing else.\nMail: {}"
PATIENCE = 90.0


def right(body: Any) -> str:
    """What the app's own model answers: told by the text alone."""
    text = body["messages"][-1]["content"]
    first, second = ("high", "low") if "urgent" in text else ("yes", "no")
    return first if sum(map(ord, text)) % 3 else second


def wrong(body: Any) -> str:
    text = body["messages"][-1]["content"]
    return "high" if right(body) == "low" else "low" if "urgent" in text else "yes" if right(body) == "no" else "no"


class App:
    """Asks through the SDK, as it always did, and counts who answered."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.texts: Iterator[str] = mails()
        self.answers: dict[str, list[tuple[str, str]]] = {}  # by prompt: (route, answer)

    async def ask(self, prompt: str, times: int = 1) -> None:
        for _ in range(times):
            body = request(prompt, next(self.texts))
            async with await self.server.chat(body) as answer:
                assert answer.status == 200, await answer.text()
                said = (await answer.json())["choices"][0]["message"]["content"]
                assert said in ("yes", "no", "high", "low")
                self.answers.setdefault(prompt, []).append((answer.headers["X-Cuecard-Route"], said))

    async def until(self, prompt: str, stage: str) -> dict[str, Any]:
        """Goes on asking until the prompt's task is there."""
        async with asyncio.timeout(PATIENCE):
            while (found := self.state(prompt)) is None or found["stage"] != stage:
                await self.ask(prompt, 10)
        return found

    def state(self, prompt: str) -> dict[str, Any] | None:
        with self.server.open_store() as store:
            registry = Registry(store)
            for name, task in registry.adopted().items():
                if prompt.partition(".")[0] in task.description:
                    return {"name": name, **vars(registry.state(name)), "proof": Proofs(store).get(name)}
        return None


async def test_one_task_goes_live_one_is_kept_and_one_that_gets_worse_is_paused(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    worse = False

    def candidate(body: Any) -> str:
        text = body["messages"][-1]["content"]
        bad = ("urgent" in text) or (worse and "toxic" in text)
        return wrong(body) if bad else right(body)

    fake.answers["fake-strong"] = right
    fake.answers["fake-nano"] = candidate
    fake.answers["fake-mini"] = "<prompt>Answer as shown.</prompt>"
    settings = settings_for(fake, tmp_path, mode="auto", capture={"per_second": 500}, log={"requests": False})
    settings["prices"]["fake-judge"] = {"input": 1.0, "output": 4.0}
    settings["models"] = {"meta": "fake-mini", "judge": "fake-judge", "production": ["fake-nano"]}
    settings["compile"] = {"min_examples": 20}
    async with serving(tmp_path, settings) as server:
        app = App(server)
        live = await app.until(TOXIC, "live")
        print(json.dumps({k: str(v) for k, v in live.items()}, indent=1), len(app.answers[TOXIC]))
        kept = await app.until(URGENT, "kept")
        print(json.dumps({k: str(v) for k, v in kept.items()}, indent=1), len(app.answers[URGENT]))
        worse = True
        paused = await app.until(TOXIC, "paused")
        print(json.dumps({k: str(v) for k, v in paused.items()}, indent=1), len(app.answers[TOXIC]))
