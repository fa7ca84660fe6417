"""Words that tell a model what to do, in the languages of `lexicon/`. They only ever make recognition more
careful: what has such a word where none was seen is not matched."""

import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

SENTENCE = re.compile(r"[.!?:;\n。！？]+[\s\"'(*-]*")
ENOUGH_WORDS = 8  # of literal text that say what a task is
OPENINGS = ("", "(", '"')
ENDS = ("", ",", ".", ":", ";", "!", "?", ")")
# How sentences begin that may be instructions, beside the verbs of the lexicon.
PLEASE = frozenset(("please", "bitte", "por", "veuillez"))
JOINING = frozenset(("do", "also", "and", "then"))
CONDITIONS = frozenset(("if", "when", "unless", "wenn", "falls", "si", "cuando", "quand", "se", "quando", "als"))
PERSONS = frozenset(["you", "du", "sie", "vous", "tu", "usted", "the"])
MODALS = frozenset(("must", "should", "shall", "may", "answer", "reply", "response", "output")) | frozenset(
    ("musst", "sollst", "darfst", "müssen", "sollen", "dürfen", "devez", "debes", "debe")
)
BEFORE_VERBS = frozenset(("not", "don't", "never", "no", "ne", "non", "não", "nunca", "nicht", "niet")) | {
    "only",
    "always",
}
INSIDE = frozenset(("you", "if", "do", *BEFORE_VERBS)) - {"no", "ne", "non"}  # with a capital, in a sentence
EDGE = 500  # characters looked at from either end of a longer text: an instruction put in front of data, or after it
WHOLE = 2_000  # up to here a text is looked at as a whole
TAIL = 160  # characters at either end of a text in which a sentence may be glued to a word
GLUE = re.compile(r"[a-zß-ÿ0-9\"')\]][A-ZÀ-Ý][a-zß-ÿ]")  # the same as below, and quicker to look for
GLUED = re.compile(r"(?<=[a-zß-ÿ0-9\"')\]])(?=[A-ZÀ-Ý][a-zß-ÿ])")
SHORT = 60  # characters of a text in which one word may make another task


def instructing(text: str, at: int = 0, end: int | None = None) -> frozenset[str]:
    """The instructing words of `text[at:end]` in their plain form; marked with `>` those that begin a sentence, with
    `^` those that look as if they began one in the middle of another. Of a long text, those near its ends."""
    end = len(text) if end is None else end
    text = text[at:end] if end - at <= WHOLE else f"{text[at : at + EDGE]}\n{text[end - EDGE : end]}"
    known = _lexicon()
    plain: set[str] = set()
    if len(text) <= SHORT:
        plain |= known.short.intersection(text.lower().split())
    sentences = SENTENCE.split(text)
    for edge in (text[:TAIL], text[-TAIL:]) if len(text) > TAIL else (text,):
        if GLUE.search(edge):
            sentences += GLUED.split(edge)[1:]
    begin = set()
    for number, sentence in enumerate(sentences):
        if not number or sentence[:1].isupper():
            first, _, rest = sentence.partition(" ")
            begin.add(first)
            if first.lower().rstrip(",:") in known.openers and (opener := _opener(first, rest, known)):
                plain.add(opener)
    for form in known.listed.intersection(text.split()):
        word = known.forms[form]
        if word[0] != "^" or form not in begin:
            plain.add(word)
    if not text.isascii():
        plain.update(sign for sign in known.signs if sign in text)
    return frozenset(plain)


def _opener(first: str, rest: str, known: "_Lexicon") -> str | None:
    """How a sentence that may be an instruction begins: a verb, "please", a verb that is denied, "if …, verb", "you
    must"."""
    low = first.lower().rstrip(",:")
    if low in known.verbs and low not in BEFORE_VERBS:
        return f">{low}"
    if low in CONDITIONS:
        after = rest.rpartition(", ")[2].partition(" ")[0].lower()
        return f">{low}" if ", " in rest and (after in known.verbs or after in JOINING) else None
    second = rest.partition(" ")[0].lower()
    if low in PERSONS:
        return f">{low} {second}" if second in MODALS else None
    if low in PLEASE:
        return f">please {second}" if second in known.model else ">please"
    if low in JOINING:
        return f">{low} {second}" if second in BEFORE_VERBS else None
    return f">{low} {second}" if low in BEFORE_VERBS and second in known.verbs else None


def commands(text: str, *, begun: bool = False) -> bool:
    """Whether a sentence of it begins as instructions do, or has a word that few other texts have.

    `begun`: its first one began before it.
    """
    known = _lexicon()
    for sentence in SENTENCE.split(text)[int(begun) :]:
        first, _, rest = sentence.partition(" ")
        if _opener(first, rest, known):
            return True
    if any(known.forms[form][0] != "^" for form in known.forms.keys() & text.split()):
        return True
    return not text.isascii() and any(sign in text for sign in known.signs)


def read_lexicon() -> None:
    """Now, where the first text that is looked at must not wait for it."""
    _lexicon()


def words(text: str) -> int:
    """Words, or two signs of a script without spaces."""
    if text.isascii():
        return len(text.split())
    return sum(max(1, sum("\u2e80" <= c <= "\u9fff" for c in word) // 2) for word in text.split())


class _Lexicon(NamedTuple):
    """`forms`: every form in which a word may stand in a text → the word, with `^` one that needs a capital.
    `listed`: the forms as a set, which meets a text's words quicker."""

    forms: dict[str, str]
    listed: frozenset[str]
    openers: frozenset[str]  # words that may begin an instruction
    verbs: frozenset[str]
    short: frozenset[str]
    model: frozenset[str]  # what is said to a model rather than to a person
    signs: tuple[str, ...]


@cache
def _lexicon() -> _Lexicon:
    listed: dict[str, list[str]] = {}
    for file in sorted(files("compiler.recognition").joinpath("lexicon").iterdir(), key=lambda file: file.name):
        listed.setdefault(file.name.partition(".")[0].partition("-")[0], []).extend(file.read_text("utf-8").split())
    forms: dict[str, str] = {}
    for word in {*listed["verbs"], *INSIDE, *PLEASE}:
        forms |= dict.fromkeys(_forms(word.capitalize(), word.upper()), f"^{word}")
    for word in listed["words"]:
        forms |= dict.fromkeys(_forms(word, word.capitalize(), word.upper()), word)
    verbs, short, model = (frozenset(listed[kind]) for kind in ("verbs", "short", "model"))
    openers = verbs | PLEASE | JOINING | CONDITIONS | PERSONS | BEFORE_VERBS
    return _Lexicon(forms, frozenset(forms), openers, verbs, short, model, tuple(listed["signs"]))


def _forms(*words: str) -> list[str]:
    return [f"{opening}{word}{end}" for word in words for end in ENDS for opening in OPENINGS]
