import pytest

from compiler.endpoint import Endpoint
from proxy import headers

OWN = Endpoint("own", "https://own/v1", "sk-own")
KEYLESS = Endpoint("local", "http://local/v1", keyless=True)
THEIRS = Endpoint("theirs", "https://theirs/v1")
CLIENT = ((b"authorization", b"Bearer sk-client"), (b"api-key", b"sk-client"), (b"X-Other", b"1"))


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "X-Cuecard-Task",
        "x-cuecard-anything",
    ],
)
def test_what_belongs_to_one_connection_or_to_cuecard_goes_no_further(name):
    raw = ((name.encode(), b"x"), (name.lower().encode(), b"y"), (b"Kept", b"1"))
    assert list(headers.to_upstream(raw, THEIRS, client_key=True)) == ["Kept"]
    assert list(headers.to_client(raw)) == ["Kept"]


@pytest.mark.parametrize("name", [*headers.REQUEST_HEADERS, *headers.RESPONSE_HEADERS])
def test_every_header_of_cuecard_starts_the_same(name):
    assert name.lower().encode().startswith(headers.OURS)


def test_what_connection_names_goes_no_further():
    raw = ((b"X-A", b"1"), (b"Connection", b"close, X-a"), (b"connection", b" x-B "), (b"x-b", b"1"), (b"X-C", b"1"))
    assert list(headers.to_upstream(raw, THEIRS, client_key=True)) == ["X-C"]
    assert list(headers.to_client(raw)) == ["X-C"]


def test_host_length_and_expect_are_made_anew_for_the_upstream():
    raw = ((b"Host", b"h"), (b"Content-Length", b"1"), (b"Expect", b"100-continue"), (b"Accept", b"*/*"))
    assert list(headers.to_upstream(raw, THEIRS, client_key=True)) == ["Accept"]


def test_the_length_is_made_anew_for_the_client():
    assert list(headers.to_client(((b"Content-Length", b"1"), (b"Content-Encoding", b"gzip")))) == ["Content-Encoding"]


def test_repeated_headers_all_go_on_in_order():
    kept = headers.to_client(((b"Set-Cookie", b"a=1"), (b"X", b"1"), (b"Set-Cookie", b"b=2")))
    assert kept.getall("set-cookie") == ["a=1", "b=2"]


def test_our_key_replaces_the_clients():
    for client_key in (True, False):
        sent = headers.to_upstream(CLIENT, OWN, client_key=client_key)
        assert sent.getall("Authorization") == ["Bearer sk-own"]
        assert "Api-Key" not in sent
        assert sent["X-Other"] == "1"


def test_a_server_that_wants_no_key_gets_none():
    sent = headers.to_upstream(CLIENT, KEYLESS, client_key=True)
    assert list(sent) == ["X-Other"]


def test_the_clients_key_goes_where_it_was_meant_for():
    sent = headers.to_upstream(CLIENT, THEIRS, client_key=True)
    assert sent["Authorization"] == "Bearer sk-client"
    assert sent["Api-Key"] == "sk-client"


def test_the_clients_key_goes_nowhere_else():
    assert list(headers.to_upstream(CLIENT, THEIRS, client_key=False)) == ["X-Other"]
