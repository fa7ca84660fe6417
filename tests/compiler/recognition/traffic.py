"""Requests to learn from: varied text out of a large vocabulary, seeded, and what is found in it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

from compiler.recognition.mine import Miner, Sample, sample_of
from compiler.recognition.recognise import Match, Recogniser
from compiler.recognition.structure import CHAT, structure_key, texts_of
from compiler.recognition.template import Template

Request = dict[str, Any]
T = TypeVar("T")

ONSETS = [
    "b",
    "br",
    "c",
    "cl",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "pr",
    "qu",
    "r",
    "s",
    "sh",
    "sk",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "z",
]
VOWELS = ["a", "ai", "e", "ea", "i", "o", "oa", "oo", "u"]
CODAS = ["ck", "ft", "l", "lm", "m", "n", "nd", "ng", "nk", "p", "r", "rd", "rn", "s", "sk", "st", "t", "x"]
SMALL = ["the", "a", "was", "it", "we", "our", "with", "and", "at", "of", "for", "is", "had", "my", "their", "some"]


class Prose:
    """Sentences in which no word instructs, some 15,000 words; the same for the same seed."""

    def __init__(self, seed: object = 1) -> None:
        self.random = Random(f"prose {seed}")

    def word(self) -> str:
        syllables = self.random.choice((2, 2, 3))
        made = (self.random.choice(ONSETS) + self.random.choice(VOWELS) for _ in range(syllables))
        return "".join(made) + self.random.choice(CODAS)

    def name(self) -> str:
        return f"{self.word().capitalize()} {self.word().capitalize()}"

    def sentence(self, least: int = 5, most: int = 14) -> str:
        words = [self.random.choice(SMALL) if self.random.random() < 0.4 else self.word() for _ in range(least)]
        words += [self.word() for _ in range(self.random.randint(0, most - least))]
        return " ".join(words).capitalize() + "."

    def text(self, least: int = 1, most: int = 4) -> str:
        """Some of them end with a full stop, some without."""
        text = " ".join(self.sentence() for _ in range(self.random.randint(least, most)))
        return text[:-1] + self.random.choice((".", "", "!"))

    def document(self, characters: int) -> str:
        paragraphs: list[str] = []
        while sum(map(len, paragraphs)) < characters:
            paragraphs.append(self.text(3, 7))
        return "\n\n".join(paragraphs)

    def texts(self, count: int) -> list[str]:
        return [self.text() for _ in range(count)]


def user(text: str, **more: Any) -> Request:
    return {"model": "gpt-big", "messages": [{"role": "user", "content": text}], **more}


def told(system: str, text: str, **more: Any) -> Request:
    """Under a system prompt."""
    return chat(("system", system), ("user", text), **more)


def chat(*turns: tuple[str, str], **more: Any) -> Request:
    return {"model": "gpt-big", "messages": [{"role": r, "content": c} for r, c in turns], **more}


def filled(template: str, texts: Iterable[str], **more: Any) -> list[Request]:
    """A user message for each text, in place of `{}`."""
    return [user(template.replace("{}", text), **more) for text in texts]


def sample(request: Mapping[str, Any], tenant: str = "shop") -> Sample:
    made = sample_of(tenant, structure_key(tenant, CHAT, request), request)
    assert made is not None
    return made


class Learned:
    """What a miner made of some requests, as the request path sees it."""

    def __init__(self, requests: Iterable[Mapping[str, Any]], templates: Iterable[Template] = ()) -> None:
        self.miner = Miner(templates)
        self.more(requests)

    def more(self, requests: Iterable[Mapping[str, Any]]) -> "Learned":
        for request in requests:
            self.miner.add(sample(request))
        self.miner.mine()
        self.index = Recogniser(self.miner.templates)
        return self

    @property
    def templates(self) -> list[Template]:
        return self.miner.templates

    def match(self, request: Mapping[str, Any], tenant: str = "shop") -> Match | None:
        texts = texts_of(request["messages"])
        return self.index.match(structure_key(tenant, CHAT, request), texts) if texts is not None else None

    def task(self, request: Mapping[str, Any]) -> str | None:
        """None where it is of none, or free chat."""
        found = self.match(request)
        return found.task_id if found and not found.template.catch_all else None

    def tasks(self, requests: Iterable[Mapping[str, Any]]) -> set[str | None]:
        return set(map(self.task, requests))

    def the_task(self, requests: Iterable[Mapping[str, Any]]) -> str:
        """The one that nearly all of them are of, and the others of none: unsure is no match."""
        counts = Counter(map(self.task, requests))
        ((task, count),) = ((task, count) for task, count in counts.items() if task)
        assert count >= 0.8 * counts.total()
        return task


def shuffled(items: Sequence[T], seed: object = 1) -> list[T]:
    return Random(f"shuffle {seed}").sample(items, len(items))


def apart(learned: Learned, families: Sequence[Callable[[str], Request]], seed: object = "scored") -> list[str]:
    """The tasks of new requests of each family: every one has its own, and no request is of another's."""
    prose = Prose(seed)
    found = [learned.the_task(family(text) for text in prose.texts(12)) for family in families]
    assert len(set(found)) == len(families)
    return found


def never_merged(learned: Learned, families: Sequence[Callable[[str], Request]], seed: object = "scored") -> None:
    """No task is of new requests of two families."""
    prose = Prose(seed)
    found = [learned.tasks(family(text) for text in prose.texts(12)) - {None} for family in families]
    assert sum(map(len, found)) == len(set[str | None]().union(*found))
