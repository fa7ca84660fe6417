"""What it takes to tell which of a thousand templates a request is of: `python -m bench.matching`.

The templates are mined from the corpus, put under one structure key, and repeated with another word in each literal's
place until there are enough; requests are the corpus's own, held out, in turn for each copy. Some have 200 kB of text
where data goes. Times are of one request: its structure key (with and without tools), and the match.
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.corpus.tasktypes import generate
from compiler.recognition.mine import Miner, sample_of
from compiler.recognition.recognise import Recogniser
from compiler.recognition.structure import CHAT, structure_key
from compiler.recognition.template import Template
from compiler.recognition.wording import read_lexicon

STRUCTURE = "one"
LONG = 200_000  # characters
LONG_SHARE = 0.05  # of the requests
BARS = {0.5: 30.0, 0.99: 200.0}  # quantile → microseconds
TOOLS = [
    {"type": "function", "function": {"name": f"tool_{n}", "description": "What it does. " * 30, "parameters": {}}}
    for n in range(64)
]


@dataclass(frozen=True)
class Asked:
    texts: tuple[str, ...]
    template: str  # id of the one that it is of


def templates_and_requests(number: int, seed: int) -> tuple[list[Template], list[Asked]]:
    """As many templates, of messages of one shape, and the requests that they match."""
    taken = [sample_of("", structure_key("", CHAT, made.request), made.request) for made in generate(seed, requests=40)]
    of_shape = [sample for sample in taken if sample and sample.roles == ("system", "user")]
    miner, held_out = Miner(), of_shape[1::2]
    for sample in of_shape[::2]:
        miner.add(sample)
    miner.mine()
    told = {template.shown(): template for template in miner.templates if not template.catch_all}
    mined = [*told.values()]  # some differ in their tools alone
    copies = -(-number // len(mined))
    made, asked = list[Template](), list[Asked]()
    for copy in range(copies):
        for template in mined:
            made.append(_copied(template, copy))
    index = Recogniser(miner.templates)
    for sample in held_out:
        if (match := index.match(sample.structure, sample.texts)) and match.template in mined:
            copy = Random(len(asked)).randrange(copies)
            id_ = f"{match.template.id}-{copy}"
            asked.append(Asked(tuple(_marked(text, copy) for text in sample.texts), id_))
    return made[:number], [one for one in asked if one.template in {template.id for template in made[:number]}]


def _copied(template: Template, copy: int) -> Template:
    """The same task of another product: its name ends the system prompt, and begins the user's message."""
    patterns = tuple(
        replace(pattern, literals=(_marked(pattern.literals[0], copy), *pattern.literals[1:]))
        for pattern in template.patterns
    )
    return replace(template, id=f"{template.id}-{copy}", structure=STRUCTURE, patterns=patterns)


def _marked(text: str, copy: int) -> str:
    return f"[product {copy:03}] {text}"


def longer(asked: Sequence[Asked], templates: Mapping[str, Template], seed: int) -> list[Asked]:
    """Some of the requests with 200 kB in a slot that takes any length."""
    draw, found = Random(seed), []
    for one in asked:
        template = templates[one.template]
        places = template.places(one.texts)
        if draw.random() < LONG_SHARE and places is not None:
            one = _filled(one, template, places)
        found.append(one)
    return found


def _filled(one: Asked, template: Template, places: Sequence[Sequence[tuple[int, int]]]) -> Asked:
    for number, pattern in enumerate(template.patterns):
        for slot, (at, end) in zip(pattern.slots, places[number], strict=True):
            if slot.kind == "text" and end > at:
                text, value = one.texts[number], one.texts[number][at:end]
                filled = text[:at] + (value + " ") * (LONG // (len(value) + 1)) + value + text[end:]
                return replace(one, texts=(*one.texts[:number], filled, *one.texts[number + 1 :]))
    return one


def timed(work: Callable[[Any], object], items: Sequence[Any]) -> list[float]:
    """Microseconds of each, the first round thrown away."""
    gc.collect()
    gc.freeze()
    for item in items:
        work(item)
    found = []
    for item in items:
        begun = time.perf_counter()
        work(item)
        found.append(1e6 * (time.perf_counter() - begun))
    return found


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _cases(index: Recogniser, asked: Sequence[Asked], long: Sequence[Asked]) -> Iterator[tuple[str, list[float], bool]]:
    def match(one: Asked) -> object:
        return index.match(STRUCTURE, one.texts)

    def key(body: Mapping[str, Any]) -> object:
        return structure_key("shop", CHAT, body)

    yield "match", timed(match, asked), True
    yield f"match, {LONG_SHARE:.0%} with {LONG // 1000} kB", timed(match, long), True
    only_long = [one for one in long if sum(map(len, one.texts)) > LONG]
    yield f"match, all with {LONG // 1000} kB", timed(match, only_long), False
    bodies = [{"model": "m", "messages": [{"role": "user", "content": text} for text in one.texts]} for one in asked]
    yield "structure key", timed(key, bodies), False
    yield (
        f"structure key, {len(TOOLS)} tools of {len(str(TOOLS)) // 1000} kB",
        timed(key, [{**body, "tools": TOOLS} for body in bodies[:500]]),
        False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.matching", description=__doc__)
    parser.add_argument("--templates", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    read_lexicon()
    templates, asked = templates_and_requests(given.templates, given.seed)
    index = Recogniser(templates)
    by_id = {template.id: template for template in templates}
    long = longer(asked, by_id, given.seed)
    right = sum((m := index.match(STRUCTURE, one.texts)) is not None and m.template.id == one.template for one in asked)
    table = Table(title=f"{len(templates)} templates under one key, {len(asked)} requests", title_justify="left")
    for column in ("", "p50 µs", "p99 µs", "most µs", "wanted"):
        table.add_column(column, justify="left" if not column else "right")
    for name, found, is_bar in _cases(index, asked, long):
        met = all(quantile(found, share) <= most for share, most in BARS.items())
        shown = [f"{quantile(found, share):.0f}" for share in (0.5, 0.99, 1.0)]
        table.add_row(name, *shown, ("pass" if met else "FAIL") if is_bar else "")
    console = Console(width=100)
    console.print(table)
    console.print(f"matched to their own template: {right} of {len(asked)}", highlight=False)


if __name__ == "__main__":
    main()
