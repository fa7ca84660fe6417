import pytest

from compiler.recognition.naming import name_of
from compiler.recognition.template import Pattern, Slot, Template
from compiler.task import NAME
from tests.compiler.recognition.traffic import Prose


def of(*texts: str, roles: tuple[str, ...] = ("user",)) -> Template:
    """`{}` is a slot."""
    patterns = [Pattern(tuple(text.split("{}")), (Slot(longest=99),) * text.count("{}")) for text in texts]
    return Template("0123456789", "shop", "s", roles, tuple(patterns))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Summarise the mail below in one line.\n\n{}", "summarise-mail-one-line"),
        ("Here is a mail: {}\nTranslate it into French.", "translate-french"),
        ("You are kind. Classify the sentiment of a review: {}", "classify-sentiment-review"),
        ("Übersetze die Nachricht ins Englische: {}", "ubersetze-nachricht-ins-englische"),
        ("Don't translate the names: {}", "dont-translate-names"),
        ("请翻译: {}", "task-012345"),
        ("{}", "task-012345"),
        ("", "task-012345"),
        ("... !!! {}", "task-012345"),
    ],
)
def test_a_task_is_named_after_what_it_asks_for(text, name):
    assert name_of(of(text)) == name


def test_what_the_users_message_says_comes_before_the_system_prompt():
    shared = "Answer as the support desk of a shop."
    assert name_of(of(shared, "List the names: {}", roles=("system", "user"))) == "list-names"
    assert name_of(of(shared, "{}", roles=("system", "user"))) == "answer-support-desk-shop"


def test_a_name_that_is_taken_gets_a_number():
    taken: set[str] = set()
    for wanted in ("list-names", "list-names-2", "list-names-3"):
        name = name_of(of("List the names: {}"), taken)
        assert name == wanted
        taken.add(name)


@pytest.mark.parametrize(
    "text",
    [
        "Antidisestablishmentarianism " * 9,
        "x" * 500,
        "Say " + "é" * 200,
        "İstanbul'da ﬁne ½ ǅ names",
        "\ud800 lone \udfff surrogates here",
        "write_the_names/of:all.things",
        "I'll write y'all's names",
        "Ask: {}\0{}\n\n- {}\n",
        "١٢٣ ٤٥٦",
    ],
)
def test_every_name_is_a_valid_one(text):
    assert NAME.fullmatch(name_of(of(text)))
    assert NAME.fullmatch(name_of(of(text), {name_of(of(text))}))


def test_names_of_many_are_unique_and_valid():
    prose, taken = Prose("names"), set()
    for number in range(300):
        name = name_of(of(f"{prose.sentence() if number % 2 else 'Say so.'} {{}}"), taken)
        assert NAME.fullmatch(name)
        assert name not in taken
        taken.add(name)
