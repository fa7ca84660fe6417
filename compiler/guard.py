"""What a prompt may not be: without a rule that the app's own prompt had, or with what it has out of the traffic. Pure.

Both err to the safe side: too many sentences count as rules, and a prompt that is refused leaves the app's own.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from compiler.errors import ModelRefused
from compiler.redaction.spans import sensitive, spans

RUN = 5  # consecutive words out of one value that no prompt may have
MAX_PROMPT_CHARS = 12_000  # of what a meta model writes
GROWTH = 1.5  # of an app's own prompt, should that be longer
KEPT = "These rules hold always:"
COMMON = 3  # examples that a capitalised word is in, so that it is no one's name
REFUSAL = re.compile(
    r"^\W*(i['’]?m sorry|i am sorry|sorry|i can(no|['’])t|i am unable|i['’]?m unable|as an ai)\b", re.IGNORECASE
)
LIMITS = re.compile(
    r"""\b(must|never|always|only|not|no|none|nothing|cannot|avoid|exactly|(at|the)\ (most|least)|
    (less|fewer|more)\ than|maximum|minimum|max|min|limit\w*|required|forbid\w*|shall|should|ensure|make\ sure|form|
    format|json|xml|yaml|csv|html|markdown|schema|language|english|respond|answer|reply|output|return|write|speak|use|keep|include|exclude|unless|except|
    if|when|otherwise|instead|without|before|after|one\ of|tone|style|word|words|sentences?|characters?|
    nie|niemals|immer|nur|kein\w*|nicht|muss|müssen|höchstens|mindestens|genau|wenn|ohne|
    jamais|toujours|seulement|uniquement|pas|doit|doivent|sans|nunca|siempre|s[oó]lo|debe|deben|sin|ning\w+)\b|n['’]t\b""",
    re.IGNORECASE | re.VERBOSE,
)
MARKS = re.compile(r"[0-9\"“”„«»`{}\[\]<>|:=@/]|['‘][^'’]+['’]|[A-Z]{2}")  # a number, something quoted, a form
SLOT = re.compile(r"\W*[\w ]{0,40}:?\W*\{\w+\}\W*")  # where data stands in the app's message
ITEM = re.compile(r"^\s*([-*•·–]|\(?\w{1,3}[.)])\s+\S")
SENTENCE = re.compile(r"(?<=[.!?。！？])\s+(?=\S)|(?<=[。！？])")
FENCE = "```"
ORDERS = re.compile(
    r"\b(ignore|disregard|forget|override|bypass)\b.{0,40}\b(instruction|prompt|rule|above|previous|system)s?\b"
    r"|\bsystem prompt\b|\byou are now\b|\bdeveloper mode\b|\bjailbreak\b",
    re.IGNORECASE | re.DOTALL,
)


def invariants(instructions: str) -> list[str]:
    """The rules of an app's prompt that every prompt in its place has to hold word for word, in their order: whole code
    blocks, items of lists, and each sentence that limits, forbids, says how to answer, names a form or quotes. What
    only says what the task is, or tells of the world, is for the meta model to put in other words."""
    found = dict.fromkeys(part for part in _parts(instructions) if _is_rule(part))
    return [*found]


def _parts(text: str) -> Iterator[str]:
    """Code blocks as they are, then lines, and of lines that are no items their sentences."""
    for number, block in enumerate(text.split(FENCE)):
        if number % 2:
            yield f"{FENCE}{block}{FENCE}"
            continue
        for line in block.split("\n"):
            yield from [line.strip()] if ITEM.match(line) else (part.strip() for part in SENTENCE.split(line))


def _is_rule(part: str) -> bool:
    if not part.strip(" .,;:!?-*_#") or SLOT.fullmatch(part):
        return False
    foreign = sum(ord(char) > 127 for char in part) > len(part) // 4
    return bool(foreign or part.startswith(FENCE) or ITEM.match(part) or LIMITS.search(part) or MARKS.search(part))


def with_invariants(prompt: str, kept: Sequence[str]) -> str:
    """The prompt, and below it what it lacks of them."""
    missing = [rule for rule in kept if rule not in prompt]
    return "\n".join([prompt, "", KEPT, *missing]) if missing else prompt


def refuse(prompt: str, original: str, values: Iterable[str], allowed: Sequence[str] = ()) -> None:
    """Raises ModelRefused where no prompt may be like that: a refusal, too long, with words that are an app's data
    (`values`) and not its instructions, or personal data. `allowed`: what may be in it beside the original, such as the
    labels."""
    if not prompt.strip():
        raise ModelRefused("the meta model returned nothing")
    if REFUSAL.match(prompt):
        raise ModelRefused("the meta model refused")
    most = max(MAX_PROMPT_CHARS, int(GROWTH * len(original)))
    if len(prompt) > most:
        raise ModelRefused(f"the meta model returned {len(prompt)} characters, a prompt may have {most}")
    own = "\n".join((original, *allowed))
    if private(prompt) - private(own):
        raise ModelRefused("the prompt holds personal data")
    if links(prompt) - links(own):
        raise ModelRefused("the prompt holds an address that the app's own has not")
    if overlap(prompt, own, values):
        raise ModelRefused(f"{RUN} words in a row are out of a recorded request")


def overlap(prompt: str, original: str, values: Iterable[str]) -> bool:
    """Whether the prompt has words in a row out of a value, which its original has not."""
    runs = _runs(prompt) - _runs(original)
    return bool(runs) and any(not runs.isdisjoint(_runs(value)) for value in values)


@lru_cache(4_096)
def _runs(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(" ".join(words[at : at + RUN]) for at in range(len(words) - RUN + 1))


def private(text: str) -> set[str]:
    """What is hidden in captured text: addresses, numbers of cards and accounts, keys."""
    return {text[span.start : span.end] for span in sensitive(text)}


def links(text: str) -> set[str]:
    return {text[span.start : span.end] for span in spans(text) if span.type == "url"}


def showable(texts: Sequence[str]) -> list[bool]:
    """Which of these recorded texts may be shown in a prompt, to everybody who can read it: none with personal data,
    with an order to a model, or with a capitalised word in a sentence that few others have and that may be a name."""
    named = [set(_capitalised(text)) for text in texts]
    seen: dict[str, int] = {}
    for words in named:
        for word in words:
            seen[word] = seen.get(word, 0) + 1
    return [
        not private(text) and not ORDERS.search(text) and all(seen[word] >= COMMON for word in words)
        for text, words in zip(texts, named, strict=True)
    ]


def _capitalised(text: str) -> list[str]:
    """Words that begin with a capital letter where no sentence or line begins, and are no abbreviation."""
    return re.findall(r"(?<![.!?:\n\"“„(\-•] )(?<=[\w,;)] )[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ][\w'’-]*", text)
