"""Calls whose tokens are still to be counted, kept where the next worker in this one's place finds them: in memory that
the supervisor holds, so that no kill loses them and no disk sees what was said."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from compiler.journal import HEAD, Journal
from proxy.entry import Entry

RING = 2**22  # bytes; what does not fit is as safe as its worker


class Waiting(NamedTuple):
    model: str
    request: bytes
    response: bytes
    entry: Entry  # of the call, without its tokens


class Uncounted:
    def __init__(self, handle: int) -> None:
        self._ring = Journal(Path("uncounted"), handle, os.fstat(handle).st_size - HEAD)

    @staticmethod
    def allocate(slot: str) -> int:
        """The handle of new memory, for whoever has it in turn."""
        handle = os.memfd_create(f"cuecard-{slot}")
        os.posix_fallocate(handle, 0, HEAD + RING)
        return handle

    @classmethod
    def temporary(cls) -> Self:
        """For a worker that nobody will follow."""
        return cls(cls.allocate("alone"))

    @property
    def end(self) -> int:
        return self._ring.written

    def keep(self, waiting: Waiting) -> None:
        texts = (waiting.request.decode("latin-1"), waiting.response.decode("latin-1"))  # any bytes, as JSON's text
        self._ring.append([waiting.model, *texts, [*waiting.entry]])

    def settled(self, before: int) -> None:
        """All that was kept before this `end` is counted."""
        self._ring.mark_booked(before)
        self._ring.mark_shown(before)

    def left(self) -> Iterator[Waiting]:
        """What a worker before this one left behind."""
        for model, request, response, entry in self._ring.rest(self._ring.booked):
            yield Waiting(model, request.encode("latin-1"), response.encode("latin-1"), Entry(*entry))

    @property
    def begin(self) -> int:
        return self._ring.booked
