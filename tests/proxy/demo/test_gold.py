from collections.abc import AsyncIterator

import pytest

from compiler.card import Card
from compiler.example import Example
from compiler.program import Prompt
from compiler.task import Contract
from proxy.demo.app import App
from proxy.demo.gold import Gold, measure
from proxy.demo.rows import MONEY, Row
from proxy.demo.setting import OPENAI
from proxy.demo.spend import Purse
from tests.fake_upstream import FakeUpstream
from tests.proxy.demo.conftest import able, small

ROWS: list[Row] = [(f"my <{label}> again", label) for label in MONEY.answers]
CARD = Card(
    task="sort",
    version=1,
    definition="",
    model=OPENAI.cheap,
    program=Prompt("Sort.", (Example("a <transfer> now", "transfer"),)),
    contract=Contract("label", labels=tuple(MONEY.answers)),
    winner="",
    static_tokens=0,
    original_tokens=0,
    created="",
    compile_usd=0.0,
)


@pytest.fixture
async def app(fake: FakeUpstream) -> AsyncIterator[App]:
    fake.answers |= {OPENAI.current: able, OPENAI.cheap: small}
    async with App(fake.url.removesuffix("/v1"), Purse(OPENAI)) as app:
        yield app


async def test_three_accuracies_on_the_same_rows(app: App, fake: FakeUpstream) -> None:
    assert await measure(app, OPENAI, MONEY, CARD, ROWS) == Gold(own=4, cheap=3, served=4, of=4)
    assert len(fake.calls) == 12
    assert {call.header("x-cuecard-bypass") for call in fake.calls} == {"1"}


async def test_without_a_card_the_apps_model_answers(app: App, fake: FakeUpstream) -> None:
    assert await measure(app, OPENAI, MONEY, None, ROWS) == Gold(own=4, cheap=3, served=4, of=4)
    assert len(fake.calls) == 8


async def test_an_answer_that_would_not_be_served_falls_back(app: App, fake: FakeUpstream) -> None:
    fake.answers[OPENAI.cheap] = "no label"
    assert await measure(app, OPENAI, MONEY, CARD, ROWS) == Gold(own=4, cheap=0, served=4, of=4)


async def test_a_closed_purse_ends_it_with_what_was_measured(app: App, fake: FakeUpstream) -> None:
    fake.headers["X-Cuecard-Cost-Usd"] = "0"
    assert (await measure(app, OPENAI, MONEY, CARD, ROWS[:1])).of == 1
    app.purse.closed = True
    assert await measure(app, OPENAI, MONEY, CARD, ROWS) == Gold()
    assert len(fake.calls) == 3
