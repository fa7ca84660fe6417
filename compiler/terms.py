"""By what terms tasks are taken up and proven: what a person chose, and what their traffic is worth."""

from collections.abc import Callable
from dataclasses import dataclass

from compiler.task import Mode, Task


@dataclass(frozen=True)
class Terms:
    """`worth`: why a recognised task is not worth a compile; None if it is. `usd_per_day`: what a task's proof may cost
    in a UTC day; `usd_of_all`: what the proofs of all tasks like it may, together. `mode` of a task. `concurrency`:
    calls under way at once."""

    margin: float
    margin_text: float
    control: float
    min_examples: int
    worth: Callable[[str], str | None]
    usd_per_day: Callable[[str], float]
    usd_of_all: Callable[[str], float]
    calls_per_day: Callable[[str], float]
    retry_kept_after: float
    concurrency: int
    mode: Callable[[Task], Mode]
