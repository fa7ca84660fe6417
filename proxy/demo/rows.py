"""What the demo's app asks: two kinds of request, each in one user message, about texts of CLINC150 with its labels."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.demo.fetch import Split, fetch_rows

__all__ = ["DESK", "KINDS", "MONEY", "Kind", "Row"]

Row = tuple[str, str]
"""(text, what is right)"""


@dataclass(frozen=True)
class Kind:
    """`answers`: by the data's labels. `name` is ours alone: nothing that is sent has it."""

    name: str
    prompt: str
    answers: Mapping[str, str]

    def messages(self, text: str) -> list[Any]:
        return [{"role": "user", "content": self.prompt.format(text=text)}]

    def rows(self, split: Split, cache: Path) -> list[Row]:
        """Always in the same order."""
        found = [(text, self.answers[label]) for text, label in fetch_rows("clinc150", split, cache) if label in self]
        random.Random(self.name).shuffle(found)
        return found

    def __contains__(self, label: object) -> bool:
        return label in self.answers


LABELS = ("exchange_rate", "transfer", "bill_due", "freeze_account")
MONEY = Kind(
    "money",
    f"Classify the message of a bank's customer below. Answer with exactly one of these labels: {', '.join(LABELS)}.\n"
    "The label decides which team calls the customer back, and how soon, so that nobody has to read the message twice. "
    "Customers write in a hurry, with typing errors and without punctuation, some in half sentences, and now and then "
    "they name more than one thing: go by what they want to have done or to know, not by single words that they happen "
    "to use. There is always one label that fits.\nMessage: {text}",
    {label: label for label in LABELS},
)
SUBJECTS = (
    *("alarm", "weather", "play_music", "shopping_list", "recipe", "traffic"),
    *("make_call", "translate", "timer", "calendar", "todo_list", "definition"),
)
DESKS = {subject: f"Q{17 + 7 * number}" for number, subject in enumerate(SUBJECTS)}
DESK = Kind(
    "desk",
    "Find the desk for the message of an assistant's user below. These are the codes of the desks:\n"
    + "\n".join(f"{code} = {subject}" for subject, code in DESKS.items())
    + "\nAnswer with the code of the desk whose subject fits best, and with nothing else: no subject, no full stop, no "
    "explanation.\nMessage: {text}",
    DESKS,
)
KINDS = (MONEY, DESK)
"""The second is one that the cheap local model can't do: of 28 answers it gave 4 as the other did, shown a dozen 15."""
