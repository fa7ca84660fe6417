from pathlib import Path
from typing import Any

import pytest

from proxy.banner import banner, warnings
from proxy.settings import Settings

SAMPLES = "samples of requests and answers"


def settings(tmp_path: Path, **capture: Any) -> Settings:
    return Settings.model_validate(
        {
            "upstreams": {"x": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
            "store": {"url": f"file:{tmp_path}", "retention_days": 3},
            "capture": capture,
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
