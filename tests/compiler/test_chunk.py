import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.chunk import chunks, items_of, spans
from compiler.errors import ModelFailed

TEXT = st.lists(st.sampled_from(["word ", "end. ", "\n\n", "\n", "longerword", "。", "x", " "]), max_size=200).map(
    "".join
)


@settings(max_examples=100, deadline=None)
@given(TEXT, st.integers(1, 60), st.integers(0, 29))
def test_pieces_hold_all_of_the_text_in_order_and_overlap_by_no_more_than_they_may(text, size, overlap):
    overlap = min(overlap, max(0, size // 2 - 1))
    end = 0
    for start, stop in spans(text, size, overlap):
        assert 0 < stop - start <= size
        assert end - overlap <= start <= end < stop
        end = stop
    assert end == len(text)
    assert "".join(chunks(text, size, 0)) == text


def test_a_piece_ends_with_a_paragraph_else_a_sentence_else_a_word():
    assert chunks("One. Two.\n\nThree four.", 15, 0)[0] == "One. Two.\n\n"
    assert chunks("One two. Three four five", 15, 0)[0] == "One two. "
    assert chunks("One two three four", 10, 0)[0] == "One two "
    assert chunks("x" * 25, 10, 0) == ["x" * 10, "x" * 10, "x" * 5]


def test_the_next_piece_repeats_the_end_of_the_last_from_where_a_sentence_begins():
    first, second = chunks("This is one thing. It is two. And three is more.", 30, 14)
    assert (first, second) == ("This is one thing. It is two. ", "It is two. And three is more.")


def test_what_is_short_is_one_piece_and_nothing_is_none():
    assert (chunks("short"), chunks("")) == (["short"], [])


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ([1, "b"], [1, "b"]),
        ([], []),
        ("[]", []),
        ({"items": ["a"]}, ["a"]),
        ('{"items": ["a"]}', ["a"]),
        ('["a", "b"]', ["a", "b"]),
        ('```json\n["a"]\n```', ["a"]),
        ("[Note] see [1].", ["[Note] see [1]."]),
        ('{"a": 1}', ['{"a": 1}']),
        ("text", ["text"]),
    ],
)
def test_items_are_those_of_a_list_or_pieces_of_a_text(value, items):
    assert items_of(value) == items


@pytest.mark.parametrize("value", [None, 7, {"a": [1], "b": [2]}, {}])
def test_what_is_neither_has_none(value):
    with pytest.raises(ModelFailed):
        items_of(value)
