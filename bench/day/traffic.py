"""What the team's app asks, and the truth of it: what is right for each text, and how often each model misses it.

Everything follows from the text itself, so that app, upstream and judge agree on it without telling one another.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

INCUMBENT, CANDIDATE, JUDGE, META = "team-large", "team-nano", "team-judge", "team-meta"
PRICES: dict[str, dict[str, float]] = {  # of gpt-4.1, gpt-4.1-nano, gpt-5.2 and gpt-5.4, without their cache
    INCUMBENT: {"input": 2.0, "output": 8.0},
    CANDIDATE: {"input": 0.1, "output": 0.4},
    JUDGE: {"input": 1.75, "output": 14.0},
    META: {"input": 5.0, "output": 15.0},
}
AGENT = "team-app/1.0"  # the app's User-Agent
TEMPERATURE = 0.2  # the app's; a compile asks with 0
CHARS_A_TOKEN = 4.5
MARK = "\n---\n"  # between a prompt and its text
SEEN_BY_JUDGE = 0.97  # share of differences that the judge sees

NOUNS = (
    *("parcel", "invoice", "refund", "login", "delivery", "password", "lamp", "shelf", "contract", "meter"),
    *("battery", "screen", "receipt", "voucher", "warranty", "carpet", "router", "printer", "kettle", "sofa"),
    *("mattress", "account", "address", "payment", "return", "order", "colour", "cable", "drawer", "handle"),
)
STATES = (
    *("broken", "late", "missing", "scratched", "wrong", "damp", "loud", "faded", "stuck", "empty", "doubled"),
    *("blocked", "expired", "loose", "bent", "hot", "slow", "unclear", "closed", "open", "dusty", "cracked"),
)
REST = (
    *("again", "although", "because", "since", "while", "office", "driver", "nobody", "explained", "promised"),
    *("still", "waiting", "answer", "already", "picture", "work", "every", "week", "opened", "before", "after"),
    *("update", "installed", "paid", "twice", "neighbour", "morning", "called", "somebody", "told", "us", "we"),
    *("would", "like", "know", "more", "please", "when", "comes", "house", "floor", "stairs", "carried", "left"),
    *("right", "side", "under", "behind", "without", "kitchen", "garden", "winter", "cold", "found", "looked"),
    *("everywhere", "nothing", "happened", "then", "third", "attempt", "finally", "gave", "up", "hoping", "soon"),
)

Form = Literal["label", "json", "text", "chat", "talk"]


@dataclass(frozen=True)
class Kind:
    """`misses`: share of the answers that are wrong, of the app's own model and of the cheap one."""

    name: str
    share: float
    form: Form
    prompt: str
    misses: tuple[float, float] = (0.0, 0.0)
    labels: tuple[str, ...] = ()
    words: int = 90  # of a text, in the mean

    @property
    def true_loss(self) -> float:
        """Of its answers; in JSON, of its fields."""
        fields = 3 if self.form == "json" else 1
        return (self.misses[1] - self.misses[0]) / fields


KINDS = (
    Kind(
        "triage",
        0.27,
        "label",
        "You sort the messages that reach the support desk of a furniture shop by the team that has to answer them.\n"
        "Answer with one of these words and nothing else: shipping, billing, product, account.\n"
        "Shipping is everything between our warehouse and the door. Billing is money that was or was not paid, also "
        "vouchers. Product is what is wrong with a thing once it has arrived. Account is signing in, and what we have "
        "stored of a customer. If two fit, take the one that the customer asks about last.",
        (0.02, 0.02),
        ("shipping", "billing", "product", "account"),
    ),
    Kind(
        "mood",
        0.18,
        "label",
        "Tell how the author of the review below feels about what was bought.\n"
        "Answer with one word: happy, neutral or angry. Judge the whole review, not its first sentence; irony counts "
        "for what it means.",
        (0.005, 0.005),
        ("happy", "neutral", "angry"),
        70,
    ),
    Kind(
        "fields",
        0.15,
        "json",
        "Read the claim below and fill in the form. Answer with one JSON object with the keys item, state and count, "
        "without anything around it: item is the thing that the claim is mainly about, state what is wrong with it in "
        "one word, count how many of them it is about as a whole number. Never leave a key out.",
        (0.02, 0.03),
        (),
        120,
    ),
    Kind(
        "digest",
        0.12,
        "text",
        "Write for a colleague, in two sentences, what the message below is about and what is asked of us. Name the "
        "thing and its state. Leave out names, greetings and thanks. Do not promise anything.",
        (0.03, 0.035),
        (),
        300,
    ),
    Kind(
        "risk",
        0.10,
        "label",
        "Decide whether the following order has to be looked at by a person before it leaves the house. Answer with "
        "hold or send, and with nothing else. Hold orders whose parts do not fit together, that ask for what we do "
        "not sell to private customers, or that contradict themselves.",
        (0.01, 0.25),
        ("hold", "send"),
    ),
    Kind(
        "topic",
        0.03,
        "label",
        "Name the shelf of our help pages where an answer to the question below should stand. Answer with exactly one "
        "of: care, assembly, spares, guarantee, stores.",
        (0.04, 0.05),
        ("care", "assembly", "spares", "guarantee", "stores"),
        20,
    ),
    Kind("chat", 0.09, "chat", "You are a helpful assistant."),
    Kind(
        "talk",
        0.06,
        "talk",
        "You answer customers of a furniture shop on its web page. Be brief and friendly, ask for the order's number "
        "where you need it, and hand over to a person as soon as somebody is angry.",
    ),
)
BY_NAME = {kind.name: kind for kind in KINDS}
TALK_OPENING = "A customer has opened the chat window and writes:"


class Ask(NamedTuple):
    kind: Kind
    text: str
    body: dict[str, Any]


class Traffic:
    """The n-th request of the day, always the same."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._shares = [kind.share for kind in KINDS]

    def ask(self, number: int) -> Ask:
        rng = random.Random(f"{self._seed}:{number}")
        kind = rng.choices(KINDS, self._shares)[0]
        text = written(rng, kind.words)
        messages = _messages(kind, text, rng)
        return Ask(kind, text, {"model": INCUMBENT, "temperature": TEMPERATURE, "messages": messages})


def written(rng: random.Random, words: int) -> str:
    """No two alike, and nothing in it that a redaction would change."""
    said = rng.choices(REST, k=rng.randint(words // 2, words + words // 2))
    at = sorted(rng.sample(range(len(said)), 2))
    said[at[0]], said[at[1]] = rng.choice(NOUNS), rng.choice(STATES)
    return " ".join(said)


def _messages(kind: Kind, text: str, rng: random.Random) -> list[dict[str, str]]:
    if kind.form == "chat":
        return [{"role": "system", "content": kind.prompt}, {"role": "user", "content": text}]
    if kind.form == "talk":
        turns = [{"role": "system", "content": kind.prompt}, _user(f"{TALK_OPENING}{MARK}{text}")]
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            turns += [{"role": "assistant", "content": written(rng, 25)}, _user(written(rng, 25))]
        return turns
    return [_user(f"{kind.prompt}{MARK}{text}")]


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def found(content: str) -> tuple[Kind, str] | None:
    """The kind and the text of a message that the app wrote; None where it is none of the tasks'."""
    prompt, mark, text = content.rpartition(MARK)
    for kind in KINDS:
        if mark and kind.form in ("label", "json", "text") and prompt.startswith(kind.prompt):
            return kind, text
    return None


def untold(messages: Sequence[Mapping[str, Any]]) -> str:
    """Which of the kinds that are no tasks it is, by its system prompt."""
    first = messages[0]["content"]
    return next((kind.name for kind in KINDS if kind.form in ("chat", "talk") and first == kind.prompt), "-")


def chance(*parts: str) -> float:
    """In [0, 1), by the parts alone."""
    digest = blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def answer(kind: Kind, text: str, model: str, variant: int = 0) -> str:
    """What a model says to it. `variant`: of equally good wordings, where there are several."""
    arm = kind.misses[model == CANDIDATE]
    misses = chance(text, kind.name, model) < arm
    if kind.form == "label":
        right = kind.labels.index(_label(kind, text))
        return kind.labels[(right + misses) % len(kind.labels)]
    if kind.form == "json":
        fields = _fields(text)
        if misses:
            fields["state"] = next(state for state in STATES if state != fields["state"])
        return json.dumps(fields)
    if kind.form == "text":
        return _digest(text, variant, wrong=misses)
    return ""


def loss(kind: Kind, text: str, said: str) -> float:
    """How wrong an answer is, from 0 to 1."""
    if kind.form == "label":
        return float(said.strip() != _label(kind, text))
    if kind.form == "json":
        try:
            read = json.loads(said)
        except ValueError:
            return 1.0
        right = _fields(text)
        return sum(bool(read.get(name) != value) for name, value in right.items()) / len(right)
    return float(kind.form == "text" and said.strip() not in _good(text))


def _label(kind: Kind, text: str) -> str:
    return kind.labels[int(chance(text, kind.name) * len(kind.labels))]


def _fields(text: str) -> dict[str, Any]:
    said = text.split()
    noun, state = (next(word for word in said if word in words) for words in (NOUNS, STATES))
    return {"item": noun, "state": state, "count": 1 + int(chance(text, "count") * 9)}


def _digest(text: str, variant: int, *, wrong: bool) -> str:
    fields = _fields(text)
    noun, state = fields["item"], fields["state"]
    if wrong:
        state = next(other for other in STATES if other != state)
    ways = (
        f"The customer writes that the {noun} is {state}. We are asked to say what can be done about the {noun}.",
        f"This is about the {noun}, which is {state}. The customer wants to know what happens with the {noun} now.",
        f"A customer has trouble with the {noun}: it is {state}. An answer about the {noun} is expected of us.",
    )
    return ways[variant % len(ways)]


def _good(text: str) -> set[str]:
    return {_digest(text, variant, wrong=False) for variant in range(3)}


def verdict(content: str, a: str, b: str) -> str:
    """What the judge says of two answers to an app's message: A, B or TIE."""
    known = found(content)
    if known is None or chance(content, *sorted((a, b))) >= SEEN_BY_JUDGE:
        return "TIE"
    better = _shown_loss(*known, b) - _shown_loss(*known, a)
    return "A" if better > 0 else "B" if better < 0 else "TIE"


def _shown_loss(kind: Kind, text: str, said: str) -> float:
    """Of JSON a judge sees the fields that differ, under their pointers."""
    if kind.form != "json":
        return loss(kind, text, said)
    try:
        shown = json.loads(said)
    except ValueError:
        return 1.0
    right = {f"/{name}": value for name, value in _fields(text).items()}
    return sum(bool(right.get(pointer) != value) for pointer, value in shown.items()) / 3


def tokens(text: str) -> int:
    return max(1, round(len(text) / CHARS_A_TOKEN))


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    return 3 + sum(4 + tokens(message["content"]) for message in messages)


def usd(model: str, input_tokens: int, output_tokens: int) -> float:
    price = PRICES[model]
    return (input_tokens * price["input"] + output_tokens * price["output"]) / 1e6
