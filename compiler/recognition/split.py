"""Requests of one structure → groups that are each one task, and what their gaps hold. Pure.

Two different tasks must never end in one group: a value that repeats splits it, and so does whatever repeats inside
the values of a place where people also put instructions. What is left in too small a group is of no task.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compiler.recognition.align import BREAK, Aligned, apart
from compiler.recognition.gaps import Kind, assess
from compiler.recognition.repeats import LABEL, SUPPORT, Place, Split, is_telling
from compiler.recognition.wording import ENOUGH_WORDS, commands, instructing, words

SHORT_SUPPORT = 5  # with a slot of few words: fewer values prove no variety
FREE_SUPPORT = 12  # where a whole message is a slot
OUTLIERS = 0.25  # share of a group at most that is left out of it
PLAIN_SHARE = 0.2  # of few, that may begin with a word that instructs
EACH = 8  # requests of a variant, on average, to see in it what repeats
LABEL_WORDS = 3  # of literal text around data, where instructions stand elsewhere
INSTRUCT = ("system", "developer")


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
        kinds = assessed(group.aligned, roles)
        part = _chosen(group, roles, kinds)
        if part is None:
            if (ended := _ended(group, roles, kinds)) is not None:
                found.append(ended)
            continue
        pending += _children(group, part)
    return found


def constant(text: str, roles: Sequence[str]) -> Found:
    """The task of requests that are all the same."""
    aligned = apart([text])
    aligned.align()
    return Found([0], aligned, frozenset(), _says_too_little(aligned, roles))


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


def _chosen(group: Group, roles: Sequence[str], kinds: Sequence[Kind]) -> tuple[int, Split] | None:
    """The gap that splits the group, and how: the one with the largest part that repeats."""
    found = []
    for number, kind in enumerate(kinds):
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
    varying = aligned.varying() | {besides}
    told = (text for m, text in enumerate(messages) if m != besides and (roles[m] in INSTRUCT or m not in varying))
    return sum(map(words, told))


def _ended(group: Group, roles: Sequence[str], kinds: Sequence[Kind]) -> Found | None:
    """A group that nothing splits any more: a task, if it has enough requests and says enough."""
    aligned, size = group.aligned, len(group.members)
    varying = aligned.varying()
    if size < SUPPORT or any(roles[message] in ("assistant", "tool", "function") for message in varying):
        return None
    for gap in aligned.gaps:
        if sorted(map(words, gap))[size // 2] <= 3 and size < SHORT_SUPPORT:
            return None
    said = aligned.said()
    free = [m for m in sorted(varying) if not any(char.isalnum() for char in said[m])]
    if any(roles[m] in INSTRUCT for m in free) or not _is_held(aligned, roles):
        return None
    catch_all = bool(group.loose & set(free)) or _says_too_little(aligned, roles)
    if size < FREE_SUPPORT and not all(_is_plain(group, message) for message in free):
        return None
    rest = _without_outliers(group, roles)
    if len(rest.members) < SUPPORT:
        return None
    kinds = kinds if rest is group else assessed(rest.aligned, roles)
    listed = (number for number, kind in enumerate(kinds) if kind == "enumerated")
    return Found(rest.members, rest.aligned, frozenset(listed), catch_all)


def _without_outliers(group: Group, roles: Sequence[str]) -> Group:
    """Without the few whose messages begin with an instruction where those of the others begin with data: they may be
    of another task, which has this one's texts in it."""
    aligned = group.aligned
    if instructions_size(aligned, roles) >= ENOUGH_WORDS:
        return group
    out: set[int] = set()
    for number, values in enumerate(aligned.gaps):
        if not aligned.literals[number] or aligned.literals[number].endswith(BREAK):
            commanding = {i for i, value in enumerate(values) if commands(value[:80])}
            out |= commanding if len(commanding) <= OUTLIERS * len(values) else set()
    places = [i for i in range(len(group.members)) if i not in out]
    return _child(group, places, group.loose) if out and places else group


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


def _says_too_little(aligned: Aligned, roles: Sequence[str]) -> bool:
    if instructions_size(aligned, roles) >= ENOUGH_WORDS:
        return False
    users = [text for text, role in zip(aligned.said(), roles, strict=True) if role not in INSTRUCT]
    return not any(words(text) >= ENOUGH_WORDS or (words(text) >= 2 and is_telling(text)) for text in users)
