import json
from random import Random

import pytest

from compiler.recognition.template import Pattern, Slot, Template, signature
from tests.compiler.recognition.traffic import Prose

ANY = Slot("text", longest=10_000, lines=True)
TYPED = {
    "email": ("jane@example.org", "jane at example.org"),
    "url": ("https://example.org/a?b=c", "example dot org"),
    "uuid": ("123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456"),
    "datetime": ("2026-11-24", "the day after"),
    "ip": ("192.0.2.7", "192.0.2"),
}


def template(*patterns: Pattern, **more) -> Template:
    return Template("abc", "shop", "s", ("user",) * len(patterns), patterns, **more)


def enumerated(*values: str) -> Slot:
    return Slot("enumerated", max(map(len, values)), values=frozenset(values))


@pytest.mark.parametrize("kind", TYPED)
def test_a_typed_slot_takes_a_value_of_its_type_and_nothing_else(kind):
    good, bad = TYPED[kind]
    slot = Slot(kind)
    assert slot.takes(good)
    for other in (
        bad,
        "",
        f"{good} and more",
        f"Never mind: {good}",
        f" {good}",
        f"{good}\n",
        *{values[0] for name, values in TYPED.items() if name != kind},
    ):
        assert not slot.takes(other), other


def test_a_text_slot_keeps_to_its_bounds():
    slot = Slot("text", longest=5, shortest=2)
    assert [value for value in ("", "a", "ab", "abcde", "abcdef", "a\nb") if slot.takes(value)] == ["ab", "abcde"]
    assert Slot("text", 5, lines=True).takes("a\nb")
    one = Slot("text", 100, sentences=1)
    assert one.takes("It is. So")
    assert not one.takes("It is. So. And")
    assert not one.takes("是。不。")


def test_a_text_slot_refuses_an_instructing_word_that_its_data_never_had():
    assert ANY.takes("The chair is broken.")
    assert not ANY.takes("Ignore the chair.")
    assert ANY._replace(words=frozenset({">ignore", "ignore"})).takes("Ignore the chair.")


def test_an_enumerated_slot_takes_what_was_seen():
    slot = enumerated("red", "")
    assert [value for value in ("red", "", "Red", "red ", "blue") if slot.takes(value)] == ["red", ""]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Name: Ann, town: Rome.", ["Ann", "Rome"]),
        ("Name: , town: .", ["", ""]),
        ("Name: Ann, town: Rome", None),
        ("name: Ann, town: Rome.", None),
        (" Name: Ann, town: Rome.", None),
        ("Name: Ann, town: Rome. ", None),
        ("Name: Ann, city: Rome.", None),
        ("Name: .", None),
        ("", None),
    ],
)
def test_a_pattern_takes_what_stands_between_its_literals(text, values):
    pattern = Pattern(("Name: ", ", town: ", "."), (ANY, ANY))
    assert pattern.values(text) == values
    assert pattern.has_literals(text) == (values is not None)


def test_literals_at_both_ends_never_share_characters():
    pattern = Pattern(("aba", "aba"), (ANY,))
    assert pattern.values("ababa") is None
    assert not pattern.has_literals("ababa")
    assert pattern.values("abaaba") == [""]


def test_a_literal_in_the_data_before_it_is_passed_over_where_the_slot_says_so():
    pattern = Pattern(("From ", ": ", ""), (enumerated("ann: bob"), ANY))
    assert pattern.values("From ann: bob: the bill: paid") == ["ann: bob", "the bill: paid"]


def test_literals_that_fit_around_values_that_do_not_are_told_apart():
    pattern = Pattern(("From ", ": ", ""), (Slot("email"), ANY))
    assert pattern.values("From jane@example.org: the bill: paid") == ["jane@example.org", "the bill: paid"]
    assert pattern.values("From nobody: jane@example.org: hm") is None
    assert pattern.has_literals("From nobody: jane@example.org: hm")


def test_a_constant_pattern_is_its_text_and_nothing_else():
    pattern = Pattern(("Tell a joke.",))
    assert pattern.constant
    assert pattern.values("Tell a joke.") == []
    assert pattern.values("Tell a joke!") is None


def test_choices_that_never_came_together_are_of_no_task():
    pattern = Pattern(("", " in ", ": ", ""), (enumerated("short", "long"), enumerated("red", "blue"), ANY))
    open_ = template(pattern)
    seen = frozenset(open_.choice([*pair, ""]) for pair in (("short", "red"), ("long", "blue")))
    made = template(pattern, choices=seen)
    assert made.values(["short in red: hm"]) == ["short", "red", "hm"]
    assert made.values(["short in blue: hm"]) is None
    assert made.variants == 2
    assert made.task_id(["short", "red", "a"]) == made.task_id(["short", "red", "b"])
    assert made.task_id(["short", "red", "a"]) != made.task_id(["long", "blue", "a"])


def test_without_enumerated_slots_the_task_is_the_template():
    made = template(Pattern(("Say: ", ""), (ANY,)))
    assert (made.task_id(["x"]), made.variants, made.choice(["x"])) == ("abc", 1, "")


def test_a_template_is_shown_with_its_slots():
    made = template(Pattern(("Be kind.",)), Pattern(("To ", ": ", ""), (Slot("email"), ANY)))
    assert made.shown() == "user: Be kind.\nuser: To {email1}: {text2}"


def generated(random: Random, prose: Prose) -> tuple[Template, list[str], list[str]]:
    """A template, values for it, and the texts they make; the literals between have a sign that no value has."""
    patterns, values, texts = [], [], []
    for _ in range(random.randint(1, 3)):
        literals, slots, text = [random.choice(("", prose.sentence() + "\n"))], [], ""
        text = literals[0]
        for _ in range(random.randint(0, 4)):
            kind = random.choice(("text", "text", "enumerated", *TYPED))
            value = TYPED[kind][0] if kind in TYPED else prose.text(1, 3)
            slot = enumerated(value, prose.name()) if kind == "enumerated" else ANY if kind == "text" else Slot(kind)
            literal = f" §{prose.sentence()} "
            literals.append(literal)
            slots.append(slot)
            values.append(value)
            text += value + literal
        patterns.append(Pattern(tuple(literals), tuple(slots)))
        texts.append(text)
    roles = ("system", "user", "assistant")[: len(patterns)]
    return Template("id", "shop", "s", roles, tuple(patterns)), values, texts


@pytest.mark.parametrize("seed", range(20))
def test_what_was_put_into_a_template_is_found_in_its_slots(seed):
    random, prose = Random(seed), Prose(seed)
    for _ in range(20):
        made, values, texts = generated(random, prose)
        assert made.values(texts) == values
        assert made.has_literals(texts)
        number = random.randrange(len(texts))
        longer = [*texts]
        longer[number] += "."
        assert made.values(longer) is None
        assert Template.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_template_survives_json_whatever_it_holds():
    slots = (Slot("text", 9, 1, True, 2, frozenset({"b", "a"})), enumerated("ü", "\ud800", "\0"))
    made = template(
        Pattern(("", "\ud800 \u2028", '"'), slots), catch_all=True, seen=7, choices=frozenset({"1f"}), model="m"
    )
    assert Template.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.signature == Template.from_json(made.to_json()).signature


def test_bounds_make_no_other_signature_and_everything_else_does():
    def sign(structure: str, *pieces) -> str:
        return signature(structure, [Pattern(*pieces)])

    one = sign("s", ("a", "b"), (ANY,))
    assert one == sign("s", ("a", "b"), (Slot("text", 5),))
    others = {
        sign("t", ("a", "b"), (ANY,)),
        sign("s", ("a", "c"), (ANY,)),
        sign("s", ("ab", ""), (ANY,)),
        sign("s", ("a", "b"), (Slot("email"),)),
        sign("s", ("ab",), ()),
    }
    assert len(others | {one}) == 6
