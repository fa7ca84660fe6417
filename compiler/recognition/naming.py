"""Readable names for templates: the words of the sentence that says what to do. Pure."""

import re
import unicodedata
from collections.abc import Container
from functools import cache
from importlib.resources import files

from compiler.recognition.template import Template
from compiler.recognition.wording import commands

WORDS, CHARS = 5, 40
SENTENCE = re.compile(r"(?<=[.!?:;])\s+|\n+")
WORD = re.compile(r"[^\W_]+(?:'\w+)?")
FORM = frozenset("answer reply respond return output give use keep never do don't only always not please".split())  # noqa: SIM905
"""How sentences begin that say what an answer looks like rather than what is asked."""


def name_of(template: Template, taken: Container[str] = ()) -> str:
    """Up to five telling words, and a number where the name is taken."""
    base = _base(template)
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def _base(template: Template) -> str:
    sentences = [s for text in _literals(template) for s in SENTENCE.split(text) if len(_words(s)) > 1]
    telling = [s for s in sentences if commands(s)]
    asking = [s for s in telling if s.split(maxsplit=1)[0].lower() not in FORM] or [s for s in sentences if "?" in s]
    chosen = next(iter(asking or telling), None) or max(sentences, key=len, default="")
    words = _words(chosen)[:WORDS]
    while words and len("-".join(words)) > CHARS:
        words.pop()
    return "-".join(words) or f"task-{template.id[:6]}"


def _literals(template: Template) -> list[str]:
    """What the user's message says comes first: the system prompt is often shared."""
    told = [
        (role, literal)
        for role, pattern in zip(template.roles, template.patterns, strict=True)
        for literal in pattern.literals
    ]
    return [text for role, text in told if role == "user"] + [text for role, text in told if role != "user"]


@cache
def _empty() -> frozenset[str]:
    """Words that say nothing of what a text is about."""
    return frozenset(files("compiler.recognition").joinpath("empty_words.txt").read_text("utf-8").split())


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return [word.replace("'", "") for word in WORD.findall(plain) if word not in _empty()]
