"""Every sample in the guide is read, in the form whose heading it stands under."""

import re
from pathlib import Path

import pytest

from proxy.replay.forms import NAMES

GUIDE = (Path(__file__).parents[3] / "docs" / "replay.md").read_text("utf-8")
SECTIONS = dict(zip(*[iter(re.split(r"^### `(\w+)`$", GUIDE, flags=re.M)[1:])] * 2, strict=True))
SAMPLES = [
    (form, kind, sample)
    for form, text in SECTIONS.items()
    for kind, sample in re.findall(r"^```(json|csv)\n(.*?)^```", text, re.M | re.S)
]


def test_every_form_has_a_section_with_a_sample():
    assert set(SECTIONS) == set(NAMES) == {form for form, _, _ in SAMPLES}


@pytest.mark.parametrize(("form", "kind", "sample"), SAMPLES)
def test_each_sample_is_read(read, form, kind, sample):
    calls, reading = read(f"log.{'jsonl' if kind == 'json' else kind}", sample)
    assert reading.problems == []
    assert list(reading.forms.values()) == [form]
    assert len(calls) == sample.count("\n") - (kind == "csv")
    for call in calls:
        assert call.request["model"].startswith("gpt-4.1")
        assert call.request["messages"][0]["content"].startswith("Is this spam?")
