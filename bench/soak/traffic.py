"""What is asked and what is answered, all of it computed from a request's number and the seed: the load and the
upstream, in processes of their own, agree without a word, and no process has to remember a million requests.

Bytes are made once, with a placeholder as long as a number; a request's own are a copy with its number in it.
"""

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import tiktoken

from compiler.tokens import default_folder, install_vocabularies

Stream = Literal["", "plain", "usage"]  # not streamed; streamed; streamed and asked for usage
How = Literal["", "virtual", "header", "metadata", "bypass"]  # how a request names its task

NUMBER = "#######"
STRONG, CHEAP, EMBED = "soak-strong", "soak-cheap", "soak-embed"
PRICES = {
    STRONG: {"input": 5.0, "output": 30.0},
    CHEAP: {"input": 0.1, "output": 0.4},
    EMBED: {"input": 0.02, "output": 0.0},
}
SYSTEM = {"mood": "Say whether the customer sounds good, bad or mixed.", "reply": "Answer the customer kindly."}
PROMPTS = {"mood": "One word: good, bad or mixed.", "reply": "Be kind and short."}  # of the cards
LABELS = ("good", "bad", "mixed")
VARIANTS = 16  # different texts of each kind
CANDIDATE, INCUMBENT = 0, 1  # the two upstream calls that one request may lead to; without a card only the second
DOWNLOAD = 65_536  # bytes

TEXT = "the parcel came late but whole and our old lamp is bright as a new one so we thank you for your patience"
WORDS = TEXT.split()
BEFORE = ("hang_before",)
DIRECT = ("reset", "http_500", "http_429", "stall", "half", *BEFORE)
STREAMED = ("reset", "http_500", "cut", "stall_midway", "hang_midway", *BEFORE)
CARD = ("card_late", "card_garbage", "card_500", "card_reset", "both_500", *BEFORE)


@dataclass(frozen=True)
class Kind:
    name: str
    share: int  # of a hundred requests
    faults: tuple[str, ...]
    path: str = "/v1/chat/completions"
    stream: Stream = ""
    task: str = ""
    how: How = ""
    zipped: bool = False
    method: str = "POST"

    @property
    def carded(self) -> bool:
        return self.how in ("virtual", "header", "metadata")

    @property
    def hides_usage(self) -> bool:
        """Cuecard asks for usage that the client did not ask for, and takes it out."""
        return self.stream == "plain" and self.carded


KINDS = (
    Kind("plain", 26, DIRECT),
    Kind("stream with usage", 10, STREAMED, stream="usage"),
    Kind("stream, counted", 8, STREAMED, stream="plain"),
    Kind("gzip", 4, DIRECT, zipped=True),
    Kind("bypass", 4, DIRECT, task="mood", how="bypass"),
    Kind("by metadata", 4, CARD, task="mood", how="metadata"),
    Kind("task model", 12, CARD, task="mood", how="virtual"),
    Kind("by header", 8, CARD, task="mood", how="header"),
    Kind("task model, stream", 6, (*CARD, "card_cut"), stream="plain", task="mood", how="virtual"),
    Kind("by header, stream", 4, (*CARD, "card_cut"), stream="usage", task="mood", how="header"),
    Kind("text task, stream", 6, (*CARD, "card_cut_shown", "hang_midway"), stream="plain", task="reply", how="virtual"),
    Kind("embeddings", 5, DIRECT, path="/v1/embeddings"),
    Kind("upload", 2, ("reset", "http_500", "stall", "hang_upload"), path="/v1/files"),
    Kind("download", 1, ("reset", "half", "hang_midway"), path=f"/v1/files/{NUMBER}/content", method="GET"),
)
SLOTS = tuple(kind for kind in KINDS for _ in range(kind.share))
assert len(SLOTS) == 100


class Plan(NamedTuple):
    kind: Kind
    variant: int
    fault: str  # "" for none


@dataclass(frozen=True)
class Answer:
    """`wire` is the whole answer in the pieces it is written in; `shown` what of its body the client must see."""

    wire: tuple[bytes, ...]
    shown: bytes
    input: int  # tokens
    output: int


@dataclass
class Traffic:
    seed: int
    every: int  # one fault in so many requests; 0: none
    asked: dict[tuple[str, int], bytes] = field(default_factory=dict)  # whole requests, by kind and variant
    raw: dict[tuple[str, int], bytes] = field(default_factory=dict)  # their bodies
    expected: dict[tuple[str, int, int], Any] = field(default_factory=dict)  # at the upstream, where it is rewritten
    answers: dict[tuple[str, int, int], Answer] = field(default_factory=dict)
    garbage: dict[tuple[str, int], Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        os.environ["TIKTOKEN_CACHE_DIR"] = str(install_vocabularies(default_folder()))
        self._encoding = tiktoken.get_encoding("o200k_base")
        for kind in KINDS:
            for variant in range(VARIANTS):
                self._prepare(kind, variant)

    def plan(self, number: int) -> Plan:
        x = mixed(number, self.seed)
        kind = SLOTS[x % 100]
        faulty = self.every and number % self.every == self.every - 1
        return Plan(kind, (x >> 8) % VARIANTS, kind.faults[(x >> 16) % len(kind.faults)] if faulty else "")

    def _prepare(self, kind: Kind, variant: int) -> None:
        key = kind.name, variant
        body = json_bytes(_body(kind, variant)) if kind.path.startswith(("/v1/chat", "/v1/emb")) else _upload(kind)
        self.raw[key] = gzip.compress(body, mtime=0) if kind.zipped else body
        self.asked[key] = _request(kind, self.raw[key])
        for arm in (CANDIDATE, INCUMBENT) if kind.carded else (INCUMBENT,):
            sent = _sent(kind, variant, arm)
            if sent:
                self.expected[*key, arm] = sent
            self.answers[*key, arm] = self._answer(kind, variant, arm, sent or _body(kind, variant))
        if kind.carded:
            text = "Certainly! Here is my answer." if kind.task == "mood" else " "
            self.garbage[key] = self._chat(kind, CHEAP, _sent(kind, variant, CANDIDATE), text)

    def _answer(self, kind: Kind, variant: int, arm: int, sent: dict[str, Any]) -> Answer:
        if kind.path == "/v1/embeddings":
            tokens = self._tokens(sent["input"])
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            row = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
            shown = json_bytes({"object": "list", "data": [row], "model": EMBED, "id": NUMBER, "usage": usage})
            return Answer(_whole(shown), shown, tokens, 0)
        if kind.path == "/v1/files":
            shown = json_bytes({"id": NUMBER, "object": "file", "filename": "a.txt"})
            return Answer(_whole(shown), shown, 0, 0)
        if kind.method == "GET":
            shown = NUMBER.encode() + bytes(range(256)) * (DOWNLOAD // 256)
            return Answer(_whole(shown, "application/octet-stream"), shown, 0, 0)
        model = CHEAP if arm == CANDIDATE else STRONG
        text = LABELS[variant % 3] if kind.task == "mood" else _text(variant + 5)
        return self._chat(kind, model, sent, text)

    def _chat(self, kind: Kind, model: str, sent: dict[str, Any], text: str) -> Answer:
        inputs = 3 + sum(3 + self._tokens(m["role"]) + self._tokens(m["content"]) for m in sent["messages"])
        output = self._tokens(text)
        usage = {"prompt_tokens": inputs, "completion_tokens": output, "total_tokens": inputs + output}
        if kind.stream:
            asked = "stream_options" in sent
            events = list(_events(model, text, usage if asked else None))
            shown = [event for event in events if not (kind.hides_usage and b'"usage":{' in event)]
            return Answer(_streamed(events), b"".join(shown), inputs, output)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        shown_body = json_bytes(
            {"id": NUMBER, "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
        )
        return Answer(_whole(shown_body), shown_body, inputs, output)

    def _tokens(self, text: str) -> int:
        return len(self._encoding.encode_ordinary(text))


def mixed(number: int, seed: int) -> int:
    """Splitmix: near numbers, unlike results."""
    x = (number + seed * 0x2545F491 + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    x = (x ^ x >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return x ^ x >> 31


def numbered(template: bytes, number: int) -> bytes:
    return template.replace(b"#######", b"%07d" % number)


def error_answer(status: int) -> bytes:
    error = {"message": f"the soak's {status}", "type": "server_error", "param": None, "code": None}
    body = json_bytes({"error": error, "id": NUMBER})
    reason = {500: "Internal Server Error", 429: "Too Many Requests"}[status]
    return b"".join(_whole(body, status=f"{status} {reason}"))


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def card_messages(task: str) -> list[dict[str, str]]:
    """The card's own: its prompt, and one demonstration as turns."""
    shown = {"mood": ("It broke at once.", "bad"), "reply": ("Where is it?", "On its way to you.")}[task]
    return [
        {"role": "system", "content": PROMPTS[task]},
        {"role": "user", "content": shown[0]},
        {"role": "assistant", "content": shown[1]},
    ]


def _text(variant: int) -> str:
    return " ".join(WORDS[(variant * 3 + i) % len(WORDS)] for i in range(12 + variant))


def _body(kind: Kind, variant: int) -> dict[str, Any]:
    """The client's. A zipped one has no number in it, because its bytes are made beforehand."""
    if kind.path == "/v1/embeddings":
        return {"model": EMBED, "input": _text(variant), "user": NUMBER}
    messages = [{"role": "user", "content": _text(variant)}]
    if kind.how in ("header", "metadata"):
        messages.insert(0, {"role": "system", "content": SYSTEM[kind.task]})
    body: dict[str, Any] = {"model": f"task:{kind.task}" if kind.how == "virtual" else STRONG, "messages": messages}
    body["user"] = "zipped" if kind.zipped else NUMBER
    if kind.how == "metadata":
        body["metadata"] = {"task": kind.task, "shop": "7"}
    if kind.stream:
        body["stream"] = True
    if kind.stream == "usage":
        body["stream_options"] = {"include_usage": True}
    return body


def _sent(kind: Kind, variant: int, arm: int) -> dict[str, Any]:
    """What the upstream must get where it is not the client's own bytes; else empty."""
    if not kind.carded or (arm == INCUMBENT and kind.how == "header"):
        return {}
    body = _body(kind, variant)
    if kind.how == "metadata":
        body["metadata"] = {"shop": "7"}
    if arm == INCUMBENT and kind.how == "metadata":
        return body
    user = body["messages"][-1]
    own = [{"role": "system", "content": SYSTEM[kind.task]}]
    body["messages"] = [*(card_messages(kind.task) if arm == CANDIDATE else own), user]
    body["model"] = CHEAP if arm == CANDIDATE else STRONG
    if kind.stream:
        body["stream_options"] = {"include_usage": True}
    return body


def _upload(kind: Kind) -> bytes:
    if kind.method == "GET":
        return b""
    part = 'Content-Disposition: form-data; name="file"; filename="a.txt"'
    return f"--soak\r\n{part}\r\n\r\n{NUMBER}\n".encode() + b"a line\n" * 300 + b"\r\n--soak--\r\n"


def _request(kind: Kind, body: bytes) -> bytes:
    headers = {"Host": "127.0.0.1", "X-Soak": NUMBER, "Authorization": "Bearer sk-client"}
    if kind.method == "POST":
        is_file = kind.path == "/v1/files"
        headers["Content-Type"] = "multipart/form-data; boundary=soak" if is_file else "application/json"
        headers["Content-Length"] = str(len(body))
    if kind.zipped:
        headers["Content-Encoding"] = "gzip"
    if kind.how in ("header", "bypass"):
        headers["X-Cuecard-Task"] = kind.task
    if kind.how == "bypass":
        headers["X-Cuecard-Bypass"] = "1"
    lines = [f"{kind.method} {kind.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _whole(body: bytes, kind: str = "application/json", status: str = "200 OK") -> tuple[bytes, ...]:
    """In two pieces, so that a half is at hand."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nX-Request-Id: {NUMBER}\r\nContent-Length: {len(body)}\r\n\r\n"
    half = max(len(NUMBER) * 3, len(body) // 2)
    return head.encode() + body[:half], body[half:]


def _events(model: str, text: str, usage: dict[str, int] | None) -> Iterator[bytes]:
    head = {"id": NUMBER, "object": "chat.completion.chunk", "model": model}

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return b"data: " + json_bytes({**head, "choices": choices}) + b"\n\n"

    yield event({"role": "assistant", "content": ""})
    words = text.split(" ")
    yield from (event({"content": word if i == 0 else f" {word}"}) for i, word in enumerate(words))
    yield event({}, "stop")
    if usage:
        yield b"data: " + json_bytes({**head, "choices": [], "usage": usage}) + b"\n\n"
    yield b"data: [DONE]\n\n"


def _streamed(events: list[bytes]) -> tuple[bytes, ...]:
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    head += f"X-Request-Id: {NUMBER}\r\nTransfer-Encoding: chunked\r\n\r\n"
    middle = min(3, len(events) // 2)  # a label's word is in the first piece, its end in the second
    return head.encode() + _chunk(events[:middle]), _chunk(events[middle:]) + b"0\r\n\r\n"


def _chunk(events: list[bytes]) -> bytes:
    data = b"".join(events)
    return b"%x\r\n%b\r\n" % (len(data), data)
