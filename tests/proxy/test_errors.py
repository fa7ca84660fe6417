import json

import aiohttp
import pytest

from compiler.errors import StoreError
from proxy import errors
from proxy.errors import (
    BadRequestError,
    ClientTooSlowError,
    ConflictError,
    ForbiddenError,
    HeadersTooLargeError,
    NotAllowedError,
    NotFoundError,
    ProxyError,
    TooLargeError,
    UnavailableError,
    UpstreamFailedError,
    UpstreamTimeoutError,
    translate,
)

KINDS = [
    (ProxyError, 500, "server_error", None),
    (BadRequestError, 400, "invalid_request_error", None),
    (NotAllowedError, 401, "invalid_request_error", "invalid_api_key"),
    (ForbiddenError, 403, "invalid_request_error", "forbidden"),
    (NotFoundError, 404, "invalid_request_error", "model_not_found"),
    (ConflictError, 409, "invalid_request_error", "not_now"),
    (ClientTooSlowError, 408, "invalid_request_error", "request_timeout"),
    (TooLargeError, 413, "invalid_request_error", "request_too_large"),
    (HeadersTooLargeError, 431, "invalid_request_error", "headers_too_large"),
    (UpstreamFailedError, 502, "server_error", "upstream_unreachable"),
    (UpstreamTimeoutError, 504, "server_error", "upstream_timeout"),
    (UnavailableError, 503, "server_error", "unavailable"),
]


@pytest.mark.parametrize(("kind", "status", "type_", "code"), KINDS)
def test_every_error_has_openais_shape(kind, status, type_, code):
    response = kind("Not so: ä", param="p").response()
    assert (response.status, response.content_type) == (status, "application/json")
    error = {"message": "Not so: ä", "type": type_, "param": "p", "code": code}
    assert json.loads(response.body) == {"error": error}
    assert response.headers["X-Cuecard-Error"] == (code or type_)


@pytest.mark.parametrize(("kind", "status"), [(kind, status) for kind, status, *_ in KINDS])
def test_every_error_is_listed_with_its_status(kind, status):
    line = next(line for line in errors.__doc__.splitlines() if line.split()[:1] == [kind.__name__])
    assert kind is ProxyError or line.split()[1] == str(status)


def test_no_error_is_missing_from_the_list():
    assert set(ProxyError.__subclasses__()) == {kind for kind, *_ in KINDS} - {ProxyError}


def test_a_code_can_be_told_more_exactly():
    error = NotFoundError("no", code="task_not_found")
    assert json.loads(error.body())["error"]["code"] == "task_not_found"
    assert error.response().headers["X-Cuecard-Error"] == "task_not_found"


REFUSED = aiohttp.ClientConnectorError(
    aiohttp.client_reqrep.ConnectionKey("secret-host", 1, False, True, None, None, None, None),
    ConnectionRefusedError(111, "secret-host"),
)


@pytest.mark.parametrize(
    ("foreign", "status", "code"),
    [
        (TimeoutError("secret-host"), 504, "upstream_timeout"),
        (TimeoutError(), 504, "upstream_timeout"),
        (aiohttp.ServerTimeoutError("secret-host"), 504, "upstream_timeout"),
        (aiohttp.ConnectionTimeoutError("secret-host"), 504, "upstream_timeout"),
        (aiohttp.SocketTimeoutError("secret-host"), 504, "upstream_timeout"),
        (aiohttp.ClientPayloadError("secret-host"), 502, "upstream_broke_off"),
        (aiohttp.ServerDisconnectedError("secret-host"), 502, "upstream_unreachable"),
        (aiohttp.ClientOSError(104, "secret-host"), 502, "upstream_unreachable"),
        (aiohttp.InvalidURL("http://secret-host"), 502, "upstream_unreachable"),
        (REFUSED, 502, "upstream_unreachable"),
        (ConnectionResetError("secret-host"), 502, "upstream_unreachable"),
        (OSError("secret-host"), 502, "upstream_unreachable"),
        (StoreError("secret-host"), 503, "store_unavailable"),
        (KeyError("secret-host"), 500, "internal_error"),
    ],
)
def test_a_foreign_error_becomes_ours_and_tells_no_address(foreign, status, code):
    ours = translate(foreign, "openai")
    assert (ours.status, ours.code) == (status, code)
    assert "secret-host" not in str(ours)
    assert ("'openai'" in str(ours)) == (status in (502, 504))


def test_our_own_error_stays_itself():
    error = BadRequestError("no")
    assert translate(error, "openai") is error
