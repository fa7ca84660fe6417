"""Every error that Cuecard itself answers with, in OpenAI's shape, so that each SDK raises its own exception type.

ProxyError                     status, type, code, message, param
    BadRequestError        400 invalid_request_error
    NotAllowedError        401 invalid_api_key
    ForbiddenError         403 a foreign Host or Origin, or no admin token
    NotFoundError          404 model_not_found, task_not_found, answer_not_found, unknown_url
    ConflictError          409 not_now
    ClientTooSlowError     408 request_timeout
    TooLargeError          413
    HeadersTooLargeError   431
    UpstreamFailedError    502 upstream_unreachable, upstream_broke_off
    UpstreamTimeoutError   504
    UnavailableError       503 store_unavailable, not_ready, learner_unavailable
"""

import json

import aiohttp
from aiohttp import web

from compiler.errors import StoreError
from proxy.headers import ERROR, RETRY_AFTER
from proxy.upload import UploadError


class ProxyError(Exception):
    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, retry_after: int | None = None
    ) -> None:
        """`retry_after`: seconds."""
        super().__init__(message)
        self.code = code or self.code
        self.param = param
        self.retry_after = retry_after

    def body(self) -> bytes:
        error = {"message": str(self), "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, ensure_ascii=False).encode()

    def response(self) -> web.Response:
        headers = {ERROR: self.code or self.type}
        if self.retry_after:
            headers[RETRY_AFTER] = str(self.retry_after)
        return web.Response(status=self.status, body=self.body(), content_type="application/json", headers=headers)


class BadRequestError(ProxyError):
    status = 400
    type = "invalid_request_error"


class NotAllowedError(ProxyError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class ForbiddenError(ProxyError):
    status = 403
    type = "invalid_request_error"
    code = "forbidden"


class NotFoundError(ProxyError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class ConflictError(ProxyError):
    status = 409
    type = "invalid_request_error"
    code = "not_now"


class ClientTooSlowError(ProxyError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class TooLargeError(ProxyError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class HeadersTooLargeError(ProxyError):
    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class UpstreamFailedError(ProxyError):
    status = 502
    code = "upstream_unreachable"


class UpstreamTimeoutError(ProxyError):
    status = 504
    code = "upstream_timeout"


class UnavailableError(ProxyError):
    status = 503
    code = "unavailable"


def translate(error: Exception, upstream: str) -> ProxyError:
    """The one place where a foreign error becomes ours. The message names the upstream, never its address or a body."""
    if isinstance(error, ProxyError):
        return error
    if isinstance(error, TimeoutError):
        return UpstreamTimeoutError(f"upstream {upstream!r} did not answer in time")
    if isinstance(error, UploadError):
        return BadRequestError(str(error))
    if isinstance(error, aiohttp.ClientPayloadError):
        return UpstreamFailedError(f"upstream {upstream!r} broke off its answer", code="upstream_broke_off")
    if isinstance(error, aiohttp.ClientError | OSError):
        return UpstreamFailedError(f"upstream {upstream!r} can't be reached ({type(error).__name__})")
    if isinstance(error, StoreError):
        return UnavailableError("the store can't be used; `cuecard check` says why", code="store_unavailable")
    return ProxyError("internal error", code="internal_error")
