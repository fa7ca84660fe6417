"""What the background spends in a day is under its cap at every moment, by the upstream's own log."""

import asyncio
from itertools import accumulate
from pathlib import Path
from typing import Any

from tests.conftest import PRICES
from tests.e2e.app import CANDIDATE, INCUMBENT, META, App, good, right
from tests.e2e.conftest import serving, settings_for
from tests.e2e.test_money import usage
from tests.fake_upstream import Call, FakeUpstream
from tests.learned import TOXIC

CAP, ASIDE = 0.0007, 0.0003  # USD: a compile and some pairs; what is set aside for two


def usd(call: Call) -> float:
    told = call.usage or usage(call.input, 0, call.output, 0)
    price = PRICES[call.model]
    return (told["prompt_tokens"] * price["input"] + told["completion_tokens"] * price["output"]) / 1e6


async def test_a_tiny_cap_is_kept_to_the_last_call_with_two_workers(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.answers |= {INCUMBENT: right, CANDIDATE: right}
    settings: dict[str, Any] = settings_for(
        fake,
        tmp_path,
        listen={"port": 0, "workers": 2},
        mode="auto",
        capture={"per_second": 500},
        compile={"min_examples": 20, "concurrency": 2},
        background={"usd_per_day": CAP, "max_share_of_saving": 1.0},
    )
    settings["models"] = {"meta": META, "judge": CANDIDATE, "production": [CANDIDATE]}
    async with serving(tmp_path, settings) as server:
        app = App(server, good)
        async with asyncio.timeout(60):
            while not any("its proof rests" in line for line in server.log):
                assert all(await app.ask(TOXIC, 10))
        assert all(await app.ask(TOXIC, 60)), "the app is answered all the same"
    assert set(app.routes[TOXIC]) == {"original"}, "so that all else was asked by the background"
    background = [call for call in fake.calls if call.model != INCUMBENT]
    assert {call.model for call in background} == {CANDIDATE}, "a task that it does as it is needs no prompt"
    sums = [*accumulate(map(usd, background))]
    assert sums[-1] > CAP - ASIDE and max(sums) <= CAP
