"""Templates from recorded requests, in the background: bounded memory, and ids that stay.

Whatever was kept of a structure is looked at as a whole each time, so that a value which turns out to repeat still
splits a task. A template keeps its id while its literals do, or while most of its requests are still one template's.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from compiler.recognition.align import BREAK, KIND_OF, PRIVATE, canonical
from compiler.recognition.recognise import Recogniser
from compiler.recognition.repeats import SUPPORT
from compiler.recognition.split import Found, constant, split
from compiler.recognition.structure import texts_of
from compiler.recognition.template import SHORT, Pattern, Slot, Template, sentence_ends, signature
from compiler.recognition.wording import SENTENCE, instructing
from compiler.redaction.spans import REDACTED, TYPES

FEW = 500  # requests
MANY = 100  # values, of which one alone shows nothing
PER_TEMPLATE = 150  # requests of one template that are kept in memory
PER_STRUCTURE = 6_000  # of one structure
CHARS_OF_STRUCTURE = 6 * 2**20  # to mine them takes some 28 bytes for each
KEPT_CHARS = 24 * 2**20  # of all, which take three bytes each
MOST_CHARS = 262_144  # of one request
NOT_HIDDEN = frozenset(TYPES) - REDACTED
TOLD_ALONE = frozenset(("email", "url", "uuid", "datetime", "ip"))
FITTING = 0.8  # share of its own requests that a template must match


class Sample(NamedTuple):
    """A request as the miner sees it; `texts` one a message."""

    tenant: str
    structure: str
    model: str
    roles: tuple[str, ...]
    texts: tuple[str, ...]


def sample_of(tenant: str, structure: str, request: Mapping[str, Any]) -> Sample | None:
    """None where its messages are not all text. `structure`: its structure key."""
    texts = texts_of(request.get("messages"))
    if texts is None:
        return None
    roles = tuple(str(message.get("role")) for message in request["messages"])
    return Sample(tenant, structure, str(request.get("model") or ""), roles, texts)


@dataclass
class _Kept:
    sample: Sample
    text: str  # canonical
    typed: list[str]  # the values behind its private characters, in order
    template: str = ""  # id

    @property
    def size(self) -> int:
        return len(self.text)


@dataclass
class _Structure:
    kept: deque[_Kept] = field(default_factory=deque)
    templates: list[Template] = field(default_factory=list)
    recogniser: Recogniser = field(default_factory=Recogniser)
    new: int = 0  # kept since it was last mined
    mined: int = 0  # kept when it was
    chars: int = 0  # of all that is kept

    def put(self, templates: list[Template]) -> None:
        self.templates, self.recogniser = templates, Recogniser(templates)


class Miner:
    """One thread at a time. `templates` are those it goes on from, after a restart."""

    def __init__(self, templates: Iterable[Template] = ()) -> None:
        self._structures: dict[str, _Structure] = {}
        self._chars = 0
        by_structure: dict[str, list[Template]] = {}
        for template in templates:
            by_structure.setdefault(template.structure, []).append(template)
        for structure, found in by_structure.items():
            self._structures.setdefault(structure, _Structure()).put(found)

    @property
    def templates(self) -> list[Template]:
        return [template for found in self._structures.values() for template in found.templates]

    def of(self, structure: str) -> list[Template]:
        found = self._structures.get(structure)
        return found.templates if found else []

    def add(self, sample: Sample) -> Template | None:
        """The template it is of, by what is known so far. One that can't be mined is left out."""
        within = self._structures.setdefault(sample.structure, _Structure())
        match = within.recogniser.match(sample.structure, sample.texts)
        template = match.template if match else None
        read = canonical(sample.texts) if _is_minable(sample) else None
        if read is None:
            return template
        kept = _Kept(sample, *read, template.id if template else "")
        within.kept.append(kept)
        within.new += 1
        within.chars += kept.size
        self._chars += kept.size
        self._make_room(within, kept)
        return template

    def keep_up(self) -> None:
        """Mine what has grown by half. For many requests at once: what is known of a template is kept in small numbers,
        what is of none in large ones."""
        for name, within in self._structures.items():
            if within.new >= max(FEW, within.mined // 2):
                self._mine(name, within)

    def mine(self) -> set[str]:
        """Look at every structure that has new requests; which of them have other templates now."""
        return {name for name, within in self._structures.items() if within.new and self._mine(name, within)}

    def forget(self) -> None:
        """All requests; the templates stay."""
        for within in self._structures.values():
            within.kept.clear()
            within.new = within.chars = 0
        self._chars = 0

    def _make_room(self, within: _Structure, newest: _Kept) -> None:
        alike = [kept for kept in within.kept if kept.template == newest.template] if newest.template else []
        if len(alike) > PER_TEMPLATE:
            self._drop(within, alike[0])
        elif len(within.kept) > PER_STRUCTURE:
            self._drop(within, within.kept[0])
        while within.chars > CHARS_OF_STRUCTURE:
            self._drop(within, within.kept[0])
        while self._chars > KEPT_CHARS:
            largest = max(self._structures.values(), key=lambda s: s.chars)
            self._drop(largest, largest.kept[0])

    def _drop(self, within: _Structure, kept: _Kept) -> None:
        within.kept.remove(kept)
        within.chars -= kept.size
        self._chars -= kept.size

    def _mine(self, structure: str, within: _Structure) -> bool:
        within.new, within.mined = 0, len(within.kept)
        kept = list(within.kept)
        templates = _with_ids(structure, _made(kept), within.templates, kept)
        changed = templates != within.templates
        within.put(templates)
        for one in kept:
            match = within.recogniser.match(structure, one.sample.texts)
            one.template = match.template.id if match else ""
        self._thin_out(within)
        return changed

    def _thin_out(self, within: _Structure) -> None:
        """Before it was mined, nobody knew that they are of one template."""
        counts = Counter[str]()
        stay: deque[_Kept] = deque()
        for kept in reversed(within.kept):
            counts[kept.template] += 1
            if not kept.template or counts[kept.template] <= PER_TEMPLATE:
                stay.appendleft(kept)
        left = sum(kept.size for kept in stay)
        self._chars -= within.chars - left
        within.kept, within.chars = stay, left


def _is_minable(sample: Sample) -> bool:
    return 0 < sum(map(len, sample.texts)) <= MOST_CHARS


def _made(kept: Sequence[_Kept]) -> list["_Made"]:
    """Each different request counts once; one that comes again and again, and is of no other task, is one itself."""
    counts = Counter(one.text for one in kept)
    different = list({one.text: one for one in kept}.values())
    roles = different[0].sample.roles
    groups = [(group, different) for group in split([one.text for one in different], roles)]
    grouped = {different[i].text for group, _ in groups for i in group.members}
    for one in different:
        if counts[one.text] >= SUPPORT and one.text not in grouped:
            groups.append((constant(one.text, roles), [one]))
    return [made for group, members in groups if (made := _template(group, members)) is not None]


class _Made(NamedTuple):
    template: Template  # without an id
    members: list[_Kept]


def _template(found: Found, kept: Sequence[_Kept]) -> _Made | None:
    """None where the template does not match what it was made of: its literals stand in its data as well."""
    members = [kept[i] for i in found.members]
    sample = members[0].sample
    patterns = tuple(_patterns(_Pieces(found, members)))
    made = Template(
        id="",
        tenant=sample.tenant,
        structure=sample.structure,
        roles=sample.roles,
        patterns=patterns,
        catch_all=found.catch_all,
        seen=len(members),
        model=sample.model,
    )
    found_in = [values for member in members if (values := made.values(member.sample.texts)) is not None]
    fitting = len(found_in)
    made = replace(made, choices=frozenset(filter(None, map(made.choice, found_in))))
    return _Made(made, members) if fitting >= FITTING * len(members) else None


class _Pieces:
    """A group's literals and gaps in their order, with every member's typed values back in their places."""

    def __init__(self, found: Found, members: Sequence[_Kept]) -> None:
        self._typed = [iter(member.typed) for member in members]
        self._found = found

    def __iter__(self) -> Iterator[str | Slot]:
        """Literal texts, BREAK among them, and slots."""
        aligned = self._found.aligned
        for number, literal in enumerate(aligned.literals):
            at = 0
            for place, char in enumerate(literal):
                if char in KIND_OF:
                    yield literal[at:place]
                    values = [next(typed) for typed in self._typed]
                    yield _typed(KIND_OF[char], values)
                    at = place + 1
            yield literal[at:]
            if number < len(aligned.gaps):
                values = [self._raw(v, i) for i, v in enumerate(aligned.gaps[number])]
                yield _enumerated(values) if number in self._found.enumerated else _slot(values)

    def _raw(self, value: str, member: int) -> str:
        return PRIVATE.sub(lambda _: next(self._typed[member]), value)


def _sizes(values: Sequence[str]) -> tuple[int, int]:
    return max(map(len, values)), min(map(len, values))


def _typed(kind: str, values: Sequence[str]) -> str | Slot:
    """What was hidden from us is data wherever it stands, and what is hidden by its surroundings is any text: alone it
    can't be told. An address that never differs is part of the instructions."""
    if kind in NOT_HIDDEN and kind != "datetime" and len(set(values)) == 1:
        return values[0]
    return Slot(kind, *_sizes(values)) if kind in TOLD_ALONE else _slot(values)


def _enumerated(values: Sequence[str]) -> Slot:
    return Slot("enumerated", *_sizes(values), values=frozenset(values))


def _slot(values: Sequence[str]) -> Slot:
    """Bounds from what was seen, with room: the longest of few values is not the longest there is."""
    longest, shortest = _sizes(values)
    room = 10 + longest if longest < 40 else 200 + 4 * longest
    sentences = max(map(sentence_ends, values)) if longest <= SHORT else -1
    return Slot(
        "text",
        longest + room,
        min(shortest, 1),
        lines=any("\n" in value for value in values),
        sentences=sentences if sentences <= 1 else -1,
        words=_words(values),
    )


def _words(values: Sequence[str]) -> frozenset[str]:
    """The instructing words of data. How a single one of many values begins or ends is not taken for what data does:
    it may have an instruction in front of it, or behind it."""
    found = [instructing(value) for value in values]
    counts = Counter(word for words in found for word in words)
    if len(values) < MANY:
        return frozenset(counts)
    odd: set[str] = set()
    for value, words in zip(values, found, strict=True):
        if alone := {word for word in words if counts[word] == 1 and word[0] == ">"}:
            sentences = [sentence for sentence in SENTENCE.split(value) if sentence.strip()]
            odd |= alone & {word for sentence in (sentences[0], sentences[-1]) for word in instructing(sentence)}
    return frozenset(counts.keys() - odd)


def _patterns(pieces: Iterable[str | Slot]) -> Iterator[Pattern]:
    literals: list[str] = [""]
    slots: list[Slot] = []
    for piece in pieces:
        if isinstance(piece, Slot):
            slots.append(piece)
            literals.append("")
            continue
        first, *others = piece.split(BREAK)
        literals[-1] += first
        for other in others:
            yield _pattern(literals, slots)
            literals, slots = [other], []
    yield _pattern(literals, slots)


def _pattern(literals: list[str], slots: list[Slot]) -> Pattern:
    """Slots that nothing keeps apart become one."""
    kept_literals = [literals[0]]
    kept_slots: list[Slot] = []
    for slot, after in zip(slots, literals[1:], strict=True):
        between = kept_literals[-1]
        if kept_slots and (not between or (kept_slots[-1].kind == "text" and _is_weak(between))):
            kept_slots[-1] = _joined(kept_slots[-1], between, slot)
            kept_literals[-1] = after
        else:
            kept_slots.append(slot)
            kept_literals.append(after)
    return Pattern(tuple(kept_literals), tuple(kept_slots))


def _is_weak(literal: str) -> bool:
    return len(literal) < 3 and not any(c.isalnum() or c == "\n" for c in literal)


def _joined(one: Slot, between: str, other: Slot) -> Slot:
    size = one.longest + other.longest + len(between)
    lines = one.lines or other.lines
    return Slot("text", size, 0, lines, -1, one.words | other.words | instructing(between))


def _with_ids(
    structure: str, made: Sequence[_Made], known: Sequence[Template], kept: Sequence[_Kept]
) -> list[Template]:
    """The id of the known template with the same literals, else of one whose requests it mostly has, else a new one."""
    by_signature = {template.signature: template for template in known}
    signatures = [signature(structure, one.template.patterns) for one in made]
    held = Counter(one.template for one in kept)
    taken = {by_signature[s].id for s in signatures if s in by_signature}
    found: dict[str, Template] = {}
    for (template, members), sign in sorted(zip(made, signatures, strict=True), key=lambda m: -len(m[0].members)):
        if same := by_signature.get(sign):
            found[sign] = replace(_widened(template, same), id=same.id, seen=max(template.seen, same.seen))
        elif sign not in found:
            most, count = Counter(one.template for one in members).most_common(1)[0]
            inherits = most and most not in taken and 2 * count > held[most]
            found[sign] = replace(template, id=most if inherits else _new_id(sign, known))
            taken.add(found[sign].id)
    for template in known:  # of requests long gone, which nothing speaks against
        if not held[template.id] and template.id not in taken:
            found.setdefault(template.signature, template)
    return sorted(found.values(), key=lambda template: template.id)


def _new_id(sign: str, known: Sequence[Template]) -> str:
    ids = {template.id for template in known}
    return next(new for n in range(len(ids) + 1) if (new := f"{sign}{n or ''}") not in ids)


def _widened(new: Template, old: Template) -> Template:
    patterns = []
    for mine, theirs in zip(new.patterns, old.patterns, strict=True):
        slots = tuple(_wider(a, b) for a, b in zip(mine.slots, theirs.slots, strict=True))
        patterns.append(Pattern(mine.literals, slots))
    return replace(new, patterns=tuple(patterns), choices=new.choices | old.choices)


def _wider(a: Slot, b: Slot) -> Slot:
    if a.kind == "enumerated":
        return a._replace(longest=max(a.longest, b.longest), values=a.values | b.values)
    if a.kind != "text":
        return a
    sentences = -1 if -1 in (a.sentences, b.sentences) else max(a.sentences, b.sentences)
    sizes = max(a.longest, b.longest), min(a.shortest, b.shortest)
    return Slot("text", *sizes, a.lines or b.lines, sentences, a.words | b.words)
