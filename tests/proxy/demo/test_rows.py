from pathlib import Path

import pytest

from proxy.demo.rows import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_rows_are_of_the_kind_and_always_in_the_same_order(kind: Kind, cache: Path) -> None:
    rows = kind.rows("train", cache)
    assert len(rows) == 240
    assert {right for _, right in rows} == set(kind.answers.values())
    assert rows == kind.rows("train", cache)
    assert not {text for text, _ in rows} & {text for text, _ in kind.rows("test", cache)}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_prompt_names_every_answer_and_ends_with_the_text(kind: Kind) -> None:
    ((role, content),) = (message.values() for message in kind.messages("what now?"))
    assert role == "user"
    assert content.endswith("Message: what now?")
    assert all(answer in content for answer in kind.answers.values())
