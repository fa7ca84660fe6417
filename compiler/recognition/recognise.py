"""Which template a request is of. On the request path: microseconds, also with a thousand templates of one structure.

An index by what a template's messages begin and end with finds the few templates that may fit; only those are tried.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

from compiler.recognition.template import Places, Template, values_at

TRIED = 12  # templates at most that are tried in full; beyond, it is unsure, and unsure is no match
LINES_WITHIN = 16_384  # characters from either end of a message in which a line is looked for
WORDS_WITHIN = 4_096  # the same for a word


class Match(NamedTuple):
    template: Template
    texts: Sequence[str]
    places: list[Places]

    @property
    def values(self) -> list[str]:
        """What stands in the slots, of all messages in their order."""
        return values_at(self.texts, self.places)

    @property
    def task_id(self) -> str:
        return self.template.task_id(self.values) if self.template.is_enumerated else self.template.id


class Recogniser:
    def __init__(self, templates: Iterable[Template] = ()) -> None:
        by_structure: dict[str, list[Template]] = {}
        for template in templates:
            by_structure.setdefault(template.structure, []).append(template)
        self._levels = {structure: _Level(found, 0) for structure, found in by_structure.items()}

    def __bool__(self) -> bool:
        """Whether it knows any template."""
        return bool(self._levels)

    def instead(self, changed: Mapping[str, Sequence[Template]]) -> Self:
        """Another one, with these templates of these structures; of the others the index is shared."""
        other = type(self)()
        levels = {structure: _Level(found, 0) for structure, found in changed.items() if found}
        other._levels = {s: level for s, level in self._levels.items() if s not in changed} | levels
        return other

    def match(self, structure: str, texts: Sequence[str]) -> Match | None:
        """The closest template, and what stands in its slots. Where that one's literals fit and its slots don't, no
        wider one is asked: it would take for data what may be an instruction."""
        level = self._levels.get(structure)
        if level is None or len(texts) != level.messages:
            return None
        for template in level.candidates(texts):
            if (places := template.places(texts)) is not None:
                return Match(template, texts, places)
            if template.has_literals(texts):
                return None
        return None


class _Level:
    """Templates by their message number `number`: constant ones by its whole text, others by its ends."""

    def __init__(self, templates: Sequence[Template], number: int) -> None:
        self.messages = len(templates[0].patterns)
        self._number = number
        constant: dict[str, list[Template]] = {}
        open_: dict[tuple[str, str], list[Template]] = {}
        for template in templates:
            pattern = template.patterns[number]
            if pattern.constant:
                constant.setdefault(pattern.literals[0], []).append(template)
            else:
                open_.setdefault((pattern.literals[0], pattern.literals[-1]), []).append(template)
        self._constant = {text: self._next(found) for text, found in constant.items()}
        self._open = _Affixes()
        for (first, last), found in open_.items():
            self._open.add(first, last, self._next(found))

    def _next(self, templates: Sequence[Template]) -> "_Level | _Leaf":
        return _Leaf(templates) if self._number + 1 == self.messages else _Level(templates, self._number + 1)

    def candidates(self, texts: Sequence[str]) -> Sequence[Template]:
        found: list[Template] = []
        self.collect(texts, found)
        if len(found) > 1:
            found.sort(key=_closeness, reverse=True)
        return found[:TRIED]

    def collect(self, texts: Sequence[str], found: list[Template]) -> None:
        text = texts[self._number]
        if (constant := self._constant.get(text)) is not None:
            constant.collect(texts, found)
        for below in self._open.around(text):
            below.collect(texts, found)


class _Leaf:
    """Templates whose messages all begin and end alike. Where they are many, a line or a word between tells them
    apart."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self._lines: dict[str, list[Template]] = {}
        self._words: dict[str, list[Template]] = {}
        self._others: list[Template] = []
        many = len(templates) > TRIED
        common = Counter(word for template in templates for word in _inner_words(template)) if many else Counter()
        for template in templates:
            word = min(_inner_words(template), key=lambda word: common[word], default=None) if many else None
            if many and (line := max(_inner_lines(template), key=len, default=None)) is not None:
                self._lines.setdefault(line, []).append(template)
            elif word is not None:
                self._words.setdefault(word, []).append(template)
            else:
                self._others.append(template)

    def collect(self, texts: Sequence[str], found: list[Template]) -> None:
        found += self._others
        for text in texts if self._lines else ():
            for line in self._lines.keys() & _near_ends(text, LINES_WITHIN).split("\n"):
                found += self._lines[line]
        for text in texts if self._words else ():
            for word in self._words.keys() & _near_ends(text, WORDS_WITHIN).split():
                found += self._words[word]


def _inner_literals(template: Template) -> Iterator[str]:
    return (literal for pattern in template.patterns for literal in pattern.literals[1:-1])


def _inner_lines(template: Template) -> Iterator[str]:
    """The whole lines that stand between two slots."""
    return (line for literal in _inner_literals(template) for line in literal.split("\n")[1:-1] if line.strip())


def _inner_words(template: Template) -> list[str]:
    """The words that stand between two slots and touch neither."""
    found = []
    for literal in _inner_literals(template):
        parts = literal.split()
        found += parts[int(not literal[0].isspace()) : len(parts) - int(not literal[-1].isspace())]
    return found


def _near_ends(text: str, within: int) -> str:
    return text if len(text) <= 2 * within else f"{text[:within]}\n{text[-within:]}"


def _closeness(template: Template) -> tuple[bool, int, str]:
    return not template.catch_all, template.literal_size, template.id


class _Affixes:
    """(prefix, suffix) → what is below: a radix tree of prefixes, in each of its ends a radix tree of suffixes."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, prefix: str, suffix: str, below: "_Level | _Leaf") -> None:
        end = self._root.insert(prefix)
        if end.suffixes is None:
            end.suffixes = _Node()
        end.suffixes.insert(suffix[::-1]).below = below

    def around(self, text: str) -> Iterator["_Level | _Leaf"]:
        at, node = 0, self._root
        while True:
            if node.suffixes is not None:
                yield from _ending(text, node.suffixes)
            child = node.children.get(text[at : at + 1])
            if child is None or not text.startswith(child.edge, at):
                return
            at, node = at + len(child.edge), child


def _ending(text: str, node: "_Node") -> Iterator["_Level | _Leaf"]:
    end = len(text)
    while True:
        if node.below is not None:
            yield node.below
        child = node.children.get(text[end - 1 : end])
        if child is None or not text.endswith(child.reversed_edge, 0, end):
            return
        end, node = end - len(child.edge), child


class _Node:
    __slots__ = ("below", "children", "edge", "reversed_edge", "suffixes")

    def __init__(self, edge: str = "") -> None:
        self.children: dict[str, _Node] = {}
        self.suffixes: _Node | None = None
        self.below: _Level | _Leaf | None = None
        self._take(edge)

    def _take(self, edge: str) -> None:
        self.edge, self.reversed_edge = edge, edge[::-1]

    def insert(self, key: str) -> "_Node":
        """The node at the end of `key`, made where there is none."""
        if not key:
            return self
        child = self.children.get(key[0])
        if child is None:
            child = self.children[key[0]] = _Node(key)
            return child
        shared = _shared(child.edge, key)
        if shared < len(child.edge):
            middle = _Node(key[:shared])
            middle.children[child.edge[shared]] = child
            child._take(child.edge[shared:])
            self.children[key[0]] = child = middle
        return child.insert(key[shared:])


def _shared(one: str, other: str) -> int:
    limit = min(len(one), len(other))
    return next((i for i in range(limit) if one[i] != other[i]), limit)
