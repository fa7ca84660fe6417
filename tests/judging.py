"""Judges to be put behind a fake upstream: they read what they are shown as a model would, by its tags."""

import re
from collections.abc import Callable, Mapping
from typing import Any

TAG = re.compile(r"<(\w+)-([0-9a-f]{16})>\n(.*?)\n</\1-\2>", re.DOTALL)

Judging = Callable[[Any], str]


def sees(request: Any) -> dict[str, str]:
    """What stands between the tags, and the nonce."""
    found = TAG.findall(request["messages"][-1]["content"])
    return {name: text for name, _, text in found} | {"nonce": found[0][1]}


def says(word: str) -> str:
    return f"One of them is wrong.\nVERDICT: {word}"


def prefers(better: Callable[[str, str], float]) -> Judging:
    """`better(A, B)`: above 0 where A is, below where B is."""

    def answer(request: Any) -> str:
        shown = sees(request)
        found = better(shown["A"], shown["B"])
        return says("A" if found > 0 else "B" if found < 0 else "TIE")

    return answer


def knows(good: Mapping[str, set[str]]) -> Judging:
    """Knows which answers to an input are good."""

    def answer(request: Any) -> str:
        right = good[sees(request)["input"]]
        return prefers(lambda a, b: (a in right) - (b in right))(request)

    return answer
