from pathlib import Path
from typing import Any

import pytest

from proxy.banner import banner, warnings
from proxy.settings import Settings

SAMPLES = "samples of requests and answers"


def settings(tmp_path: Path, more: Any = None, /, **capture: Any) -> Settings:
    return Settings.model_validate(
        {
            "upstreams": {"x": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
            "store": {"url": f"file:{tmp_path}", "retention_days": 3},
            "capture": capture,
            **(more or {}),
        }
    )


@pytest.mark.parametrize(
    ("capture", "shown"),
    [
        ({}, f"{SAMPLES}, redacted, for 3 days in {{}}/observations"),
        ({"redact": False}, f"{SAMPLES}, NOT REDACTED, for 3 days in {{}}/observations"),
        ({"enabled": False}, "no requests"),
        ({"enabled": False, "redact": False}, "no requests"),
    ],
)
def test_the_banner_says_what_is_captured_and_where(tmp_path, capture, shown):
    (line,) = [line for line in banner(settings(tmp_path, **capture), 8080).splitlines() if "captured" in line]
    assert line.split("captured")[1].strip() == shown.format(tmp_path)


@pytest.mark.parametrize(
    ("capture", "times"), [({}, 0), ({"redact": False}, 1), ({"enabled": False, "redact": False}, 0)]
)
def test_to_keep_what_was_said_as_it_was_is_warned_about(tmp_path, capture, times):
    found = [line for line in warnings(settings(tmp_path, **capture)) if "capture.redact" in line]
    assert len(found) == times
    assert all("for your own data only" in line for line in found)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("observe", "nothing is changed"),
        ("manual", "what you approve is served while at most 2 % worse (5 % for free text), 95 % sure"),
        ("auto", "compiled, proven, and served while at most 2 % worse (5 % for free text), 95 % sure"),
    ],
)
def test_the_banner_says_what_may_happen_in_this_mode(tmp_path, mode, words):
    chosen = settings(tmp_path, {"mode": mode})
    (line,) = [line for line in banner(chosen, 8080).splitlines() if "what may happen" in line]
    assert words in line
    assert not [line for line in warnings(chosen) if "mode" in line]
