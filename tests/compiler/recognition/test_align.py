from random import Random

import pytest

from compiler.recognition.align import (
    BREAK,
    KIND_OF,
    KINDS,
    Aligned,
    apart,
    canonical,
    common_prefix,
    common_suffix,
    in_word,
)
from tests.compiler.recognition.traffic import Prose


def aligned(*texts: str) -> Aligned:
    made = apart(texts)
    made.align()
    return made


def rendered(made: Aligned, number: int) -> str:
    text = made.literals[0]
    for gap, literal in zip(made.gaps, made.literals[1:], strict=True):
        text += gap[number] + literal
    return text


def test_typed_values_stand_as_one_character_each_and_can_be_put_back():
    text, values = canonical(["Mail jane@example.org by 2026-11-24", "See https://example.org/a."])
    assert text == f"Mail {KINDS['email']} by {KINDS['datetime']}{BREAK}See {KINDS['url']}."
    assert values == ["jane@example.org", "2026-11-24", "https://example.org/a"]
    assert {KIND_OF[char] for char in text if char in KIND_OF} == {"email", "datetime", "url"}


@pytest.mark.parametrize("char", ["\ue000", "\ue05a", BREAK])
def test_a_text_that_has_such_a_character_itself_is_not_read(char):
    assert canonical(["so happy", f"a{char}b"]) is None


@pytest.mark.parametrize(
    ("texts", "prefix"),
    [
        (["Say this", "Say that"], "Say "),
        (["Say", "Saying"], ""),
        (["Say", "Say so"], "Say"),
        (["user_a", "user_b"], ""),
        (["same", "same"], "same"),
        (["", "a"], ""),
        (["so!", "so?"], "so"),
        (["翻译成法语", "翻译成德语"], "翻译成"),
        (["\n\nA", "\n\nB"], "\n\n"),
    ],
)
def test_a_shared_prefix_ends_where_words_do(texts, prefix):
    assert common_prefix(texts) == prefix
    assert common_suffix([text[::-1] for text in texts]) == prefix[::-1]


def test_scripts_without_spaces_have_no_words():
    assert [in_word(char) for char in "aé1_ -译"] == [True] * 4 + [False] * 3


def test_what_all_texts_share_is_literal():
    made = aligned("Say in a word what Ann thinks of the chair.", "Say in a word what Bob thinks of the table.")
    assert made.literals == ["Say in a word what ", " thinks of the ", "."]
    assert made.gaps == [["Ann", "Bob"], ["chair", "table"]]


def test_texts_that_are_the_same_have_no_gaps():
    assert aligned("so happy", "so happy").gaps == []


def test_texts_that_share_nothing_are_one_gap():
    made = aligned("one two three", "four five six")
    assert (made.literals, made.gaps) == (["", ""], [["one two three", "four five six"]])


def test_what_stands_twice_in_one_text_is_no_anchor():
    made = aligned("a: the same three words b: the same three words c", "d: the same three words e")
    assert len(made.literals) == 2


def test_an_anchor_stands_in_the_same_order_in_all():
    made = aligned("x one two three y four five six z", "p four five six q one two three r")
    assert sum("one two three" in text or "four five six" in text for text in made.literals) == 1


def test_messages_are_never_aligned_across_their_ends():
    made = aligned(f"be kind to all of us{BREAK}hello", f"hello{BREAK}be kind to all of us")
    assert made.literals == ["", BREAK, ""]
    assert [made.message_of(number) for number in range(2)] == [0, 1]


def test_a_gap_is_of_the_message_it_stands_in():
    made = aligned(f"Be kind, Ann.{BREAK}Say so: red", f"Be kind, Bob.{BREAK}Say so: blue")
    assert [made.own_literals(number) for number in range(2)] == ["Be kind, \n.", "Say so: \n"]
    assert made.by_message() == [["Be kind, ", "."], ["Say so: ", ""]]


def test_a_part_of_the_texts_may_share_more():
    made = aligned("Say the red one", "Say the red two", "Say a blue one")
    part = made.of([0, 1])
    part.align()
    assert part.literals == ["Say the red ", ""]
    assert made.literals[0] == "Say ", "the others' is left as it was"


@pytest.mark.parametrize("seed", range(15))
def test_no_text_is_lost_whatever_is_aligned(seed):
    random, prose = Random(seed), Prose(seed)
    literals = [prose.sentence(3, 8) for _ in range(random.randint(0, 4))]
    texts = [
        " ".join(part for literal in literals for part in (prose.text(0, 2), literal) if random.random() < 0.95)
        for _ in range(random.randint(1, 8))
    ]
    made = aligned(*texts)
    assert [rendered(made, number) for number in range(len(texts))] == texts
    assert len(made.literals) == len(made.gaps) + 1
    assert all(any(gap) for gap in made.gaps)
