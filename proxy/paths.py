"""The paths of OpenAI's API, as far as they are told apart: a fixed list, so that nothing a client sends becomes a name
in the books. And whether a request to one of them is paid for."""

from typing import Literal

from compiler.recognition.structure import CHAT

OTHER = "other"
Paid = Literal["free", "if_told", "always"]

_PAID = frozenset(
    {
        *(CHAT, "/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/videos", "/v1/batches"),
        *("/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/fine_tuning/jobs"),
        *("/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations"),
    }
)
REALTIME = "/v1/realtime"
ENDPOINTS = frozenset(
    {
        *(*_PAID, REALTIME, "/v1/moderations", "/v1/files", "/v1/uploads", "/v1/models", "/v1/fine_tuning"),
        *("/v1/images", "/v1/audio", "/v1/vector_stores", "/v1/conversations", "/v1/containers", "/v1/evals"),
        *("/v1/assistants", "/v1/threads", OTHER),
    }
)


def endpoint_of(path: str) -> str:
    """The known path that `path` (without its query) is or lies under, else `other`."""
    if path in ENDPOINTS:
        return path
    parts = path.split("/", 4)
    for length in (4, 3):
        known = "/".join(parts[:length])
        if known in ENDPOINTS:
            return known
    return OTHER


def paid(method: str, path: str) -> Paid:
    """`always`: whatever the answer says; where it names no usage, there is a gap in the books. `if_told`: by the usage
    that the answer names. `free`: reading what was paid for before, which may name its usage once more."""
    path = path.partition("?")[0]
    if path == REALTIME or (method == "POST" and path in _PAID):
        return "always"
    return "if_told" if method == "POST" else "free"
