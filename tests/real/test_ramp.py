"""Cuecard on real models and real disagreements, with labels that neither model sees to hold its promise against."""

import pytest
from rich.console import Console

from bench.ramp import Ramp, ramp
from proxy.demo.fetch import default_cache

pytestmark = pytest.mark.real


async def run(size: str, *, calls: int) -> list[Ramp]:
    return await ramp(["money"], size, default_cache(), calls=calls, say=Console(width=120))


WHY = ("no cheaper model is good enough", "worse than your model")  # by the compile, or by the proof


def assert_the_promise_held(found: Ramp) -> None:
    assert found.gold_loss <= found.bound, "by the data's own labels it lost no more than was certified"


async def test_a_smaller_model_is_ramped_up_while_it_really_disagrees_at_times() -> None:
    (found,) = await run("0.5b", calls=480)
    assert found.outcomes["different"] > 0
    assert found.stage in ("ramping", "live") and found.most_traffic > 0
    assert found.routes["compiled"] > 0
    assert found.gold.of >= 40
    assert_the_promise_held(found)


async def test_a_model_that_is_far_too_small_never_serves() -> None:
    (found,) = await run("135m", calls=200)
    assert found.routes.keys() == {"original"} and found.most_traffic == 0
    assert found.stage == "kept" and any(why in found.reason for why in WHY)
    assert_the_promise_held(found)
