"""Header names that Cuecard reads and writes, and what of a message's headers goes on to the other side."""

from collections.abc import Iterable

from multidict import CIMultiDict

from compiler.endpoint import Endpoint

TASK = "X-Cuecard-Task"
BYPASS = "X-Cuecard-Bypass"
NO_STORE = "X-Cuecard-No-Store"
KEY = "X-Cuecard-Key"
REQUEST_HEADERS = (TASK, BYPASS, NO_STORE, KEY)

ROUTE = "X-Cuecard-Route"
CARD = "X-Cuecard-Card"
MODEL = "X-Cuecard-Model"
OVERHEAD = "X-Cuecard-Overhead-Ms"
REQUEST_ID = "X-Cuecard-Request-Id"
COST = "X-Cuecard-Cost-Usd"
BASELINE = "X-Cuecard-Baseline-Usd"
ERROR = "X-Cuecard-Error"
RESPONSE_HEADERS = (ROUTE, TASK, CARD, MODEL, OVERHEAD, REQUEST_ID, COST, BASELINE, ERROR)

HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
OURS = b"x-cuecard-"
CREDENTIALS = ("Authorization", "Api-Key", "X-Api-Key", "Cookie", "OpenAI-Organization", "OpenAI-Project")
RawHeaders = Iterable[tuple[bytes, bytes]]


def _end_to_end(raw: RawHeaders, dropped: frozenset[bytes]) -> CIMultiDict[str]:
    named = {token.strip().lower() for k, v in raw if k.lower() == b"connection" for token in v.split(b",")}
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in raw:
        lower = name.lower()
        if lower not in HOP_BY_HOP and lower not in dropped and lower not in named and not lower.startswith(OURS):
            kept.add(name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
    return kept


_NOT_SENT = frozenset((b"host", b"content-length", b"expect"))
_NOT_RETURNED = frozenset((b"content-length",))


def to_upstream(raw: RawHeaders, endpoint: Endpoint, *, client_key: bool) -> CIMultiDict[str]:
    """The client's headers for `endpoint`. Its key goes along only where it was meant for (`client_key`) and we have
    none of our own."""
    headers = _end_to_end(raw, _NOT_SENT)
    if endpoint.ours or not client_key:
        for name in CREDENTIALS:
            headers.popall(name, None)
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    return headers


def to_client(raw: RawHeaders) -> CIMultiDict[str]:
    return _end_to_end(raw, _NOT_RETURNED)
