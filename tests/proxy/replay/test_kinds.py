import pytest

from proxy.replay.kinds import Kinds


def kind_of(*answers: str) -> str | None:
    kinds = Kinds()
    for answer in answers:
        kinds.add("t", {"choices": [{"message": {"content": answer}}]})
    return kinds.of("t")


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (["yes", "no"] * 10, "label"),
        (['{"a": 1}'] * 20, "json"),
        ([f"answer {i}" for i in range(20)], "text"),
        (["yes", "no\nbecause"] * 10, "text"),
        (["yes"] * 19 + ["x" * 81], "text"),
        (['{"a": 1}'] * 19 + ["{broken"], "text"),
        (["yes"] * 19, None),
        ([], None),
    ],
)
def test_the_kind_is_told_from_enough_answers(answers, kind):
    assert kind_of(*answers) == kind


def test_answers_that_are_no_text_are_not_counted():
    kinds = Kinds()
    for response in (None, {}, {"choices": None}, {"choices": [None]}, {"choices": [{"message": {"content": None}}]}):
        kinds.add("t", response)
    assert kinds.of("t") is None
