from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from compiler.evidence import Evidence
from compiler.families import Family
from proxy.settings import Settings, Timeouts

UPSTREAMS = {"openai": {"base_url": "https://api.openai.com/v1/", "api_key": "sk-test"}}


def settings(**more: Any) -> Settings:
    return Settings.model_validate({"upstreams": UPSTREAMS, **more})


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("60s", 60), ("10m", 600), ("2h", 7_200), ("7d", 604_800), ("1.5s", 1.5), ("3", 3), (3, 3)],
)
def test_a_duration_is_a_number_with_a_unit_or_seconds(written, seconds):
    assert Timeouts(connect=written).connect == seconds


@pytest.mark.parametrize("written", ["", "s", "soon", "5 parsecs", "5sm", "-5s", "0s", 0, "nan"])
def test_what_is_no_duration_is_refused(written):
    with pytest.raises(ValidationError):
        Timeouts(connect=written)


@pytest.mark.parametrize("kind", ["default", "text"])
def test_a_margin_that_no_proof_could_begin_with_is_refused(kind):
    Evidence(getattr(settings(margin={kind: 0.33}).margin, kind))
    for margin in (0.0, 0.34, 0.5):
        with pytest.raises(ValidationError):
            settings(margin={kind: margin})


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        settings().mode = "auto"


def test_the_defaults_leave_traffic_as_it_is():
    chosen = settings()
    assert (chosen.mode, chosen.listen.host, chosen.listen.port) == ("observe", "127.0.0.1", 8080)
    assert chosen.listen.loopback


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "127.255.255.254", "localhost", "LocalHost", "::1", "::ffff:127.0.0.1"]
)
def test_the_own_machine_is_loopback(host):
    assert settings(listen={"host": host}).listen.loopback


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "10.0.0.1", "126.255.255.255", "128.0.0.1", "169.254.1.1", "example.com", "::", "::ffff:0.0.0.0"),
        *("::ffff:192.168.1.5", "fe80::1", "localhost.lan", "server.lan", "127.1", "0", "2130706433", ""),
    ],
)
def test_only_the_own_machine_is_loopback(host):
    """What is written in a way that only a resolver understands is on the safe side: not loopback."""
    assert not settings(listen={"host": host}).listen.loopback


@pytest.mark.parametrize(
    "written", ["https://u:sk-secret-1@x/v1", "https://sk-secret-1@x", "https://x/v1?key=sk-secret-1"]
)
def test_a_key_in_an_address_is_refused_and_not_repeated(written):
    with pytest.raises(ValidationError, match="a key belongs in `api_key`") as caught:
        settings(upstreams={"x": {"base_url": written}})
    assert "sk-secret-1" not in str(caught.value)


def test_no_key_is_in_what_settings_show_of_themselves():
    auth = {"keys": [{"key": "sk-secret-1"}], "admin_token": "sk-secret-2"}
    chosen = settings(upstreams={"x": {"base_url": "https://x/v1", "api_key": "sk-secret-3"}}, auth=auth)
    assert "sk-secret" not in repr(chosen) + str(chosen) + repr(chosen.endpoints())
    assert chosen.endpoints().by_name["x"].api_key == "sk-secret-3"


def test_a_complaint_does_not_repeat_a_key():
    with pytest.raises(ValidationError) as caught:
        settings(auth={"keys": [{"key": {"sk-secret-1": 1}}], "admin_token": "short-1"})
    assert "secret-1" not in str(caught.value)
    assert "short-1" not in str(caught.value)


def test_an_upstream_has_a_key_or_needs_none_or_takes_the_clients():
    more = {"local": {"base_url": "http://127.0.0.1:1/v1", "api_key": "none"}, "theirs": {"base_url": "http://x/v1"}}
    endpoints = settings(upstreams={**UPSTREAMS, **more}).endpoints().by_name
    assert endpoints["openai"].base_url == "https://api.openai.com/v1"
    assert (endpoints["openai"].api_key, endpoints["openai"].keyless) == ("sk-test", False)
    assert (endpoints["local"].api_key, endpoints["local"].keyless, endpoints["local"].ours) == (None, True, True)
    assert (endpoints["theirs"].api_key, endpoints["theirs"].ours) == (None, False)


def test_the_first_upstream_written_is_the_first_asked():
    upstreams = {"z": {"base_url": "http://z/v1"}, "a": {"base_url": "http://a/v1"}}
    assert settings(upstreams=upstreams).endpoints().first.name == "z"


@pytest.mark.parametrize("address", ["api.openai.com/v1", "ftp://x/v1", "http://", ""])
def test_an_upstream_needs_a_web_address(address):
    with pytest.raises(ValidationError, match="no address"):
        settings(upstreams={"openai": {"base_url": address}})


@pytest.mark.parametrize(
    "output",
    [
        {"kind": "label"},
        {"kind": "text", "labels": ["a"]},
        {"kind": "json", "labels": ["a"]},
        {"kind": "text", "keys": ["a"]},
        {"kind": "poem"},
    ],
)
def test_an_output_has_what_its_kind_has(output):
    with pytest.raises(ValidationError):
        settings(tasks={"mood": {"description": "d", "output": output}})


@pytest.mark.parametrize("name", ["Mood", "a b", "", "-a", "a" * 65, "ä"])
def test_a_task_name_is_short_and_plain(name):
    with pytest.raises(ValidationError, match="is no task name"):
        settings(tasks={name: {"description": "d"}})


@pytest.mark.parametrize("url", ["redis://x", "file:", ".cuecard"])
def test_a_store_is_a_folder(url):
    with pytest.raises(ValidationError, match="file:FOLDER"):
        settings(store={"url": url})
    assert settings(store={"url": "file:/var/x"}).store.folder == Path("/var/x")


def test_an_unwritten_price_part_is_left_to_the_price_book():
    assert settings(prices={"m": {"input": 1, "output": 2}}).own_prices() == {"m": {"input": 1.0, "output": 2.0}}


def test_capabilities_become_families():
    expected = {"llama": Family(reasoning=False, json_schema=False, openai=False)}
    assert settings(capabilities={"llama": {"json_schema": False}}).families() == expected


def test_compile_options_and_background_models_are_the_configured_ones():
    chosen = settings(
        compile={"min_examples": 7, "max_usd": 1}, models={"meta": "m", "judge": "j", "production": ["p"]}
    )
    options = chosen.compile_options()
    assert (options.min_examples, options.max_usd, options.max_minutes, options.concurrency) == (7, 1.0, 10.0, 8)
    assert chosen.background_models().meta == "m"
    assert tuple(chosen.background_models().production) == ("p",)
