from dataclasses import replace
from random import Random

import pytest

from compiler.recognition.recognise import TRIED, Recogniser
from compiler.recognition.template import Pattern, Slot, Template
from tests.compiler.recognition.traffic import Prose

ANY = Slot("text", longest=10_000, lines=True)
MANY = 1_000


def of(id_: str, *literals: str, slot: Slot = ANY, structure: str = "s", **more) -> Template:
    pattern = Pattern(literals, (slot,) * (len(literals) - 1))
    return Template(id_, "shop", structure, ("user",), (pattern,), **more)


def literal_words(number: int) -> str:
    prose = Prose(f"literals {number}")
    return f"{prose.word()} {prose.word()} {number}"


KINDS = {
    "a prefix": lambda n: (f"{literal_words(n)}: ", ""),
    "a suffix": lambda n: ("", f" ({literal_words(n)})"),
    "a shared prefix and a suffix": lambda n: ("Say about ", f" ({literal_words(n)})"),
    "an inner line": lambda n: ("Text: ", f"\n{literal_words(n)}\n", " That is all."),
    "an inner word": lambda n: ("Text: ", f" so{n}so ", " That is all."),
    "a whole text": lambda n: (literal_words(n),),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_a_thousand_templates_is_found_by(kind):
    templates = [of(f"t{n}", *KINDS[kind](n)) for n in range(MANY)]
    index = Recogniser(templates)
    prose, random = Prose(kind), Random(kind)
    for number in random.sample(range(MANY), 100):
        literals = templates[number].patterns[0].literals
        values = [prose.text() for _ in literals[1:]]
        text = literals[0] + "".join(map("".join, zip(values, literals[1:], strict=True)))
        found = index.match("s", [text])
        assert found is not None
        assert (found.template.id, found.values) == (f"t{number}", values)
        assert index.match("s", [f"{text}."]) is None or not literals[-1]
        assert index.match("other", [text]) is None


@pytest.mark.parametrize("kind", KINDS)
def test_few_of_a_thousand_templates_are_tried(kind, monkeypatch):
    templates = [of(f"t{n}", *KINDS[kind](n)) for n in range(MANY)]
    index = Recogniser(templates)
    tried = []
    values = Template.values
    monkeypatch.setattr(Template, "values", lambda self, texts: tried.append(self.id) or values(self, texts))
    literals = templates[7].patterns[0].literals
    assert index.match("s", ["so happy".join(literals)])
    assert len(tried) <= TRIED


def test_the_closest_of_those_that_fit_is_taken():
    index = Recogniser([of("wide", "Say ", ""), of("close", "Say in French: ", ""), of("closer", "Say in ", " please")])
    assert index.match("s", ["Say in French: hm"]).template.id == "close"
    assert index.match("s", ["Say hm"]).template.id == "wide"


def test_free_chat_is_wider_than_any_task():
    free = of("free", "Say in a word and nothing but a word: ", "", catch_all=True)
    assert (
        Recogniser([free, of("task", "Say", "")]).match("s", ["Say in a word and nothing but a word: a"]).template.id
        == "task"
    )


def test_where_the_closest_templates_slots_refuse_no_wider_one_is_asked():
    close, wide = of("close", "Say to ", ": hello", slot=Slot("email")), of("wide", "Say to ", "")
    index = Recogniser([close, wide])
    assert index.match("s", ["Say to jane@example.org: hello"]).template.id == "close"
    assert index.match("s", ["Say to nobody: hello"]) is None
    assert index.match("s", ["Say to nobody: goodbye"]).template.id == "wide"


def test_another_number_of_messages_or_an_unknown_structure_is_no_match():
    index = Recogniser([of("t", "Say: ", "")])
    for texts in ([], ["Say: a", "b"]):
        assert index.match("s", texts) is None
    assert index.match("unknown", ["Say: a"]) is None
    assert Recogniser().match("s", ["Say: a"]) is None


def test_every_message_has_to_fit():
    two = (Pattern(("Be kind.",)), Pattern(("Say: ", ""), (ANY,)))
    one = Template("kind", "shop", "s", ("system", "user"), two)
    other = replace(one, id="rude", patterns=(Pattern(("Be rude.",)), two[1]))
    index = Recogniser([one, other])
    assert index.match("s", ["Be kind.", "Say: a"]).template.id == "kind"
    assert index.match("s", ["Be rude.", "Say: a"]).template.id == "rude"
    assert index.match("s", ["Be rude. ", "Say: a"]) is None
    assert index.match("s", ["Be rude.", "say: a"]) is None


def test_where_more_templates_fit_than_are_tried_it_is_unsure():
    """None of those tried takes it, and one that would was not tried."""
    templates = [of(f"t{n}", "Say:", "!" * (n % 3), slot=Slot("email")) for n in range(3)]
    blocked = [of(f"b{n}", "Say: long" + " " * n, "", slot=Slot("email")) for n in range(TRIED + 3)]
    index = Recogniser([*templates, *blocked, of("wide", "Say", "")])
    assert index.match("s", ["Say: long" + " " * (TRIED + 3) + "text"]) is None


@pytest.mark.parametrize(
    "text", ["", " ", "\n" * 50, "\0\x1f\x7f", "\ud800", "\ue000\ue0ff", "x" * 200_000, "Say: \udfff", "é", "😀" * 50]
)
def test_nothing_is_raised_for_a_strange_text(text):
    index = Recogniser([of("t", "Say: ", "", slot=Slot("text", 100)), of("u", "", " so"), of("v", "a", "\nb c\n", "d")])
    found = index.match("s", [text])
    assert found is None or (text == "Say: \udfff" and found.template.id == "t")


def test_an_index_of_prefixes_of_each_other_finds_each():
    index = Recogniser([of(f"t{n}", "ab" * n + ": ", "") for n in range(1, 40)])
    for n in range(1, 40):
        assert index.match("s", ["ab" * n + ": c"]).template.id == f"t{n}"
    assert index.match("s", ["ab" * 40 + ": c"]) is None
    assert index.match("s", ["aba: c"]) is None
