"""Who may call, and as which tenant. Applies to every route but health and metrics."""

import hashlib
import hmac
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy import headers
from proxy.errors import BadRequestError, ForbiddenError, NotAllowedError
from proxy.settings import Settings


class Caller(NamedTuple):
    """`own_key`: the bearer is the client's own for the upstream, not one of ours (`auth.keys`), and may go there."""

    tenant: str
    own_key: bool = True


CALLER = web.RequestKey("caller", Caller)
OPEN = frozenset(("/health/live", "/health/ready", "/metrics"))
LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))


def access(settings: Settings) -> Middleware:
    ours = any(endpoint.ours for endpoint in settings.endpoints().by_name.values())

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN:
            if settings.listen.loopback:
                _require_local(request)
            if request.path.startswith("/admin"):
                _require_admin(request, settings)
                return await handler(request)
            request[CALLER] = _caller(request, settings, ours)
        return await handler(request)

    return check


def _caller(request: web.Request, settings: Settings, ours: bool) -> Caller:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    by_header = _tenant(request.headers.get(headers.KEY, ""), settings)
    by_bearer = _tenant(bearer, settings)
    if (tenant := by_header or by_bearer) is not None:
        return Caller(tenant, own_key=by_bearer is None)
    if settings.auth.keys:
        raise NotAllowedError(
            "Incorrect API key provided: this proxy takes its own keys (auth.keys), in X-Cuecard-Key."
        )
    if ours or not bearer:
        return Caller("default")
    return Caller("key-" + hashlib.sha256(_bytes(bearer)).hexdigest()[:12])


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
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token and hmac.compare_digest(_bytes(given), token.encode()):
        return
    if token or not settings.listen.loopback:
        raise ForbiddenError("/admin needs `Authorization: Bearer <auth.admin_token>`")


def _require_local(request: web.Request) -> None:
    """On loopback, a page in the user's browser is the attacker: it has a foreign Origin, or a Host bound to us."""
    host = urlsplit(f"//{request.headers.get('Host', '')}").hostname
    origin = request.headers.get("Origin")
    if host not in LOOPBACK_NAMES or (origin and urlsplit(origin).hostname not in LOOPBACK_NAMES):
        raise ForbiddenError("only pages and programs of this machine may call: foreign Host or Origin")
    chat = request.method == "POST" and request.path.endswith("/chat/completions")
    if chat and request.content_type != "application/json":
        raise BadRequestError("a chat request needs Content-Type: application/json")
