"""Requests of one structure → groups that are each one task, and what their gaps hold. Pure.

Two different tasks must never end in one group: a value that repeats splits it, and so does whatever repeats inside
the values of a place where people also put instructions. What is left in too small a group is of no task.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from compiler.align import BREAK, KIND_OF, Aligned, apart, common_prefix, common_suffix
from compiler.wording import instructing

SUPPORT = 3  # requests that make a template
SHORT_SUPPORT = 5  # with a slot of few words: fewer values prove no variety
FREE_SUPPORT = 12  # where a whole message is a slot
PLAIN_SHARE = 0.2  # of few, that may begin with a word that instructs
ENOUGH_WORDS = 8  # of literal text that say what a task is
HEAVY = 0.15  # share of the requests that makes a repeated value a task of its own, whatever the others are
TELLING = 0.3  # share that begins, ends or goes on in some repeated instructing way
OPTIONAL = 0.1  # share of requests that have a part which others leave out
EACH = 8  # requests of a variant, on average, to see in it what repeats
MOST = 0.6  # share that begins or ends in some repeated way, instructing or not, which data does not do
LISTED_WORDS, LISTED_CHARS = 6, 80  # of a value that is one of a list
LABEL_WORDS = 3  # of literal text around data, where instructions stand elsewhere
LABEL = re.compile(r"[^\W\d_][\w '/-]{1,60}(:|\n)")
SENTENCE = re.compile(r"[.!?:;\n]\s*")
POOL, POOL_SHARE = 12, 0.2  # so many names, none with a larger share, are data however often they repeat
INSTRUCT = ("system", "developer")


Place = Literal["anchored", "instructed", "blank"]
"""Of a gap: its own message says what the task is; another one does; nothing does so far."""


class Split(NamedTuple):
    groups: list[list[int]]
    rest: list[int]
    loosens: bool  # the others have instructions where the rest has data: the rest is not known to be one task


Kind = Split | Literal["slot", "enumerated"]


@dataclass
class Group:
    members: list[int]
    aligned: Aligned
    loose: set[int] = field(default_factory=set)  # messages in which others of its origin have instructions
    plain: dict[int, int] = field(default_factory=dict)  # message → requests in which nothing instructing was found


@dataclass(frozen=True)
class Found:
    """One task's requests, by their number; `catch_all` as in Template."""

    members: list[int]
    aligned: Aligned
    enumerated: frozenset[int]  # gaps whose values are tasks of their own
    catch_all: bool


def split(texts: Sequence[str], roles: Sequence[str]) -> list[Found]:
    """`texts`: the canonical texts of requests of one structure, each its messages joined by BREAK. None twice."""
    pending = [Group(list(range(len(texts))), apart(texts))] if texts else []
    found = []
    while pending:
        group = pending.pop()
        group.aligned.align()
        part = _chosen(group, roles)
        if part is None:
            if (ended := _ended(group, roles)) is not None:
                found.append(ended)
            continue
        pending += _children(group, part)
    return found


def constant(text: str, roles: Sequence[str]) -> Found:
    """The task of requests that are all the same."""
    aligned = apart([text])
    aligned.align()
    return Found([0], aligned, frozenset(), _says_too_little(aligned, text.split(BREAK), roles))


def _children(group: Group, part: tuple[int, Split]) -> Iterable[Group]:
    number, (groups, rest, loosens) = part
    message = group.aligned.message_of(number)
    for places in groups:
        if len(places) >= SUPPORT:
            yield _child(group, places, group.loose)
    if len(rest) >= SUPPORT:
        yield _child(group, rest, group.loose | ({message} if loosens else set()))


def _child(group: Group, places: list[int], loose: set[int]) -> Group:
    return Group([group.members[i] for i in places], group.aligned.of(places), set(loose), dict(group.plain))


def _chosen(group: Group, roles: Sequence[str]) -> tuple[int, Split] | None:
    """The gap that splits the group, and how: the one with the largest part that repeats."""
    found = []
    for number, kind in enumerate(assessed(group.aligned, roles)):
        if isinstance(kind, Split):
            found.append((number, kind))
        elif place_of(group.aligned, number, roles) == "instructed":
            message = group.aligned.message_of(number)
            group.plain[message] = max(group.plain.get(message, 0), len(group.members))
    return max(found, key=lambda f: max(map(len, f[1].groups), default=0), default=None)


def assessed(aligned: Aligned, roles: Sequence[str]) -> list[Kind]:
    """What each gap is. Those with few values come first: the others may repeat theirs with each of them."""
    kinds: dict[int, Kind] = {}
    variants = [""] * len(aligned.gaps[0]) if aligned.gaps else []
    for number in sorted(range(len(aligned.gaps)), key=lambda n: len(set(aligned.gaps[n]))):
        values = aligned.gaps[number]
        before, behind = aligned.literals[number], aligned.literals[number + 1]
        optional = bool(before) and bool(behind) and not before.endswith(BREAK) and not behind.startswith(BREAK)
        kinds[number] = assess(values, place_of(aligned, number, roles), optional, variants)
        if kinds[number] == "enumerated":
            finer = [f"{variant}\0{value}" for variant, value in zip(variants, values, strict=True)]
            variants = finer if len(set(finer)) * EACH <= len(finer) else variants
    return [kinds[number] for number in range(len(aligned.gaps))]


def place_of(aligned: Aligned, number: int, roles: Sequence[str]) -> Place:
    message = aligned.message_of(number)
    own, others = words(aligned.own_literals(number)), instructions_size(aligned, roles, message)
    if own >= ENOUGH_WORDS or (own >= LABEL_WORDS and others >= ENOUGH_WORDS and roles[message] not in INSTRUCT):
        return "anchored"
    return "instructed" if others >= ENOUGH_WORDS and roles[message] not in INSTRUCT else "blank"


def instructions_size(aligned: Aligned, roles: Sequence[str], besides: int = -1) -> int:
    """Words of literal text in messages that instruct, and in turns that never change."""
    messages = aligned.said()
    varying = {aligned.message_of(number) for number in range(len(aligned.gaps))} | {besides}
    told = (text for m, text in enumerate(messages) if m != besides and (roles[m] in INSTRUCT or m not in varying))
    return sum(map(words, told))


def words(text: str) -> int:
    """Words, or two signs of a script without spaces."""
    if text.isascii():
        return len(text.split())
    return sum(max(1, sum("\u2e80" <= c <= "\u9fff" for c in word) // 2) for word in text.split())


def assess(values: Sequence[str], place: Place, optional: bool, variants: Sequence[str]) -> Kind:
    """What a gap is. A value that repeats is a task of its own: the gap splits its requests or, where the text around
    it says what they are, lists its values. Where others do already, it may repeat among their `variants`.

    `optional`: text stands on both sides of it, so that what is left out now and then may be data.
    """
    counts = Counter(zip(variants, values, strict=True))
    if all(is_typed(value) for value in values):
        return "slot"
    if place == "blank" and len(counts) > 1 and (part := _inside(values, place)) is not None:
        return part
    given = Counter({at: count for at, count in counts.items() if at[1].strip()})
    if optional and place == "anchored" and given.total() >= max(SUPPORT, OPTIONAL * counts.total()):
        counts = counts if any(commands(value) for _, value in given) else given
    heavy = _repeating(counts)
    if not heavy:
        return _inside_different(values, place) or "slot"
    if place == "anchored" and not is_varied(counts) and all(_is_listable(value) for _, value in counts):
        return "enumerated"
    groups, rest = _grouped(values, lambda value: value if value in heavy else None)
    return Split(groups, _not_enumerated(values, rest), loosens=False)


def _repeating(counts: Counter[tuple[str, str]]) -> set[str]:
    """The values that are no data because they come again and again."""
    total = counts.total()
    if is_varied(counts):
        return {value for (_, value), count in counts.items() if count >= max(SUPPORT, HEAVY * total)}
    if is_pool(_summed(counts)):
        return set()
    return {value for (_, value), count in counts.items() if count >= SUPPORT} or {value for _, value in counts}


def _summed(counts: Counter[tuple[str, str]]) -> Counter[str]:
    summed: Counter[str] = Counter()
    for (_, value), count in counts.items():
        summed[value] += count
    return summed


def is_varied(counts: Counter[tuple[str, str]]) -> bool:
    """Whether most requests have a value that no other has."""
    return 2 * sum(count == 1 for count in counts.values()) >= counts.total()


def _is_listable(value: str) -> bool:
    return words(value) <= LISTED_WORDS and len(value) <= LISTED_CHARS and not any(char in KIND_OF for char in value)


def _not_enumerated(values: Sequence[str], rest: list[int]) -> list[int]:
    """What is left beside repeated values may be data, unless it reads like more of the same instructions."""
    if any(words(values[i]) < 2 * ENOUGH_WORDS and instructing(values[i]) for i in rest):
        return []
    return rest


def is_typed(value: str) -> bool:
    return value.strip() in KIND_OF


def is_pool(counts: Counter[str]) -> bool:
    """Names, codes and numbers from a list: many, none of them dominant. Not words that instruct."""
    if not all(is_name(value) for value in counts):
        return False
    top, total = max(counts.values()), counts.total()
    if top < SUPPORT:
        return len(counts) >= POOL // 2
    return len(counts) >= POOL and top <= max(SUPPORT, POOL_SHARE * total)


def is_name(value: str) -> bool:
    """A few words, most of them with a capital or a digit, none of which instructs."""
    parts = value.split()
    named = [part[:1].isupper() or any(c.isdigit() or c in KIND_OF for c in part) for part in parts]
    return 0 < len(parts) <= 5 and named[0] and 2 * sum(named) > len(parts) and not instructing(value)


def _grouped(values: Sequence[str], key: Callable[[str], str | None]) -> tuple[list[list[int]], list[int]]:
    """The places of values with the same key, and of those with None."""
    groups: dict[str, list[int]] = {}
    rest = []
    for place, value in enumerate(values):
        if (found := key(value)) is None:
            rest.append(place)
        else:
            groups.setdefault(found, []).append(place)
    return list(groups.values()), rest


def _inside_different(values: Sequence[str], place: Place) -> Split | None:
    """As `_inside`, each value once however often it was sent."""
    different = list(dict.fromkeys(values))
    part = _inside(different, place)
    if part is None:
        return None
    places: dict[str, list[int]] = {}
    for i, value in enumerate(values):
        places.setdefault(value, []).append(i)

    def all_of(group: Sequence[int]) -> list[int]:
        return sorted(i for number in group for i in places[different[number]])

    return Split([all_of(group) for group in part.groups], all_of(part.rest), part.loosens)


def _inside(values: Sequence[str], place: Place) -> Split | None:
    """Split by how values begin or end, or by a line or phrase in them, where that repeats and is telling."""
    if 2 * sum(words(value) >= 4 for value in values) < len(values):
        return None
    best = _by_phrase(values, place) if place == "blank" else None
    if best is not None:
        return best
    for look in (_label, _opening, _last_line, _ending):
        groups, _ = _grouped(values, look)
        shared = {}
        for number, group in enumerate(groups):
            if len(group) >= SUPPORT:
                shared[number] = _shared([values[i] for i in group], look)
        kept = [groups[n] for n, text in shared.items() if _tells(text, place)]
        rest = sorted({*range(len(values))}.difference(*kept))
        if _is_worth(kept, len(values), place) and (best is None or len(rest) < len(best.rest)):
            commanding = sum(len(groups[n]) for n, text in shared.items() if commands(text))
            covered = len(values) - len(rest)
            mixed = commanding >= HEAVY * len(values) or covered >= MOST * len(values)
            best = Split(kept, rest, loosens=mixed and place != "blank")
    return best or _by_phrase(values, place)


def _is_worth(groups: Sequence[Sequence[int]], total: int, place: Place) -> bool:
    covered, top = sum(map(len, groups)), max(map(len, groups), default=0)
    if len(groups) == 1 and covered == total:
        return False
    if place == "blank":
        return covered > 0
    return covered >= TELLING * total or top >= max(SUPPORT, HEAVY * total)


def _shared(values: Sequence[str], look: Callable[[str], str | None]) -> str:
    return common_prefix(values) if look in (_label, _opening) else common_suffix(values)


def _tells(text: str, place: Place) -> bool:
    """Whether what repeats inside values may be an instruction, and not how people happen to write."""
    if place == "blank":
        return True
    return commands(text) if place == "anchored" else is_telling(text)


def is_telling(text: str) -> bool:
    """Whether a text that repeats looks like an instruction, or like the form around data."""
    bare = text.lstrip()
    return bool(LABEL.match(bare)) or words(bare) >= ENOUGH_WORDS or commands(bare)


def commands(text: str, *, begun: bool = False) -> bool:
    """Whether a sentence of it begins with a word that instructs. `begun`: its first one began before it."""
    sentences = SENTENCE.split(text)[int(begun) :]
    return any(instructing(_first_word(sentence)) for sentence in sentences if sentence.strip())


def _first_word(sentence: str) -> str:
    word = sentence.split(maxsplit=1)[0]
    return word if not word.isascii() else word.capitalize()


def _label(value: str) -> str | None:
    """What stands before a colon or the first line's end, near the beginning."""
    head = value.lstrip()[:80]
    ends = [at for at in (head.find(":"), head.find("\n")) if at > 0]
    return head[: min(ends)] if ends else None


def _opening(value: str) -> str | None:
    return " ".join(value.split(maxsplit=3)[:3]) or None


def _last_line(value: str) -> str | None:
    line = value.rstrip().rpartition("\n")[2]
    return line if line != value.rstrip() and len(line) <= 160 else None


def _ending(value: str) -> str | None:
    return " ".join(value.rsplit(maxsplit=3)[-3:]) or None


PHRASE = 5  # words
PHRASE_WITHIN = 6_000  # characters from either end of a value


def _by_phrase(values: Sequence[str], place: Place) -> Split | None:
    """By the phrases or lines that most values have, where they are telling; one after another, the commonest first.
    Where nothing says yet what the tasks are, by those that instruct, and only without any by the others."""
    phrases = [_lines(value) if place == "anchored" else _phrases(value) for value in values]
    counts = Counter(phrase for found in phrases for phrase in found)
    least = SUPPORT if place == "blank" else max(SUPPORT, TELLING * len(values))
    often = [phrase for phrase, count in counts.most_common() if count >= least]
    first = [phrase for phrase in often if not phrase[0].islower() and instructing(phrase.split(maxsplit=1)[0])]
    left = set(range(len(values)))
    groups: list[list[int]] = []
    for phrase in first or (often if place == "blank" else ()):
        having = [i for i in left if phrase in phrases[i]]
        if least <= len(having) < len(values):
            groups.append(sorted(having))
            left.difference_update(having)
        if groups and place != "blank":
            break
    return Split(groups, sorted(left), loosens=place != "blank") if groups else None


def _lines(value: str) -> set[str]:
    return {" ".join(line.split()) for line in value.split("\n") if line.strip()}


@lru_cache(8_192)
def _phrases(value: str) -> frozenset[str]:
    if len(value) > 2 * PHRASE_WITHIN:
        value = value[:PHRASE_WITHIN] + "\n" + value[-PHRASE_WITHIN:]
    found = set()
    for line in value.split("\n"):
        parts = line.split()
        found |= {" ".join(parts[i : i + PHRASE]) for i in range(len(parts) - PHRASE + 1)}
        if 2 <= len(parts) < PHRASE:
            found.add(" ".join(parts))
    return frozenset(found)


def _ended(group: Group, roles: Sequence[str]) -> Found | None:
    """A group that nothing splits any more: a task, if it has enough requests and says enough."""
    aligned, size = group.aligned, len(group.members)
    if any(role in ("assistant", "tool", "function") for role in _varying(aligned, roles)):
        return None
    if size < SUPPORT:
        return None
    for gap in aligned.gaps:
        if sorted(map(words, gap))[size // 2] <= 3 and size < SHORT_SUPPORT:
            return None
    free = [m for m in range(len(roles)) if _is_free(aligned, m)]
    said = aligned.said()
    if any(roles[m] in INSTRUCT for m in free):
        return None
    if not _is_held(aligned, roles):
        return None
    catch_all = bool(group.loose & set(free)) or _says_too_little(aligned, said, roles)
    if size < FREE_SUPPORT and not all(_is_plain(group, message) for message in free):
        return None
    listed = (number for number, kind in enumerate(assessed(aligned, roles)) if kind == "enumerated")
    return Found(group.members, aligned, frozenset(listed), catch_all)


def _is_held(aligned: Aligned, roles: Sequence[str]) -> bool:
    """Whether the instructions stand where they can't be data: in a message of their own or at an end of one, or they
    read like instructions. What many documents have in the middle is no task."""
    if instructions_size(aligned, roles) >= ENOUGH_WORDS:
        return True
    return any(
        words(literals[0]) >= LABEL_WORDS
        or words(literals[-1]) >= LABEL_WORDS
        or any(commands(literal, begun=number > 0) for number, literal in enumerate(literals))
        or bool(LABEL.match(literals[0].lstrip()))
        for literals in aligned.by_message()
    )


def _is_plain(group: Group, message: int) -> bool:
    """Whether a message that is all data has been seen often enough without instructions in it, or has hardly one
    among the few that were seen."""
    if group.plain.get(message, 0) >= FREE_SUPPORT:
        return True
    values = next(gap for n, gap in enumerate(group.aligned.gaps) if group.aligned.message_of(n) == message)
    commanding = sum(bool(instructing(value[:20].partition(" ")[0])) for value in values)
    return len(values) >= SHORT_SUPPORT and commanding <= PLAIN_SHARE * len(values)


def _says_too_little(aligned: Aligned, said: Sequence[str], roles: Sequence[str]) -> bool:
    if instructions_size(aligned, roles) >= ENOUGH_WORDS:
        return False
    users = [text for text, role in zip(said, roles, strict=True) if role not in INSTRUCT]
    return not any(words(text) >= ENOUGH_WORDS or (words(text) >= 2 and is_telling(text)) for text in users)


def _varying(aligned: Aligned, roles: Sequence[str]) -> set[str]:
    return {roles[aligned.message_of(number)] for number in range(len(aligned.gaps))}


def _is_free(aligned: Aligned, message: int) -> bool:
    """Whether a message is one slot and nothing else."""
    numbers = [n for n in range(len(aligned.gaps)) if aligned.message_of(n) == message]
    text = aligned.said()[message]
    return bool(numbers) and not any(c.isalnum() for c in text)
