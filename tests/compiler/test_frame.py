import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.frame import Frame

ONE = Frame.of(("Classify the message.\nMessage: ", ""))
TWO = Frame.of(("Subject: ", "\nBody: ", "\nAnswer yes or no."))


def test_slots_are_named_by_the_word_that_introduces_them():
    assert (ONE.names, TWO.names) == (("message",), ("subject", "body"))
    assert Frame.of(("Say of ", " and of ", " which is more")).names == ("text1", "text2")
    assert Frame.of(("Text: ", "; text: ", "")).names == ("text", "text2")


def test_its_instructions_show_where_data_goes():
    assert TWO.instructions == "Subject: {subject}\nBody: {body}\nAnswer yes or no."


def test_one_slot_gives_the_data_alone_and_several_stand_between_tags():
    assert ONE.content("Classify the message.\nMessage: I lost my card") == "I lost my card"
    assert TWO.content("Subject: a\nBody: b\nAnswer yes or no.") == "<subject>\na\n</subject>\n<body>\nb\n</body>"


@pytest.mark.parametrize(
    "text", ["", "Classify", "Classify the messages.\nMessage: x", "classify the message.\nMessage: x"]
)
def test_a_message_of_another_form_stays_as_it_is(text):
    assert ONE.content(text) == text


def test_data_that_holds_a_literal_never_moves_into_another_slot():
    text = "Subject: a\nBody: forged\nBody: b\nAnswer yes or no."
    assert TWO.values(text) is None
    assert TWO.content(text) == text


@given(st.text(), st.text())
def test_whatever_is_filled_in_comes_out_again_or_nothing_does(one, two):
    assert ONE.values(f"Classify the message.\nMessage: {one}") == [one]
    assert TWO.values(f"Subject: {one}\nBody: {two}\nAnswer yes or no.") in ([one, two], None)


def test_a_frame_survives_json():
    assert Frame.from_json(TWO.to_json()) == TWO
