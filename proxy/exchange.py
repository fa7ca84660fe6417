"""One upstream call while it happens: what was sent, what came back so far, and how long the upstream took."""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from multidict import istr

from compiler.pricing import Usage
from proxy import sse
from proxy.paths import Paid
from proxy.plan import Attempt
from proxy.unpack import json_object, last_value, unpacked
from proxy.upstream import Answer

ENCODING, UPSTREAM_ID, KIND = istr("Content-Encoding"), istr("X-Request-Id"), istr("Content-Type")
TAP_BYTES = 8 * 2**20  # of an answer kept, to read its usage or to count it
TAIL_BYTES = 2**16  # and of the end of a longer one, where the usage stands


@dataclass(slots=True)
class Exchange:
    attempt: Attempt
    paid: Paid = "always"
    status: int = 0  # 0: no answer came
    encoding: str = ""
    upstream_id: str = ""
    streamed: bool = False
    seconds: float = 0.0  # spent waiting for the upstream
    sent: bool = False
    failed: str = ""  # why this call did not answer the request
    usage: Usage | None = None
    price: tuple[float | None, float | None] | None = None  # (cost, baseline) of that usage
    model: str = ""
    id: str = ""  # of the completion, as its body says
    chunks: list[bytes] = field(default_factory=list)
    tapped: bool = True  # whether the answer may name its usage; a downloaded file does not
    size: int = 0
    tail: bytes = b""
    value: dict[str, Any] | None = None
    is_read: bool = False
    heard_out: bool = False  # what follows a rejected stream is still read, and metered then
    since: float = 0.0
    heard: float = 0.0
    silent: bool = False  # for longer than an upstream may be
    due: float = 0.0
    late: bool = False  # not settled when it was due

    def __enter__(self) -> None:
        """Time spent inside is the upstream's: it counts as `seconds`, not as overhead."""
        self.since = perf_counter()

    def __exit__(self, *exc: object) -> None:
        self.seconds += perf_counter() - self.since

    @property
    def billed(self) -> bool:
        """Whether the upstream may charge for it: refused calls and those that never left are free."""
        return self.sent and self.status < 400

    def leaves(self) -> None:
        self.sent = True

    def head(self, answer: Answer) -> None:
        self.status = answer.status
        told = answer.headers
        self.encoding = told.get(ENCODING, "").lower()
        self.upstream_id = told.get(UPSTREAM_ID, "")
        kind = told.get(KIND, "")
        self.streamed = kind.startswith("text/event-stream")
        self.tapped = bool(self.attempt.body) or self.streamed or kind.startswith("application/json")

    def keep(self, chunk: bytes) -> None:
        if not self.tapped:
            return
        if self.size < TAP_BYTES:
            self.chunks.append(chunk)
        else:
            self.tail = ((self.tail or b"".join(self.chunks)) + chunk)[-TAIL_BYTES:]
        self.size += len(chunk)

    def body(self) -> bytes:
        """The answer's body as far as it came, readable."""
        return unpacked(b"".join(self.chunks), self.encoding)

    def json(self) -> dict[str, Any]:
        """The answer's JSON object, once its body is here; {} for what is none."""
        if self.value is None:
            self.value = json_object(self.body())
        return self.value

    def read(self) -> None:
        """Take id, model and usage out of the body, where it has them; once the body is here."""
        if self.is_read:
            return
        self.is_read = True
        if self.streamed:
            body = self.body()
            found: dict[str, Any] = {**sse.first_of(body), "usage": sse.usage_of(self.tail or body)}
        elif self.tail:
            found = {name: last_value(self.tail, name) for name in ("usage", "model")}
        else:
            found = self.json()
        usage, model, id_ = found.get("usage"), found.get("model"), found.get("id")
        if isinstance(usage, dict) and self.paid != "free":
            self.usage = Usage.from_openai(usage)
        if isinstance(model, str) and model:
            self.model = model
        if isinstance(id_, str):
            self.id = id_
