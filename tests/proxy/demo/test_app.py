"""The app on a fake that answers in Cuecard's place: what is sent, and what is taken from the purse for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from proxy.demo.app import UNRECORDED, Answer, App
from proxy.demo.rows import MONEY
from proxy.demo.setting import OPENAI, DemoError
from proxy.demo.spend import Purse, PurseClosed
from tests.fake_upstream import FakeUpstream, Fault

SAID = MONEY.messages("send my rent over")
MOST = OPENAI.most(OPENAI.current, SAID)


@pytest.fixture
async def app_with(fake: FakeUpstream) -> AsyncIterator[Callable[[float], App]]:
    async with AsyncExitStack() as stack:
        opened: list[App] = []

        def of(usd: float) -> App:
            setting = replace(OPENAI, max_usd=usd, background_usd=0.0)
            opened.append(App(fake.url.removesuffix("/v1"), Purse(setting)))
            return opened[-1]

        yield of
        for app in opened:
            await stack.enter_async_context(app)


async def ask(app: App) -> Answer:
    return await app.ask(OPENAI.current, SAID, most=MOST)


async def test_it_asks_as_any_app_does_and_names_no_task(app_with: Callable[[float], App], fake: FakeUpstream) -> None:
    fake.answers["*"] = " transfer\n"
    assert (await ask(app_with(1.0))).text == "transfer"
    (call,) = fake.calls
    assert (call.path, call.json["messages"]) == ("/v1/chat/completions", SAID)
    assert call.header("x-cuecard-task") is call.header("x-cuecard-bypass") is None
    assert "metadata" not in call.json


async def test_what_is_measured_is_kept_out_of_the_evidence(
    app_with: Callable[[float], App], fake: FakeUpstream
) -> None:
    await app_with(1.0).ask(OPENAI.cheap, SAID, more=UNRECORDED)
    assert fake.calls[0].header("x-cuecard-bypass") == "1"


async def test_route_and_task_come_from_the_answer(app_with: Callable[[float], App], fake: FakeUpstream) -> None:
    fake.headers |= {"X-Cuecard-Route": "compiled", "X-Cuecard-Task": "sort-messages"}
    assert (await ask(app_with(1.0)))[1:] == ("compiled", "sort-messages")


async def test_it_stops_before_a_call_that_could_pass_the_cap(
    app_with: Callable[[float], App], fake: FakeUpstream
) -> None:
    app = app_with(4.5 * MOST)
    await ask(app)
    await ask(app)
    with pytest.raises(PurseClosed, match="could pass --max-usd"):
        await ask(app)
    assert len(fake.calls) == 2


async def test_a_call_without_its_cost_counts_as_the_most_it_can_have_cost(app_with: Callable[[float], App]) -> None:
    app = app_with(1.0)
    await ask(app)
    assert app.purse.taken == pytest.approx(MOST)


async def test_a_call_with_its_cost_counts_as_that(app_with: Callable[[float], App], fake: FakeUpstream) -> None:
    fake.headers["X-Cuecard-Cost-Usd"] = "0.000001"
    app = app_with(1.0)
    await ask(app)
    assert app.purse.taken == pytest.approx(1e-6)


async def test_a_failed_card_attempt_counts_beside_the_cost_of_the_answer(
    app_with: Callable[[float], App], fake: FakeUpstream
) -> None:
    fake.headers |= {"X-Cuecard-Cost-Usd": "0.000001", "X-Cuecard-Route": "fallback"}
    app = app_with(1.0)
    await ask(app)
    assert app.purse.taken == pytest.approx(MOST + 1e-6)


async def test_a_call_that_was_tried_twice_counts_twice(app_with: Callable[[float], App], fake: FakeUpstream) -> None:
    fake.queue(OPENAI.current, Fault.respond(500, {"retry-after-ms": "1"}))
    app = app_with(1.0)
    await ask(app)
    assert app.purse.taken == pytest.approx(2 * MOST)


async def test_a_refused_key_is_one_message(app_with: Callable[[float], App], fake: FakeUpstream) -> None:
    fake.keys = set()
    with pytest.raises(DemoError, match=r"gpt-4\.1: .*Incorrect API key"):
        await ask(app_with(1.0))
