"""Header names that Cuecard reads and writes, and what of a message's headers goes on to the other side."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from multidict import CIMultiDict, istr

from compiler.endpoint import Endpoint

TASK = istr("X-Cuecard-Task")
BYPASS = istr("X-Cuecard-Bypass")
NO_STORE = istr("X-Cuecard-No-Store")
KEY = istr("X-Cuecard-Key")
REQUEST_HEADERS = (TASK, BYPASS, NO_STORE, KEY)

ROUTE = istr("X-Cuecard-Route")
CARD = istr("X-Cuecard-Card")
MODEL = istr("X-Cuecard-Model")
OVERHEAD = istr("X-Cuecard-Overhead-Ms")
REQUEST_ID = istr("X-Cuecard-Request-Id")
COST = istr("X-Cuecard-Cost-Usd")
BASELINE = istr("X-Cuecard-Baseline-Usd")
ERROR = istr("X-Cuecard-Error")
RESPONSE_HEADERS = (ROUTE, TASK, CARD, MODEL, OVERHEAD, REQUEST_ID, COST, BASELINE, ERROR)

HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
OURS = b"x-cuecard-"
ORDINARY = (b"keep-alive", b"close")  # values of Connection that name no header
HOST, ORIGIN, CONTENT_TYPE = istr("Host"), istr("Origin"), istr("Content-Type")
DATE, SERVER = istr("Date"), istr("Server")
RETRY_AFTER = istr("Retry-After")
FETCH_SITE = istr("Sec-Fetch-Site")
CONTENT_ENCODING, ACCEPT_ENCODING, CONTENT_LENGTH = (
    istr("Content-Encoding"),
    istr("Accept-Encoding"),
    istr("Content-Length"),
)
AUTHORIZATION, UPGRADE = istr("Authorization"), istr("Upgrade")
CONNECTION, TRANSFER_ENCODING = istr("Connection"), istr("Transfer-Encoding")
PROTOCOL = istr("Sec-WebSocket-Protocol")
KEY_PROTOCOL = "openai-insecure-api-key."
ACCOUNT_PROTOCOLS = (KEY_PROTOCOL, "openai-organization.", "openai-project.")
RawHeaders = Iterable[tuple[bytes, bytes]]
Headers = CIMultiDict[str]


def _end_to_end(raw: RawHeaders, name_of: Callable[[bytes], istr | None]) -> Headers:
    kept: Headers = CIMultiDict()
    named: list[str] = []
    for name, value in raw:
        if shown := name_of(name):
            kept.add(shown, value.decode("utf-8", "surrogateescape"))
        elif name.lower() == b"connection" and value.lower() not in ORDINARY:
            named += [token.strip().decode("latin-1") for token in value.split(b",")]
    for token in named:
        kept.popall(token, None)
    return kept


def _end_to_end_name(name: bytes, dropped: frozenset[bytes]) -> istr | None:
    lower = name.lower()
    stays = lower not in HOP_BY_HOP and lower not in dropped and not lower.startswith(OURS)
    return istr(name.decode("latin-1")) if stays else None


NOT_SENT = frozenset((b"host", b"content-length", b"expect"))
ACCOUNT = frozenset((b"openai-organization", b"openai-project"))
NO_CREDENTIALS = frozenset(
    (b"idempotency-key", b"sec-websocket-key", b"page_token", b"next_token", b"continuation_token", b"partition_key")
)
CREDENTIAL_WORDS = frozenset(
    {
        *(b"authorization", b"auth", b"key", b"apikey", b"token", b"secret", b"password"),
        *(b"cookie", b"credential", b"credentials", b"signature", b"jwt"),
    }
)


def is_credential(name: bytes) -> bool:
    """Of a header or a query parameter: any provider's and any gateway's key goes by one of these words."""
    lower = name.lower()
    words = CREDENTIAL_WORDS.intersection(re.split(rb"[-_.]", lower))
    return lower in ACCOUNT or (bool(words) and lower not in NO_CREDENTIALS)


@lru_cache(1_024)  # the same few names come with every message
def _sent_name(name: bytes) -> istr | None:
    return _end_to_end_name(name, NOT_SENT)


@lru_cache(1_024)
def _sent_name_without_key(name: bytes) -> istr | None:
    return None if is_credential(name) else _end_to_end_name(name, NOT_SENT)


@lru_cache(1_024)
def _returned_name(name: bytes) -> istr | None:
    return _end_to_end_name(name, frozenset((b"content-length",)))


def to_upstream(raw: RawHeaders, endpoint: Endpoint, *, client_key: bool) -> Headers:
    """The client's headers for `endpoint`. Its key goes along only where it was meant for (`client_key`) and we have
    none of our own."""
    theirs = client_key and not endpoint.ours
    headers = _end_to_end(raw, _sent_name if theirs else _sent_name_without_key)
    if not theirs and (offered := headers.popall(PROTOCOL, [])) and (kept := _without_key(",".join(offered))):
        headers[PROTOCOL] = kept
    if endpoint.api_key:
        headers[AUTHORIZATION] = f"Bearer {endpoint.api_key}"
    return headers


def _without_key(protocols: str) -> str:
    """A browser can't set headers on a WebSocket: OpenAI takes its key from the list of protocols."""
    return ", ".join(p for p in map(str.strip, protocols.split(",")) if not p.lower().startswith(ACCOUNT_PROTOCOLS))


def origin_form(target: str) -> str:
    """Path and query; some clients write a proxy's whole URL, with what stands in it before the path."""
    return target if target.startswith("/") else "/" + target.partition("://")[2].partition("/")[2]


def path_to_upstream(path: str, endpoint: Endpoint) -> str:
    """The client's path and query as it wrote them, without a key in the query where we have one of our own."""
    before, mark, query = path.partition("?")
    if not mark or not endpoint.ours:
        return path
    pairs = query.split("&")
    kept = [pair for pair in pairs if not is_credential(unquote_to_bytes(pair.partition("=")[0]))]
    return path if kept == pairs else before + mark + "&".join(kept) if kept else before


def to_client(raw: RawHeaders) -> Headers:
    return _end_to_end(raw, _returned_name)
