from collections import Counter

import pytest

from compiler.recognition.align import KINDS
from compiler.recognition.gaps import assess, is_name, is_pool, is_typed, is_varied
from compiler.recognition.repeats import Split
from tests.compiler.recognition.traffic import Prose


def kind(values, place="anchored", *, optional: bool = False, variants=None):
    return assess(values, place, optional, variants or [""] * len(values))


def groups(values, **more) -> list[set[str]]:
    found = kind(values, **more)
    assert isinstance(found, Split)
    return [{values[i] for i in group} for group in found.groups]


def test_values_that_never_repeat_are_data():
    assert kind(Prose(1).texts(40)) == "slot"


@pytest.mark.parametrize("place", ["anchored", "instructed", "blank"])
def test_values_of_a_type_are_data_even_where_they_repeat(place):
    assert kind([KINDS["datetime"]] * 40, place) == "slot"


def test_few_words_that_repeat_are_a_list_where_the_text_says_what_it_is():
    assert kind(["red", "blue"] * 20) == "enumerated"
    assert kind(["not ", ""] * 20) == "enumerated"


@pytest.mark.parametrize("place", ["instructed", "blank"])
def test_values_that_repeat_split_where_the_text_does_not_say_what_it_is(place):
    assert groups(["red", "blue"] * 20, place=place) == [{"red"}, {"blue"}]


def test_long_values_that_repeat_split():
    one, other = Prose(1).document(300), Prose(2).document(300)
    assert groups([one, other] * 20) == [{one}, {other}]


def test_one_value_that_comes_again_and_again_among_data_is_of_its_own():
    values = Prose(1).texts(40) + ["The same old text."] * 15
    assert {"The same old text."} in groups(values)


def test_a_value_that_repeats_with_each_of_anothers_values_is_data_there():
    """Each document is asked five questions: it repeats in all, and never with one question."""
    documents, questions = Prose(1).texts(20), ["who", "what", "when", "where", "why"]
    values = [document for document in documents for _ in questions]
    assert isinstance(kind(values), Split) or kind(values) != "slot"
    assert kind(values, variants=questions * 20) == "slot"


def test_what_is_left_out_now_and_then_is_data():
    assert kind([text if n % 3 else "" for n, text in enumerate(Prose(1).texts(60))], optional=True) == "slot"


def test_names_are_a_few_words_with_capitals_or_digits_that_do_not_instruct():
    assert all(map(is_name, ("Jane", "Jane Smith", "A-7731")))
    assert is_name("7731")
    assert is_name("Town of York Hill")
    assert not any(map(is_name, ("", "jane", "French", "Never", "a long text with One capital", "A B C D E F")))


def test_a_pool_has_many_names_and_none_that_dominates():
    names = [f"Name{n}" for n in range(12)]
    assert is_pool(Counter(names * 3))
    assert not is_pool(Counter(names[:8] * 3)), "too few"
    assert not is_pool(Counter([*names * 3, *["Name1"] * 30])), "one dominates"
    assert not is_pool(Counter([*names * 3, *["French"] * 3])), "one instructs"
    assert not is_pool(Counter([word.lower() for word in names_of(12)] * 3)), "words"


def names_of(count: int) -> list[str]:
    prose = Prose("pool")
    return [prose.name() for _ in range(count)]


def test_typed_and_varied():
    assert is_typed(f" {KINDS['ip']}\n")
    assert not is_typed(f"{KINDS['ip']}!")
    assert is_varied(Counter("abcc"))
    assert not is_varied(Counter("abccc"))


def test_greetings_that_repeat_are_data():
    prose = Prose("greetings")
    hellos = ("Hello there,\n\n", "Dear Sir or Madam,\n\n", "Good morning,\n\n")
    values = [(prose.random.choice(hellos) if n % 2 else "") + text for n, text in enumerate(prose.texts(80))]
    assert kind(values) == "slot"


@pytest.mark.parametrize("apart", ["\n\n", ": ", ".\n", " - ", '\n"""\n'])
@pytest.mark.parametrize("behind", [False, True])
def test_a_value_beside_the_data_splits(apart, behind):
    prose, topics = Prose("beside"), ("cats", "dogs", "birds")
    texts = [prose.text().rstrip(".!") + "x" for _ in range(60)]
    values = [f"{t}{apart}{topics[n % 3]}" if behind else f"{topics[n % 3]}{apart}{t}" for n, t in enumerate(texts)]
    found = kind(values)
    assert isinstance(found, Split)
    assert [len({n % 3 for n in group}) for group in found.groups] == [1, 1, 1]


def test_what_hardly_any_have_beside_the_data_is_of_none_of_the_groups():
    values = [f"{('cats', 'dogs')[n % 2]}: {text}" for n, text in enumerate(Prose("rare").texts(60))]
    values[7] = values[7].replace("dogs", "birds")
    found = kind(values)
    assert isinstance(found, Split)
    assert 7 not in [n for group in (*found.groups, found.rest) for n in group]


def test_the_fields_of_json_are_data():
    prose = Prose("json")
    values = [f'"{prose.name()}", "text": "{prose.text()}", "count": {n % 4}' for n in range(60)]
    assert kind(values) == "slot"


def test_lines_that_instruct_split_data_where_others_have_none():
    prose = Prose("instructed")
    plain = prose.texts(40)
    ordered = [f"Translate this into French:\n{text}" for text in prose.texts(30)]
    found = kind([*plain, *ordered], "instructed")
    assert isinstance(found, Split)
    assert found.loosens
    assert all(set(group) <= set(range(40, 70)) for group in found.groups)
