"""A provider that caches prompts, simulated: what a compiled prompt's layout leaves of the discount."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import tiktoken

from compiler.example import Example
from compiler.families import Family
from compiler.frame import Frame
from compiler.guard import invariants, with_invariants
from compiler.program import Prompt, rewrite
from compiler.tokens import TokenCounter
from tests.compiler.test_guard import originals

SHOWN = 200  # tokens, more than those of the demonstrations
LEAST, STEP = 1_024, 128  # tokens: OpenAI caches prefixes from so many on, in steps
REQUESTS = 40


class Billed(NamedTuple):
    cached: int
    total: int

    @property
    def share(self) -> float:
        return self.cached / self.total

    @property
    def paid(self) -> float:
        """In tokens at full price: cached ones cost a tenth."""
        return self.total - 0.9 * self.cached


def billed(requests: Sequence[dict[str, Any]]) -> Billed:
    """Of each request, the longest beginning that one before it had is read from the cache."""
    TokenCounter()  # puts the vocabulary where it is found
    encode = tiktoken.get_encoding("o200k_base").encode_ordinary
    seen: list[list[int]] = []
    cached = total = 0
    for request in requests:
        tokens = encode("".join(f"<|{m['role']}|>{m['content']}" for m in request["messages"]))
        longest = max((_shared(tokens, other) for other in seen), default=0)
        cached += longest // STEP * STEP if longest >= LEAST else 0
        total += len(tokens)
        seen.append(tokens)
    return Billed(cached, total)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def traffic(before: str, behind: str) -> list[dict[str, Any]]:
    draw, words = random.Random(before), ["the", "parcel", "box", "came", "late", "and", "was", "wet", "or", "torn"]
    data = [" ".join(draw.choices(words, k=30)) for _ in range(REQUESTS)]
    return [{"model": "m", "messages": [{"role": "user", "content": f"{before}{one}{behind}"}]} for one in data]


def compiled(original: str, frame: Frame) -> Prompt:
    shown = tuple(Example(f"the box of {n} was torn", "damage") for n in range(8))
    return Prompt(with_invariants("You label messages for a shop.", invariants(original)), shown, frame)


LONG = "\n".join(f"{n}. Parcels of kind {n} must never be called lost before {n + 2} days." for n in range(1, 161))


def both(original: str, where: str) -> tuple[Billed, Billed]:
    """The app's own prompt and the compiled one, with the data at its place."""
    half = len(original) // 2
    ends = {
        "first": ("", "\n" + original),
        "last": (original + "\n", ""),
        "between": (original[:half], original[half:]),
    }
    before, behind = ends[where]
    requests, prompt = traffic(before, behind), compiled(original, Frame.of((before, behind)))
    return billed(requests), billed([rewrite(one, prompt, "n", Family()) for one in requests])


@pytest.mark.parametrize(("where", "own_share"), [("first", 0), ("between", 0.4), ("last", 0.85)])
def test_all_that_is_static_is_cached_wherever_the_data_stood(where, own_share):
    own, ours = both(LONG, where)
    assert own_share <= own.share <= ours.share + 0.01
    assert ours.share > 0.85


@pytest.mark.parametrize("where", ["first", "between", "last"])
def test_a_prompt_that_became_too_short_to_be_cached_costs_no_more_than_the_long_one_did(where):
    for original, _ in originals():
        own, ours = both(original, where)
        assert ours.paid <= own.paid + SHOWN * REQUESTS, "what it shows may come on top"
