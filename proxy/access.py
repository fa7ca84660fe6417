"""Who may call, and as which tenant. Applies to every route but health and metrics."""

import hashlib
import hmac
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy import headers
from proxy.errors import BadRequestError, ForbiddenError, NotAllowedError
from proxy.settings import Settings

TENANT = web.RequestKey("tenant", str)
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
            request[TENANT] = _tenant(request, settings, ours)
        return await handler(request)

    return check


def _tenant(request: web.Request, settings: Settings, ours: bool) -> str:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    given = (request.headers.get(headers.KEY, ""), bearer)
    tenant = None
    for known in settings.auth.keys:  # every key is compared, however early one matches
        if any(hmac.compare_digest(key.encode(), known.key.encode()) for key in given if key):
            tenant = known.tenant
    if tenant is not None:
        return tenant
    if settings.auth.keys:
        raise NotAllowedError(
            "Incorrect API key provided: this proxy takes its own keys (auth.keys), in X-Cuecard-Key."
        )
    return "default" if ours or not bearer else "key-" + hashlib.sha256(bearer.encode()).hexdigest()[:12]


def _require_admin(request: web.Request, settings: Settings) -> None:
    token = settings.auth.admin_token
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token and hmac.compare_digest(given.encode(), token.encode()):
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
