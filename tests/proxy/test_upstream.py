"""Where a client's path goes."""

import pytest
from yarl import URL

from proxy.upstream import address


@pytest.mark.parametrize("base", ["https://api.example.co", "https://api.example.co/v1", "http://127.0.0.1:8000/x"])
@pytest.mark.parametrize(
    "target",
    [
        *("/v1/files", "/v1/files?a=%2F", "/v1%2F@evil.example/x", "/%761/files", "/v1@evil.example/", "/v1:80/files"),
        *(
            "m://evil.example/v1/files",
            "http://evil.example/v1/files",
            "//evil.example/v1/x",
            "@evil.example/",
            "",
            "*",
        ),
    ],
)
def test_whatever_a_client_writes_for_a_path_the_host_is_the_upstreams(base, target):
    assert address(base, target).origin() == URL(base).origin()
    assert address(base, target).user is None


@pytest.mark.parametrize(
    ("written", "asked"),
    [("/v1/files?a=%2F", "/base/files?a=%2F"), ("/v1/", "/base/"), ("/%761/files", "/base/%761/files")],
)
def test_the_path_stays_as_it_was_written_under_the_upstreams_base(written, asked):
    assert str(address("https://host/base", written)) == f"https://host{asked}"
