from compiler.endpoint import Endpoint, Endpoints

CLOUD = Endpoint("cloud", "https://cloud.example/v1", "sk")
LOCAL = Endpoint("local", "http://127.0.0.1:1/v1", keyless=True)
BOTH = Endpoints({"cloud": CLOUD, "local": LOCAL})


def test_a_known_prefix_is_an_upstream():
    assert BOTH.resolve("local/qwen") == (LOCAL, "qwen")
    assert BOTH.resolve("local/org/qwen") == (LOCAL, "org/qwen")
    assert BOTH.resolve("cloud/gpt") == (CLOUD, "gpt")


def test_any_other_name_goes_whole_to_the_first_upstream():
    for name in ("gpt", "meta-llama/Llama-3", "local", "local/", "/qwen", "Local/qwen", ""):
        assert BOTH.resolve(name) == (CLOUD, name)


def test_background_calls_need_a_key_of_ours_or_a_server_without_one():
    assert CLOUD.ours
    assert LOCAL.ours
    assert not Endpoint("theirs", "https://cloud.example/v1").ours
