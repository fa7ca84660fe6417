"""Natural text from rules: `words/*.yaml` say what a sentence may be, `passages.yaml` how sentences make a text."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from bench.corpus.text import SLOT
from bench.corpus.values import VALUES

HERE = Path(__file__).parent


@cache
def rules() -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted((HERE / "words").glob("*.yaml")):
        for rule, ways in yaml.safe_load(path.read_text()).items():
            found[rule] = [str(way) for way in ways]
    return found


@cache
def passages() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = yaml.safe_load((HERE / "passages.yaml").read_text())
    return found


def is_said(symbol: str) -> bool:
    return symbol in VALUES or symbol in rules() or symbol in passages()


def say(symbol: str, random: Random) -> str:
    """A value, one sentence of a rule, or a whole passage."""
    if symbol in passages():
        return _passage(passages()[symbol], random)
    if symbol in VALUES:
        return VALUES[symbol](random)
    return _expanded(random.choice(rules()[symbol]), random)


def _expanded(way: str, random: Random) -> str:
    return SLOT.sub(lambda slot: say(slot[1], random), way)


def _passage(how: Mapping[str, Any], random: Random) -> str:
    low, high = how["sentences"]
    share = random.random() ** how.get("skew", 1)  # a skew of 3: most are short, a few near the maximum
    sentences = [
        _sentence(way, how, random) for way in _in_turn(rules()[how["of"]], round(low + (high - low) * share), random)
    ]
    text = _laid_out(sentences, how, random)
    if random.random() < how.get("typos", 0):
        text = _mistyped(text, random)
    if "open" in how and random.random() < 0.85:
        text = f"{say(how['open'], random)}\n\n{text}"
    if "close" in how and random.random() < 0.85:
        text = f"{text}\n\n{say(how['close'], random)}"
    return text


def _sentence(way: str, how: Mapping[str, Any], random: Random) -> str:
    """Where `free`, it is said in other words now and then: people don't write by rules."""
    if not how.get("free"):
        return _expanded(way, random)
    if random.random() < 0.4:
        return say("loose", random)
    said = " ".join(_synonym(word, random) for word in _expanded(way, random).split(" "))
    return say("opener", random) + said[0].lower() + said[1:] if random.random() < 0.2 else said


def _synonym(word: str, random: Random) -> str:
    return random.choice(synonyms().get(word, [word]))


@cache
def synonyms() -> Mapping[str, list[str]]:
    return {word: group.split() for group in rules()["synonyms"] for word in group.split()}


def _in_turn(ways: list[str], count: int, random: Random) -> list[str]:
    """No way of saying a thing comes again before all others have come."""
    found: list[str] = []
    while len(found) < count:
        found += random.sample(ways, min(len(ways), count - len(found)))
    return found


def _laid_out(sentences: list[str], how: Mapping[str, Any], random: Random) -> str:
    if "join" in how:
        return str(how["join"]).join(sentences).strip()
    text = sentences[0]
    for sentence in sentences[1:]:
        text += random.choices((" ", "\n", "\n\n"), (8, 1, 2))[0] + sentence
    return text


def _mistyped(text: str, random: Random) -> str:
    letters = list(text)
    for _ in range(1 + len(text) // 150):
        at = random.randrange(len(letters) - 1)
        match random.randrange(4):
            case 0:
                letters[at], letters[at + 1] = letters[at + 1], letters[at]
            case 1 if letters[at].isalpha():
                letters[at] = ""
            case 2:
                letters[at] *= 2
            case _:
                letters[at] = letters[at].lower()
    return "".join(letters)
