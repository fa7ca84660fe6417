import pytest

from proxy.paths import ENDPOINTS, endpoint_of, paid


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/chatcmpl-1/messages", "/v1/chat/completions"),
        ("/v1/responses", "/v1/responses"),
        ("/v1/responses/resp_1/input_items", "/v1/responses"),
        ("/v1/audio/speech", "/v1/audio/speech"),
        ("/v1/audio/voices", "/v1/audio"),
        ("/v1/images/edits", "/v1/images/edits"),
        ("/v1/files/file-1/content", "/v1/files"),
        ("/v1/realtime/sessions", "/v1/realtime"),
        ("/v1/batches/b/cancel", "/v1/batches"),
        ("/v1/chat", "other"),
        ("/v1/rerank", "other"),
        ("/v1/responses2", "other"),
        ("/v1//responses", "other"),
        ("/v1/%72esponses", "other"),
        ("/", "other"),
        ("", "other"),
        ("/v1/sk-something-a-client-made-up/x/y/z", "other"),
    ],
)
def test_a_path_is_one_of_a_fixed_list(path, endpoint):
    assert endpoint_of(path) == endpoint
    assert endpoint in ENDPOINTS


@pytest.mark.parametrize(
    ("method", "path", "how"),
    [
        ("POST", "/v1/responses", "always"),
        ("POST", "/v1/responses?x=1", "always"),
        ("GET", "/v1/responses/resp_1", "free"),
        ("GET", "/v1/chat/completions/chatcmpl-1", "free"),
        ("POST", "/v1/responses/resp_1/cancel", "if_told"),
        ("GET", "/v1/realtime?model=m", "always"),
        ("POST", "/v1/rerank", "if_told"),
        ("POST", "/v1/files", "if_told"),
        ("DELETE", "/v1/files/file-1", "free"),
    ],
)
def test_what_is_paid_for(method, path, how):
    assert paid(method, path) == how
