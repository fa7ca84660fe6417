"""Words that tell a model what to do, in the languages of compiler/lexicon. They only ever make recognition more
careful: what has such a word where none was seen is not matched."""

import re
from functools import cache
from importlib.resources import files

OPENINGS = ("", "(", '"')
SENTENCE = re.compile(r"[.!?:;\n]\s*")
ENOUGH_WORDS = 8  # of literal text that say what a task is
ENDS = ("", ",", ".", ":", ";", "!", "?", ")")
EDGE = 400  # characters looked at from either end of a longer text: an instruction put in front of data, or after it
WHOLE = 1_600  # up to here a text is looked at as a whole


def instructing(text: str) -> frozenset[str]:
    """The instructing words of a text, in their plain form; of a long one, those near its ends."""
    if len(text) > WHOLE:
        text = f"{text[:EDGE]} {text[-EDGE:]}"
    forms = _forms()
    found = forms.keys() & text.split()
    if text and text[0].isalpha():  # the start of a text is the start of a sentence
        found |= forms.keys() & {text.split(maxsplit=1)[0].capitalize()}
    plain = {forms[form] for form in found}
    if not text.isascii():
        plain.update(sign for sign in _signs() if sign in text)
    return frozenset(plain)


def commands(text: str, *, begun: bool = False) -> bool:
    """Whether a sentence of it begins with a word that instructs. `begun`: its first one began before it."""
    sentences = SENTENCE.split(text)[int(begun) :]
    return any(instructing(_first_word(sentence)) for sentence in sentences if sentence.strip())


def _first_word(sentence: str) -> str:
    word = sentence.split(maxsplit=1)[0]
    return word if not word.isascii() else word.capitalize()


def words(text: str) -> int:
    """Words, or two signs of a script without spaces."""
    if text.isascii():
        return len(text.split())
    return sum(max(1, sum("\u2e80" <= c <= "\u9fff" for c in word) // 2) for word in text.split())


@cache
def _forms() -> dict[str, str]:
    """Every form in which a word may stand in a text → the word. Verbs count where they begin a sentence, which their
    capital shows."""
    forms: dict[str, str] = {}
    for file in sorted(files("compiler").joinpath("lexicon").iterdir(), key=lambda file: file.name):
        kind = file.name.partition("-")[0]
        if kind in ("verbs", "words"):
            for word in file.read_text("utf-8").split():
                variants = (word.capitalize(), word.upper()) + ((word,) if kind == "words" else ())
                forms |= {f"{opening}{v}{end}": word for v in variants for end in ENDS for opening in OPENINGS}
    return forms


@cache
def _signs() -> tuple[str, ...]:
    return tuple(files("compiler").joinpath("lexicon", "signs.txt").read_text("utf-8").split())
