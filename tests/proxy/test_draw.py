from collections import Counter

import pytest

from proxy.draw import draw

SYSTEM = {"role": "system", "content": "Be kind."}


def asked(text: str, *later: dict, **more) -> dict:
    return {"messages": [SYSTEM, {"role": "user", "content": text}, *later], **more}


def test_draws_are_spread_evenly():
    tenths = Counter(int(10 * draw("shop", "mood", asked(f"text {n}"))) for n in range(10_000))
    assert set(tenths) == set(range(10))
    assert all(count == pytest.approx(1_000, abs=120) for count in tenths.values())


def test_a_conversation_keeps_its_draw_as_it_goes_on():
    later = [{"role": "assistant", "content": "hello"}, {"role": "user", "content": "and now?"}]
    assert draw("shop", "mood", asked("hi")) == draw("shop", "mood", asked("hi", *later))


def test_tenants_and_tasks_draw_by_themselves():
    draws = {draw(tenant, task, asked("hi")) for tenant in ("shop", "lab") for task in ("mood", "topic")}
    assert len(draws) == 4
    assert draw("a", "bc", asked("hi")) != draw("ab", "c", asked("hi"))


def test_one_user_for_all_traffic_is_not_one_draw_for_all():
    draws = {draw("shop", "mood", asked(f"text {n}", user="backend", prompt_cache_key="v1")) for n in range(50)}
    assert len(draws) == 50


@pytest.mark.parametrize("messages", [None, "hi", [], [3], [{"role": "user", "content": [{"type": "text"}]}]])
def test_whatever_came_has_a_draw(messages):
    assert 0 <= draw("shop", "mood", {"messages": messages}) < 1
