"""The tasks, chosen before any of them was answered. Each has the traffic of an app (texts, no labels) and gold rows
that nothing is tuned on."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.quality.generated import appointment, order, sentence, sum_of_five, unique
from compiler.adopt import adopted
from compiler.recognition.template import Pattern, Slot, Template
from compiler.task import Task
from proxy.demo.fetch import Dataset, fetch_rows
from proxy.demo.rows import Row
from proxy.demo.setting import LOCAL

Group = Literal["intent", "json", "text", "impossible", "easy"]

SENDS = LOCAL.current  # the model that the app asks
TRAFFIC = 120  # recorded calls
GOLD_AT_MOST = 84  # test rows
GENERATED_GOLD = 60
CLASSIFY = "Classify the {what}. Answer with exactly one of these labels: {labels}."
MAKERS = {"orders": order, "appointments": appointment, "arithmetic": sum_of_five, "language": sentence}


@dataclass(frozen=True)
class Spec:
    """`lead`: set where instruction and text are one user message, in which the text stands behind it; else the
    instruction is the system prompt. `labels`: what a person who looks at the prompt knows to be the answers."""

    name: str
    group: Group
    instruction: str
    tokens: int  # of an answer, at most
    lead: str | None = None
    labels: tuple[str, ...] = ()
    dataset: Dataset | None = None  # None: made, see MAKERS

    def input(self, text: str) -> str:
        """The user's whole message, which is what a card's program is given."""
        return text if self.lead is None else _joined(self.instruction, self.lead, text)

    def messages(self, text: str, instruction: str | None = None) -> list[dict[str, Any]]:
        """What the app sends, or would with another instruction in the same place."""
        told = self.instruction if instruction is None else instruction
        if self.lead is not None:
            return [{"role": "user", "content": _joined(told, self.lead, text)}]
        return [{"role": "system", "content": told}, {"role": "user", "content": text}]

    def task(self) -> Task:
        """As it is once it was recognised in the traffic."""
        text = Slot(longest=1_000)
        if self.lead is not None:
            patterns: tuple[Pattern, ...] = (Pattern((_joined(self.instruction, self.lead, ""), ""), (text,)),)
            roles: tuple[str, ...] = ("user",)
        else:
            patterns, roles = (Pattern((self.instruction,)), Pattern(("", ""), (text,))), ("system", "user")
        return adopted(self.name, [Template(self.name, "default", self.name, roles, patterns, model=SENDS)])

    def fingerprint(self, traffic: int, gold: int) -> str:
        """Results of another wording, or of other amounts, are no results of this."""
        return hashlib.sha256(json.dumps([astuple(self), traffic, gold]).encode()).hexdigest()[:12]


def _joined(instruction: str, lead: str, text: str) -> str:
    return f"{instruction}\n{lead}{text}"


def _intents(name: str, dataset: Dataset, what: str, labels: Sequence[str], *, one_message: bool = False) -> Spec:
    told = CLASSIFY.format(what=what, labels=", ".join(labels))
    lead = f"{what.capitalize()}: " if one_message else None
    return Spec(name, "intent", told, 16, lead, tuple(labels), dataset)


SPECS: tuple[Spec, ...] = (
    _intents("clinc-4", "clinc150", "message", ("card_declined", "report_lost_card", "credit_limit", "pin_change")),
    _intents(
        "clinc-8",
        "clinc150",
        "message",
        ("gas", "jump_start", "mpg", "oil_change_when", "schedule_maintenance", "tire_change", "tire_pressure", "uber"),
        one_message=True,
    ),
    _intents(
        "clinc-10",
        "clinc150",
        "message",
        (
            *("payday", "pto_balance", "pto_request", "direct_deposit", "income"),
            *("taxes", "insurance", "schedule_meeting", "rollover_401k", "w2"),
        ),
    ),
    _intents(
        "banking-4",
        "banking77",
        "question",
        ("card_arrival", "change_pin", "exchange_rate", "terminate_account"),
        one_message=True,
    ),
    _intents(
        "banking-6",
        "banking77",
        "question",
        (
            *("activate_my_card", "age_limit", "apple_pay_or_google_pay"),
            *("declined_card_payment", "lost_or_stolen_card", "passcode_forgotten"),
        ),
    ),
    _intents(
        "banking-9",
        "banking77",
        "question",
        (
            *("atm_support", "automatic_top_up", "cancel_transfer", "edit_personal_details", "exchange_via_app"),
            *("failed_transfer", "lost_or_stolen_phone", "request_refund", "verify_my_identity"),
        ),
        one_message=True,
    ),
    Spec(
        "orders",
        "json",
        "Extract the payment from the note below. Answer with one JSON object only, without a code fence, with the keys"
        ' "customer" (full name), "date" (YYYY-MM-DD), "amount" (a number) and "currency" (three-letter code).',
        80,
        "Note: ",
    ),
    Spec(
        "appointments",
        "text",
        "Rewrite the message as one line: Name, D Month, HH:MM (24-hour clock). Answer with that line only.",
        24,
    ),
    Spec("arithmetic", "impossible", "Work out the result. Answer with the number only.", 8),
    Spec(
        "language",
        "easy",
        "Which language is the sentence in? Answer with one word: English, French or German.",
        8,
        "Sentence: ",
        ("English", "French", "German"),
    ),
)
BY_NAME = {spec.name: spec for spec in SPECS}


def rows(spec: Spec, cache: Path, *, traffic: int, gold: int) -> tuple[list[Row], list[Row]]:
    """What the app asks, oldest first, and the sealed rows: as many of each label as there can be."""
    if spec.dataset is None:
        made = unique(MAKERS[spec.name], spec.name, TRAFFIC + GENERATED_GOLD)
        return made[:TRAFFIC][:traffic], made[TRAFFIC:][:gold]
    asked = _even(spec, fetch_rows(spec.dataset, "train", cache), min(traffic, TRAFFIC))
    return asked, _even(spec, fetch_rows(spec.dataset, "test", cache), min(gold, GOLD_AT_MOST))


def _even(spec: Spec, found: Sequence[Row], count: int) -> list[Row]:
    rng = random.Random(spec.name)
    each = max(1, count // len(spec.labels))
    chosen = []
    for label in spec.labels:
        its = [row for row in found if row[1] == label]
        chosen += rng.sample(its, min(each, len(its)))
    rng.shuffle(chosen)
    return chosen


def agrees(spec: Spec, answer: str, other: str) -> bool:
    """Whether two answers say the same to an app that reads them to the letter, but for a fence around JSON."""
    return share(spec, answer, other) == 1.0


def share(spec: Spec, answer: str, wanted: str) -> float:
    """How much of `wanted` is in the answer: the keys that are equal in JSON, all or nothing elsewhere."""
    if spec.group != "json":
        return float(answer.strip() == wanted.strip())
    left, right = _object(answer), _object(wanted)
    if not right:
        return float(answer.strip() == wanted.strip())
    same = [key for key, value in right.items() if key in left and left[key] == value]
    return len(same) / len(right)


def _object(text: str) -> dict[str, Any]:
    """Empty where it is none."""
    plain = text.strip()
    if plain.startswith("```") and plain.endswith("```"):
        plain = plain.removesuffix("```").partition("\n")[2]
    try:
        data = json.loads(plain)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
