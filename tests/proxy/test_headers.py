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


CREDENTIALS = [
    *(
        "Authorization",
        "Api-Key",
        "X-Api-Key",
        "x-goog-api-key",
        "Ocp-Apim-Subscription-Key",
        "Cookie",
        "Helicone-Auth",
    ),
    *("CF-Access-Client-Secret", "X-Amz-Security-Token", "X-Portkey-Api-Key", "X_API_KEY", "OpenAI-Organization"),
    *("OpenAI-Project", "X-Apikey", "X-Forwarded-Access-Token"),
]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_whatever_a_key_is_called_it_goes_only_where_it_was_meant_for(name):
    raw = ((name.encode(), b"sk-client"), (b"X-Other", b"1"))
    assert name in headers.to_upstream(raw, THEIRS, client_key=True)
    for endpoint, client_key in ((THEIRS, False), (KEYLESS, True), (OWN, True), (OWN, False)):
        assert "sk-client" not in headers.to_upstream(raw, endpoint, client_key=client_key).values()


@pytest.mark.parametrize("name", ["Idempotency-Key", "Sec-WebSocket-Key", "X-Stainless-Lang", "OpenAI-Beta", "Monkey"])
def test_what_is_no_key_goes_on(name):
    assert list(headers.to_upstream(((name.encode(), b"1"),), KEYLESS, client_key=False)) == [name]


@pytest.mark.parametrize(
    ("offered", "sent"),
    [
        ([b"realtime, openai-insecure-api-key.sk-c, v1"], ["realtime, v1"]),
        ([b"OpenAI-Insecure-API-Key.sk-c"], []),
        ([b"realtime", b"openai-insecure-api-key.sk-c"], ["realtime"]),
        ([b"openai-organization.org-c,openai-project.proj-c,realtime"], ["realtime"]),
    ],
)
def test_a_websockets_key_is_taken_out_of_its_protocols(offered, sent):
    raw = [(b"Sec-WebSocket-Protocol", value) for value in offered]
    assert headers.to_upstream(raw, OWN, client_key=True).getall("Sec-WebSocket-Protocol", []) == sent


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1/files", "/v1/files"),
        ("/v1/files?", "/v1/files?"),
        ("/v1/files?after=a%2F&limit=2", "/v1/files?after=a%2F&limit=2"),
        ("/v1/files?api_key=sk-c", "/v1/files"),
        ("/v1/files?after=a%2F&api%5Fkey=sk-c&limit=2", "/v1/files?after=a%2F&limit=2"),
        ("/v1/files?KEY=sk-c&&a", "/v1/files?&a"),
        ("/v1/files?access_token=sk-c", "/v1/files"),
        ("/v1/files?subscription-key=sk-c&api-version=1", "/v1/files?api-version=1"),
    ],
)
def test_a_key_in_the_query_goes_where_the_client_meant_it_and_the_rest_as_it_is(path, sent):
    assert headers.path_to_upstream(path, THEIRS) == path
    for endpoint in (KEYLESS, OWN):
        assert headers.path_to_upstream(path, endpoint) == sent
