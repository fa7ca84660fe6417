"""Who may call, and as which tenant."""

import hashlib
import hmac
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from proxy import headers
from proxy.errors import BadRequestError, ForbiddenError, NotAllowedError
from proxy.settings import Settings, is_loopback


class Caller(NamedTuple):
    """`own_key`: the bearer is the client's own for the upstream, not one of ours (`auth.keys`), and may go there."""

    tenant: str
    own_key: bool = True


ANYONE = Caller("default")
CALLER = web.RequestKey("caller", Caller)


class Access:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loopback = settings.listen.loopback
        self._ours = any(endpoint.ours for endpoint in settings.endpoints().by_name.values())

    def api(self, request: web.Request) -> None:
        """Raises ProxyError for who may not call; else the request knows its CALLER."""
        if self._loopback:
            _require_local(request)
        request[CALLER] = _caller(request, self._settings, self._ours)

    def chat(self, request: web.Request) -> None:
        self.api(request)
        if self._loopback:
            _require_json(request)

    def admin(self, request: web.Request) -> None:
        if self._loopback:
            _require_local(request)
        _require_admin(request, self._settings)


def _caller(request: web.Request, settings: Settings, ours: bool) -> Caller:
    if ours and not settings.auth.keys:
        return ANYONE
    bearer = _bearer(request)
    by_header = _tenant(request.headers.get(headers.KEY, ""), settings)
    by_bearer = _tenant(bearer, settings)
    if (tenant := by_header or by_bearer) is not None:
        return Caller(tenant, own_key=by_bearer is None)
    if settings.auth.keys:
        raise NotAllowedError(
            "Incorrect API key provided: this proxy takes its own keys (auth.keys), in X-Cuecard-Key."
        )
    return Caller("key-" + hashlib.sha256(_bytes(bearer)).hexdigest()[:12]) if bearer else ANYONE


def _bearer(request: web.Request) -> str:
    """The key in `Authorization`, or where a browser's WebSocket has it."""
    if given := request.headers.get(headers.AUTHORIZATION):
        return _token(given)
    protocols = map(str.strip, request.headers.get(headers.PROTOCOL, "").split(","))
    found = (p.removeprefix(headers.KEY_PROTOCOL) for p in protocols if p.startswith(headers.KEY_PROTOCOL))
    return next(found, "")


def _token(given: str) -> str:
    return given[7:].strip() if given[:7].lower() == "bearer " else given


def _tenant(key: str, settings: Settings) -> str | None:
    """Every key is compared, however early one matches."""
    found = None
    for known in settings.auth.keys:
        if hmac.compare_digest(_bytes(key), known.key.encode()):
            found = known.tenant
    return found


def _bytes(text: str) -> bytes:
    """aiohttp gives header bytes that are not UTF-8 as lone surrogates."""
    return text.encode("utf-8", "surrogateescape")


def _require_admin(request: web.Request, settings: Settings) -> None:
    token = settings.auth.admin_token
    given = _token(request.headers.get(headers.AUTHORIZATION, ""))
    if token and hmac.compare_digest(_bytes(given), token.encode()):
        return
    if token or not settings.listen.loopback:
        raise ForbiddenError("/admin needs `Authorization: Bearer <auth.admin_token>`")


def _require_local(request: web.Request) -> None:
    """On loopback, a page in the user's browser is the attacker: it has a foreign Origin, or a Host bound to us. An
    image, a link or a form's GET has no Origin: then the browser says itself that another site asks."""
    given = request.headers
    origin = given.get(headers.ORIGIN)
    foreign = not _is_local(origin) if origin is not None else given.get(headers.FETCH_SITE) == "cross-site"
    if foreign or not _is_local("//" + given.get(headers.HOST, "")):
        raise ForbiddenError("only pages and programs of this machine may call: foreign Host or Origin")


def _require_json(request: web.Request) -> None:
    """A page of another origin can't send this type without asking first."""
    if request.headers.get(headers.CONTENT_TYPE) != "application/json" and request.content_type != "application/json":
        raise BadRequestError("a chat request needs Content-Type: application/json")


@lru_cache(256)
def _is_local(address: str) -> bool:
    try:
        return is_loopback(urlsplit(address).hostname or "")
    except ValueError:
        return False
