import pytest

from proxy.upstream import target


@pytest.mark.parametrize(
    ("base", "raw_path", "sent"),
    [
        ("/v1", "/v1/files", "/v1/files"),
        ("/v1", "/v1/files?", "/v1/files?"),
        ("/v1", "/v1//a%2Fb/../c?x=/v1/", "/v1//a%2Fb/../c?x=/v1/"),
        ("", "/v1/files", "/files"),
        ("/openai/deployments/x", "/v1/chat/completions?a", "/openai/deployments/x/chat/completions?a"),
        ("/v1", "/%76%31/files", "/v1/files"),
        ("/v1", "http://127.0.0.1:8080/v1/files?x", "/v1/files?x"),
        ("", "http://127.0.0.1/v1/http://elsewhere/", "/http://elsewhere/"),
        ("", "/v1/@elsewhere/", "/@elsewhere/"),
    ],
)
def test_the_upstreams_base_stands_for_v1_and_the_rest_stays(base: str, raw_path: str, sent: str) -> None:
    assert target(base, raw_path) == sent
