"""What is asked, encoded beforehand: one request again and again, or the corpus's."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from random import Random
from typing import Any

from bench.corpus.tasktypes import generate
from bench.servers import HELLO, Contender, Kind

OF_A_TYPE = 50  # requests
STRIDE = 997  # requests from one turn to the next


class Requests:
    """Every contender begins a turn with the same one, every turn with another."""

    def __init__(self, bodies: Sequence[Mapping[str, Any]] = (HELLO,), *, usage: bool = True) -> None:
        self._bodies = bodies
        self._usage = usage
        self._encoded: dict[tuple[str, Kind], list[bytes]] = {}
        self._turn = 0

    @classmethod
    def of_corpus(cls, *, usage: bool = True) -> "Requests":
        bodies = [one.request for one in generate(seed=1, requests=OF_A_TYPE)]
        Random(1).shuffle(bodies)
        return cls(bodies, usage=usage)

    def next_turn(self) -> None:
        self._turn += 1

    def of(self, contender: Contender, kind: Kind) -> Iterator[bytes]:
        key = contender.name, kind
        if key not in self._encoded:
            self._encoded[key] = [contender.request(kind, body, usage=self._usage) for body in self._bodies]
        return islice(cycle(self._encoded[key]), self._turn * STRIDE % len(self._bodies), None)
