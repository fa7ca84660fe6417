"""An app that knows nothing of Cuecard, and its traffic taken over as far as the evidence carries, by itself."""

import asyncio
from pathlib import Path
from typing import Any

from compiler.registry import Registry
from tests.e2e.app import CANDIDATE, INCUMBENT, META, TAKES, App, good, right, wrong
from tests.e2e.conftest import serving, settings_for
from tests.fake_upstream import FakeUpstream
from tests.learned import TOXIC

URGENT = "Say whether the mail below is urgent. Answer with high or low, nothing else.\nMail: {}"


async def test_one_task_goes_live_one_is_kept_and_one_that_gets_worse_is_paused(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    worse = False

    def candidate(body: Any) -> str:
        text = str(body["messages"])
        return wrong(body) if "urgent" in text or (worse and "toxic" in text) else right(body)

    fake.answers |= {INCUMBENT: right, CANDIDATE: candidate, META: "<prompt>Answer as shown.</prompt>"}
    fake.seconds[INCUMBENT] = TAKES
    settings = settings_for(fake, tmp_path, mode="auto", capture={"per_second": 500}, compile={"min_examples": 20})
    settings["models"] = {"meta": META, "judge": CANDIDATE, "production": [CANDIDATE]}
    async with serving(tmp_path, settings) as server:
        app = App(server, good)
        proof = await app.until(TOXIC, "live")
        assert proof.pairs >= 622 and proof.outcomes == {"same": proof.pairs}
        async with asyncio.timeout(10):  # a worker looks four times a second
            while app.routes[TOXIC][-50:].count("original") > 5:
                assert all(await app.ask(TOXIC, 10))
        assert app.routes[TOXIC][-50:].count("compiled") > 25  # the rest fell back: on a busy machine some are late

        state, proof = await app.until_at(URGENT, "kept")
        assert "no cheaper model is good enough: fake-nano loses" in state.reason
        assert proof is None and state.version == 0, "no prompt was worth a proof"
        assert set(app.routes[URGENT]) == {"original"}, "what was never proven never served"

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
        assert 2 <= spent[META]["calls"] <= 8, "of the task that the cheap model does as it is, no prompt is written"
