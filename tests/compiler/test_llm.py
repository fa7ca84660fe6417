import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from compiler.budget import Budget
from compiler.endpoint import Endpoint, Endpoints
from compiler.errors import BudgetExceeded, ModelBusy, ModelFailed
from compiler.families import Family
from compiler.ledger import Charge, Ledger
from compiler.llm import PATIENCE, Llm, Purpose
from compiler.models import Models
from compiler.pauses import Pauses
from compiler.store import Store
from tests.conftest import PRICES, fake_models
from tests.fake_upstream import FakeUpstream, Fault

pytestmark = pytest.mark.usefixtures("retries_at_once")

HELLO = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello there"}]
PURPOSE = Purpose("mood", "compile", scope="compile:mood@1:x", cap_usd=1.0)


def fake_bill(fake: FakeUpstream) -> float:
    """What the fake says it billed, at the prices of the tests."""
    return sum(_bill_of(fake, model) for model in fake.totals())


def _bill_of(fake: FakeUpstream, model: str) -> float:
    sums = fake.totals()[model]
    return (sums["input"] * PRICES[model]["input"] + sums["output"] * PRICES[model]["output"]) / 1e6


def booked(store: Store) -> dict[str, Any]:
    return {row.model: sums for _, row, sums in Ledger(store).rows()}


async def test_an_answer_comes_with_its_model_its_usage_and_its_end(llm, fake):
    fake.answers["fake-nano"] = "Hello to you."
    fake.snapshots["fake-nano"] = "fake-nano-2026-01-01"
    reply = await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    assert (reply.text, reply.model, reply.finish_reason) == ("Hello to you.", "fake-nano-2026-01-01", "stop")
    (call,) = fake.calls
    assert (reply.usage.input, reply.usage.output) == (call.input, call.output)
    assert call.json == {"model": "fake-nano", "messages": HELLO, "temperature": 0, "max_tokens": 50}
    assert call.header("authorization") == "Bearer sk-test"


async def test_a_call_is_booked_to_the_cent_that_the_upstream_bills(llm, fake, store):
    await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    await llm.ask("fake-strong", HELLO, PURPOSE, max_tokens=50)
    sums = booked(store)
    assert {model: s.calls for model, s in sums.items()} == {"fake-nano": 1, "fake-strong": 1}
    assert sum(s.cost for s in sums.values()) == pytest.approx(fake_bill(fake))
    assert llm.budget.spent("budget:" + PURPOSE.scope) == pytest.approx(fake_bill(fake))
    assert llm.budget.spent(llm.budget.day()) == pytest.approx(fake_bill(fake))


async def test_cached_tokens_are_paid_at_their_own_price(llm, fake, store):
    fake.cached_tokens = 5
    await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    (call,) = fake.calls
    expected = ((call.input - 5) * 0.1 + 5 * 0.02 + call.output * 0.4) / 1e6
    assert booked(store)["fake-nano"].cost == pytest.approx(expected)


async def test_without_usage_the_tokens_are_counted_and_marked(llm, fake, store):
    fake.reports_usage = False
    reply = await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    assert reply.usage.counted
    assert booked(store)["fake-nano"].counted == 1
    assert booked(store)["fake-nano"].cost == pytest.approx(fake_bill(fake))


async def test_a_repeated_question_is_answered_from_the_store_unpaid(llm, fake, models, store):
    first = await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    async with Llm(models, store, usd_per_day=0) as restarted:
        assert await restarted.ask("fake-nano", HELLO, PURPOSE, max_tokens=50) == first
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"model": "fake-mini"},
        {"max_tokens": 51},
        {"messages": [{"role": "user", "content": "hello"}]},
        {"purpose": replace(PURPOSE, scope="compile:mood@2:x")},
    ],
)
async def test_another_question_or_another_compile_is_asked_anew(llm, fake, change):
    asked: dict[str, Any] = {"model": "fake-nano", "messages": HELLO, "purpose": PURPOSE, "max_tokens": 50}
    await llm.ask(**asked)
    await llm.ask(**asked | change)
    assert len(fake.calls) == 2


async def test_a_forgotten_compile_is_asked_anew_and_others_are_kept(llm, fake):
    other = replace(PURPOSE, scope="compile:other@1:x")
    for purpose in (PURPOSE, other):
        await llm.ask("fake-nano", HELLO, purpose, max_tokens=50)
    llm.forget(PURPOSE.scope)
    for purpose in (PURPOSE, other):
        await llm.ask("fake-nano", HELLO, purpose, max_tokens=50)
    assert len(fake.calls) == 3


async def test_a_call_that_may_pass_the_compiles_cap_is_never_sent(llm, fake):
    with pytest.raises(BudgetExceeded) as caught:
        await llm.ask("fake-strong", HELLO, replace(PURPOSE, cap_usd=0.0001), max_tokens=1_000)
    assert caught.value.scope == "compile"
    assert fake.calls == []


async def test_a_call_that_may_pass_the_days_cap_is_never_sent(models, store, fake):
    async with Llm(models, store, usd_per_day=0.0001) as llm:
        with pytest.raises(BudgetExceeded) as caught:
            await llm.ask("fake-strong", HELLO, PURPOSE, max_tokens=1_000)
    assert caught.value.scope == "day"
    assert fake.calls == []


@pytest.mark.parametrize("reports_usage", [True, False])
async def test_the_budget_is_never_passed_by_the_upstreams_own_bill(models, store, fake, reports_usage):
    fake.reports_usage = reports_usage
    fake.answers["*"] = lambda request: "many more words than were asked for " * 20
    cap = 0.002
    async with Llm(models, store, usd_per_day=cap) as llm:

        async def ask_on(name: str) -> None:
            for number in range(100):
                question = [{"role": "user", "content": f"{name} {number} " + "word " * 50}]
                await llm.ask("fake-mini", question, PURPOSE, max_tokens=100)

        done = await asyncio.gather(*(ask_on(name) for name in "abcd"), return_exceptions=True)
    assert all(isinstance(error, BudgetExceeded) for error in done)
    assert cap * 0.8 < fake_bill(fake) <= cap
    assert Budget(store, cap).spent(Budget(store, cap).day()) == pytest.approx(fake_bill(fake))


@pytest.mark.parametrize("fault", [Fault.respond(500), Fault.respond(503), Fault.disconnect()])
async def test_a_passing_failure_is_tried_again(llm, fake, fault):
    fake.queue("fake-nano", fault, fault, "at last")
    assert (await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)).text == "at last"


@pytest.mark.parametrize(
    ("fault", "says"), [(Fault.respond(500), "HTTP 500"), (Fault.disconnect(), "APIConnectionError")]
)
async def test_after_three_tries_there_is_no_answer(llm, fake, store, fault, says):
    fake.answers["fake-nano"] = fault
    with pytest.raises(ModelFailed, match=f"fake-nano: {says}"):
        await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    assert len(fake.calls) == 3
    assert (booked(store)["fake-nano"].calls, booked(store)["fake-nano"].failed) == (3, 3)
    assert store.keys("memo:") == []


async def test_what_never_left_costs_nothing_and_what_may_have_arrived_is_booked(fake, store):
    nobody = replace(fake_models(fake.url), endpoints=Endpoints({"x": Endpoint("x", "http://127.0.0.1:9/v1", "sk")}))
    async with Llm(nobody, store, usd_per_day=1) as llm:
        with pytest.raises(ModelFailed, match="APIConnectionError"):
            await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    assert (booked(store)["fake-nano"].input, booked(store)["fake-nano"].cost) == (0, 0.0)
    fake.answers["fake-nano"] = Fault.disconnect()
    async with Llm(fake_models(fake.url), store, usd_per_day=1) as llm:
        with pytest.raises(ModelFailed, match="APIConnectionError"):
            await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    assert booked(store)["fake-nano"].cost > 0


async def test_a_refused_request_is_not_tried_again_and_costs_nothing(llm, fake, store):
    fake.answers["fake-nano"] = Fault.respond(400, body={"error": {"message": "bad: hello there"}})
    with pytest.raises(ModelFailed) as caught:
        await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    assert str(caught.value) == "fake-nano: HTTP 400"  # never the body, which may quote the request
    assert len(fake.calls) == 1
    assert llm.budget.spent(llm.budget.day()) == 0


async def test_a_call_that_takes_too_long_ends_and_its_input_is_booked(llm, fake, store):
    fake.answers["fake-nano"] = Fault.stall()
    with pytest.raises(ModelFailed, match="APITimeoutError"):
        await llm.ask("fake-nano", HELLO, replace(PURPOSE, timeout=0.05), max_tokens=50)
    sums = booked(store)["fake-nano"]
    assert (sums.calls, sums.failed) == (3, 3)
    assert sums.input == 3 * fake.prompt_tokens({"messages": HELLO})  # whether or not it got there in time


@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": [{"index": 0}]},
        {"object": "error"},
        "<html>a page</html>",
    ],
)
async def test_an_answer_that_is_no_completion_is_a_failure_and_its_input_is_booked(llm, fake, store, body):
    fake.answers["fake-nano"] = Fault.respond(200, body=body)
    with pytest.raises(ModelFailed):
        await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    sums = booked(store)["fake-nano"]
    assert (sums.calls, sums.failed) == (1, 1)
    assert sums.input == fake.prompt_tokens(fake.calls[0].json)
    assert llm.budget.spent(llm.budget.day()) == pytest.approx(sums.cost)


async def test_broken_json_is_a_failure(llm, fake):
    fake.answers["fake-nano"] = Fault.respond(200, {"Content-Type": "application/json"}, '{"choices": [')
    with pytest.raises(ModelFailed):
        await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)


async def test_a_refusal_in_its_own_field_is_no_text(llm, fake):
    fake.answers["fake-nano"] = {"content": None, "refusal": "I can't help with that."}
    assert (await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)).text == ""


class Rest(Pauses):
    """Says who waited for how long, and lets the time pass."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, lambda: self.now)
        self.now = 1_790_000_000.0
        self.waited: list[tuple[str, float]] = []

    async def wait(self, upstream: str) -> None:
        self.waited.append((upstream, round(self.left(upstream), 3)))
        self.now += self.left(upstream)


def two_upstreams(fake: FakeUpstream) -> Models:
    endpoints = Endpoints({"fake": Endpoint("fake", fake.url, "sk-test"), "other": Endpoint("other", fake.url, "sk-o")})
    return replace(fake_models(fake.url), endpoints=endpoints, prices=PRICES | {"other/fake-mini": PRICES["fake-mini"]})


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (Fault.respond(429), 60),
        (Fault.respond(429, {"Retry-After": "7"}), 60),
        (Fault.respond(429, {"Retry-After": "300"}), 300),
        (Fault.respond(429, {"retry-after-ms": "90000"}), 90),
    ],
    ids=["no more said", "a short wait asked", "a long one", "in milliseconds"],
)
async def test_a_429_is_not_tried_again_and_stops_the_background_calls_of_its_upstream(store, fake, fault, seconds):
    rest = Rest(store)
    async with Llm(two_upstreams(fake), store, usd_per_day=5, pauses=rest) as llm:
        fake.queue("fake-nano", fault)
        with pytest.raises(ModelBusy) as caught:
            await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
        assert caught.value.retry_after == seconds
        assert len(fake.calls) == 1
        await llm.ask("other/fake-mini", HELLO, PURPOSE, max_tokens=50)
        if seconds > PATIENCE:
            with pytest.raises(ModelBusy, match=f"wants no calls for {seconds} s") as caught:
                await llm.ask("fake-strong", HELLO, PURPOSE, max_tokens=50)
            assert caught.value.retry_after == seconds
            rest.now += seconds
            seconds = 0
        for model in ("fake-strong", "fake-nano"):
            await llm.ask(model, HELLO, PURPOSE, max_tokens=50)
    assert rest.waited == [("fake", 0), ("other", 0), ("fake", seconds), ("fake", 0)]
    assert [call.model for call in fake.calls] == ["fake-nano", "fake-mini", "fake-strong", "fake-nano"]


LOW = {"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "199", "x-ratelimit-reset-tokens": "48s"}


@pytest.mark.parametrize("status", [200, 400])
async def test_a_quota_that_runs_low_stops_them_until_its_reset(store, fake, status):
    rest = Rest(store)
    fake.headers = LOW
    fake.answers["fake-nano"] = "hi" if status == 200 else Fault.respond(status)
    async with Llm(two_upstreams(fake), store, usd_per_day=5, pauses=rest) as llm:
        with suppress(ModelFailed):
            await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
        fake.headers = {**LOW, "x-ratelimit-remaining-tokens": "200"}
        for model in ("fake-strong", "fake-mini"):
            await llm.ask(model, HELLO, PURPOSE, max_tokens=50)
    assert rest.waited == [("fake", 0), ("fake", 48), ("fake", 0)]


async def test_a_429_that_serving_traffic_got_stops_them_too(store, fake):
    rest = Rest(store)
    with Store(store.folder) as workers:
        Pauses(workers, rest.clock).busy(["fake"])
    async with Llm(two_upstreams(fake), store, usd_per_day=5, pauses=rest) as llm:
        await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    assert rest.waited[0][1] >= 60


async def test_what_the_environment_holds_for_openai_goes_to_no_upstream(models, store, fake, monkeypatch):
    """The SDK reads these by itself, and would send them to whatever host."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "sk-canary-environment")
    headers = (
        "Authorization: Bearer sk-canary-environment\nX-Gateway: sk-canary-environment\napi-key: sk-canary-environment"
    )
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", headers)
    async with Llm(models, store, usd_per_day=5) as llm:
        await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    assert fake.calls[0].header("authorization") == "Bearer sk-test"
    assert b"canary" not in b"".join(name + value for name, value in fake.calls[0].headers)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_followed_nowhere(llm, fake, status):
    async with FakeUpstream() as elsewhere:
        fake.answers["*"] = Fault.respond(status, {"Location": f"{elsewhere.url}/chat/completions"})
        with pytest.raises(ModelFailed, match=f"HTTP {status}"):
            await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
        assert elsewhere.calls == []


async def test_a_cancelled_call_keeps_its_money_set_aside(llm, fake, store):
    fake.answers["fake-nano"] = Fault.stall()
    asking = asyncio.create_task(llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50))
    await fake.wait_for(1)
    held = llm.budget.spent(llm.budget.day())
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert held > 0
    assert llm.budget.spent(llm.budget.day()) == held
    assert booked(store) == {}


async def test_every_charge_is_observed(models, store, fake):
    seen: list[Charge] = []
    fake.queue("fake-nano", Fault.respond(500))
    async with Llm(models, store, usd_per_day=5, observe=seen.append) as llm:
        await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
        await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    assert [(c.task, c.role, c.route, c.failed) for c in seen] == [
        ("mood", "compile", "-", True),
        ("mood", "compile", "-", False),
    ]


async def test_a_reasoning_model_is_asked_in_its_own_terms(models, store, fake):
    own = replace(models, families={"fake-strong": Family(reasoning=True)})
    async with Llm(own, store, usd_per_day=5) as llm:
        await llm.ask("fake-strong", HELLO, PURPOSE, max_tokens=50)
    assert fake.calls[0].json == {"model": "fake-strong", "messages": HELLO, "max_completion_tokens": 4_050}


@pytest.mark.parametrize(
    ("patient", "answered_at", "share"), [(True, "flex", 0.5), (True, "default", 1.0), (False, None, 1.0)]
)
async def test_where_nobody_waits_a_model_with_a_flex_tier_is_asked_there_at_half_the_price(
    models, store, fake, patient, answered_at, share
):
    fake.answers["fake-nano"] = {"content": "Hello to you."} | ({"service_tier": answered_at} if answered_at else {})
    purpose = replace(PURPOSE, patient=patient)
    async with Llm(replace(models, flex=frozenset({"fake-nano"})), store, usd_per_day=5.0) as llm:
        reply = await llm.ask("fake-nano", HELLO, purpose, max_tokens=50)
        await llm.ask("fake-strong", HELLO, purpose, max_tokens=50)
    assert [call.json.get("service_tier") for call in fake.calls] == ["flex" if patient else None, None]
    assert reply.flex == (answered_at == "flex")
    assert reply.cost == pytest.approx(share * reply.usual_cost)
    assert booked(store)["fake-nano"].cost == pytest.approx(share * _bill_of(fake, "fake-nano"))


async def test_a_prefixed_model_is_priced_and_reserved_under_its_whole_name(models, store, fake):
    local = Endpoints(
        {"cloud": Endpoint("cloud", "http://127.0.0.1:1/v1", "sk"), "local": Endpoint("local", fake.url, "k")}
    )
    prices = {"local/qwen": {"input": 1_000.0, "output": 1_000.0}}
    own = replace(models, endpoints=local, prices=prices)
    async with Llm(own, store, usd_per_day=5) as llm:
        reply = await llm.ask("local/qwen", HELLO, PURPOSE, max_tokens=50)
        assert booked(store)["qwen"].cost == pytest.approx((reply.usage.input + reply.usage.output) / 1_000)
        with pytest.raises(BudgetExceeded):
            await llm.ask("local/qwen", HELLO, replace(PURPOSE, cap_usd=0.2), max_tokens=500)
    assert [call.model for call in fake.calls] == ["qwen"]


async def test_no_background_call_is_made_on_a_clients_key_or_at_an_unknown_price(models, store, fake):
    theirs = replace(models, endpoints=Endpoints({"fake": Endpoint("fake", fake.url)}))
    async with Llm(theirs, store, usd_per_day=5) as llm:
        assert "no api_key of its own" in (llm.unusable("fake-nano") or "")
        with pytest.raises(ModelFailed, match="no api_key of its own"):
            await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    async with Llm(models, store, usd_per_day=5) as llm:
        assert llm.unusable("fake-nano") is None
        with pytest.raises(ModelFailed, match="fake-unheard-of has no known price; add it under `prices`"):
            await llm.ask("fake-unheard-of", HELLO, PURPOSE, max_tokens=50)
    assert fake.calls == []


async def test_a_server_without_keys_is_asked_without_one_of_ours(models, store, fake, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-another-host")
    keyless = replace(models, endpoints=Endpoints({"fake": Endpoint("fake", fake.url, keyless=True)}))
    async with Llm(keyless, store, usd_per_day=5) as llm:
        await llm.ask("fake-nano", HELLO, PURPOSE, max_tokens=50)
    assert b"sk-secret" not in b"".join(value for _, value in fake.calls[0].headers)


def test_models_of_openai_are_one_upstream():
    models = Models.openai(meta="gpt-5", production=["gpt-5-nano"], api_key="sk", base_url="https://api.openai.com/v1/")
    assert models.endpoints.resolve("gpt-5") == (Endpoint("openai", "https://api.openai.com/v1", "sk"), "gpt-5")
    assert models.production == ("gpt-5-nano",)
