from pathlib import Path

import pytest
import yaml

from compiler.search import META_TOKENS
from proxy.configfile import load_settings
from proxy.demo.rows import KINDS, MONEY
from proxy.demo.setting import ANSWER_TOKENS, LOCAL, MARGIN, OPENAI, SETTINGS, DemoError, Setting

KEYED = {"OPENAI_API_KEY": "sk-of-the-user"}


SAID = MONEY.messages("hello")


def written(setting: Setting, tmp_path: Path) -> Path:
    return setting.write(tmp_path, setting.upstreams or {"big": {"base_url": "http://127.0.0.1:9/v1"}})


@pytest.mark.parametrize("max_usd", [0.01, 0.50, 20.0])
def test_compiling_and_proving_can_spend_half_the_cap_at_most(max_usd: float, tmp_path: Path) -> None:
    settings = load_settings(written(OPENAI.capped(max_usd), tmp_path), KEYED)
    assert settings.compile.max_usd * len(KINDS) <= settings.background.usd_per_day <= max_usd / 2


def test_the_default_cap_leaves_room_for_the_longest_prompt_the_meta_model_can_write() -> None:
    longest_answer = max(META_TOKENS.values()) * 8.0 / 1e6
    assert OPENAI.capped(0.50).compile_usd > 2 * longest_answer


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_no_task_is_declared_and_nobody_judges(setting: Setting, tmp_path: Path) -> None:
    settings = load_settings(written(setting, tmp_path), KEYED)
    assert (settings.tasks, settings.mode) == ({}, "auto")
    assert settings.models.judge == setting.current
    assert settings.margin.default == settings.margin.text == MARGIN


@pytest.mark.parametrize(
    ("more", "base_url"),
    [({}, "https://api.openai.com/v1"), ({"OPENAI_BASE_URL": "http://here/v1"}, "http://here/v1")],
)
def test_key_and_address_come_from_the_environment(more: dict[str, str], base_url: str, tmp_path: Path) -> None:
    file = written(OPENAI, tmp_path)
    upstream = load_settings(file, KEYED | more).upstreams["openai"]
    assert (upstream.api_key, upstream.base_url) == ("sk-of-the-user", base_url)
    assert yaml.safe_load(file.read_text())["upstreams"]["openai"]["api_key"] == "${OPENAI_API_KEY}"


def test_only_local_models_need_prices_of_their_own(tmp_path: Path) -> None:
    prices = load_settings(written(SETTINGS["local"], tmp_path), {}).prices
    assert set(prices) == {"qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"}
    assert {price.cached_input for price in prices.values()} == {None}
    assert load_settings(written(OPENAI, tmp_path), KEYED).prices == {}


def test_a_cap_means_nothing_where_nobody_pays() -> None:
    assert LOCAL.capped(0.01) == LOCAL


def test_the_most_a_call_can_cost_counts_every_byte_as_a_token() -> None:
    text = "naïve 🙂 " * 10
    most = OPENAI.most(OPENAI.current, MONEY.messages(text))
    assert most > (len(text.encode()) * 2.0 + ANSWER_TOKENS * 8.0) / 1e6


def test_a_call_of_the_app_may_be_paid_twice() -> None:
    assert OPENAI.most_served(SAID) > OPENAI.most(OPENAI.current, SAID) + OPENAI.most(OPENAI.cheap, SAID)


def test_nothing_is_promised_about_a_model_without_a_price() -> None:
    with pytest.raises(DemoError, match="no known price"):
        OPENAI.most("openai/unheard-of", SAID)
