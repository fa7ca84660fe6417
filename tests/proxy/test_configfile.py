from pathlib import Path

import pytest

from proxy.configfile import OPENAI, ConfigError, load_settings, parse_settings

SECRET = "sk-very-secret"
ENVIRONMENT = {"OPENAI_API_KEY": SECRET}


def complaint(text: str, environment: dict[str, str] = ENVIRONMENT) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "cuecard.yaml", environment)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mode: auto\nmod: auto\n", "cuecard.yaml:2: unknown key `mod`; did you mean `mode`?"),
        ("listen:\n  prot: 1\n", "cuecard.yaml:2: unknown key `listen.prot`; did you mean `port`?"),
        (
            "tasks:\n  mood:\n    description: d\n    exmaples: x\n",
            "cuecard.yaml:4: unknown key `tasks.mood.exmaples`; did you mean `examples`?",
        ),
        (
            "tasks:\n  mood:\n    description: d\n    output:\n      kind: json\n      kyes: [a]\n",
            "cuecard.yaml:6: unknown key `tasks.mood.output.kyes`; did you mean `keys`?",
        ),
        (
            "auth:\n  keys:\n    - key: long-enough\n      tennant: x\n",
            "cuecard.yaml:4: unknown key `auth.keys.0.tennant`; did you mean `tenant`?",
        ),
        (
            "upstreams:\n  a:\n    base_url: http://x\n    zzzzzz: 1\n",
            "cuecard.yaml:4: unknown key `upstreams.a.zzzzzz`; known here: base_url, api_key",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_one(text, expected):
    assert complaint(text) == expected


def test_a_wrong_value_is_named_with_its_line():
    assert complaint("listen:\n  host: x\n  port: many\n").startswith("cuecard.yaml:3: `listen.port`: ")
    assert complaint("mode: fast\n").startswith("cuecard.yaml:1: `mode`: input should be 'observe'")
    message = complaint("timeouts:\n  connect: 1s\n  candidate: soon\n")
    assert message == "cuecard.yaml:3: `timeouts.candidate`: no duration; write 500ms, 60s, 10m, 2h or 7d"


def test_a_missing_key_is_reported_at_what_lacks_it():
    assert complaint("mode: auto\ntasks:\n  mood:\n    trust: proven\n").startswith(
        "cuecard.yaml:3: `tasks.mood.description`: field required"
    )


def test_every_mistake_is_reported_at_once():
    assert complaint("mod: x\ncontrol: 7\n").count("cuecard.yaml:") == 2


def test_a_repeated_key_is_refused_at_any_depth():
    assert complaint("mode: auto\nmode: observe\n") == "cuecard.yaml:2: `mode` stands here twice"
    assert complaint("listen:\n  port: 1\n  host: x\n  port: 2\n") == "cuecard.yaml:4: `port` stands here twice"


@pytest.mark.parametrize(("text", "line"), [("mode: [auto\n", 2), ("a: 1\nb: c: d\n", 2), ("a: 1\n\tb: 2\n", 2)])
def test_what_is_no_yaml_is_reported_with_its_line(text, line):
    assert complaint(text).startswith(f"cuecard.yaml:{line}: not YAML: ")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "word\n"])
def test_a_file_without_keys_is_refused(text):
    assert "must hold keys" in complaint(text)


def test_a_missing_variable_is_named_with_its_line():
    text = "upstreams:\n  openai:\n    base_url: http://x\n    api_key: ${NOT_THERE}\n"
    assert complaint(text) == "cuecard.yaml:4: environment variable NOT_THERE is not set"
    assert complaint("models:\n  production:\n    - a\n    - ${GONE}\n").startswith("cuecard.yaml:4: ")


def test_a_variable_is_filled_in_after_the_yaml_is_read():
    text = "upstreams: {a: {base_url: 'http://${HOST}/v1', api_key: '${KEY}'}}"
    settings = parse_settings(text, "c.yaml", {"HOST": "h", "KEY": "a: [b # c"})
    assert settings.upstreams["a"].base_url == "http://h/v1"
    assert settings.upstreams["a"].api_key == "a: [b # c"


@pytest.mark.parametrize(
    ("environment", "meta"), [({}, "fallback"), ({"META": ""}, "fallback"), ({"META": "set"}, "set")]
)
def test_a_variable_may_have_a_default(environment, meta):
    settings = parse_settings("models: {meta: '${META:-fallback}'}", "c.yaml", {**ENVIRONMENT, **environment})
    assert settings.models.meta == meta


def test_a_variable_is_not_expanded_twice():
    settings = parse_settings("models: {meta: '${A}'}", "c.yaml", {**ENVIRONMENT, "A": "${B}", "B": "no"})
    assert settings.models.meta == "${B}"


@pytest.mark.parametrize(
    "text",
    [
        "auth: {admin_token: short}",
        "auth: {keys: [{key: short}]}",
        "auth: {keys: ['${SECRET}']}",
        "auth: {keys: '${SECRET}'}",
        "auth: {admin_token: ['${SECRET}']}",
        "upstreams: {openai: '${SECRET}'}",
        "upstreams: {openai: {base_url: 'http://x', api_key: ['${SECRET}']}}",
        "upstreams: {openai: {api_key: '${SECRET}'}}",
        "upstreams: {openai: {base_url: 'http://x', apikey: '${SECRET}'}}",
        "mode: '${SECRET}'",
    ],
)
def test_no_complaint_repeats_a_secret(text):
    message = complaint(text, {**ENVIRONMENT, "SECRET": SECRET})
    assert SECRET not in message
    assert "short" not in message.replace("shorter", "")


def test_no_file_and_a_key_is_openai_in_mode_observe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, ENVIRONMENT)
    assert settings.upstreams["openai"].base_url == OPENAI
    assert settings.upstreams["openai"].api_key == SECRET
    assert (settings.mode, settings.auth.keys, settings.auth.admin_token) == ("observe", (), None)


def test_no_file_takes_who_may_call_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, {**ENVIRONMENT, "CUECARD_KEY": "shop-key-1", "CUECARD_ADMIN_TOKEN": "admin-token"})
    assert [key.key for key in settings.auth.keys] == ["shop-key-1"]
    assert settings.auth.admin_token == "admin-token"


def test_a_bad_key_from_the_environment_is_reported_without_a_line_and_without_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {**ENVIRONMENT, "CUECARD_KEY": "tiny"})
    assert str(caught.value).startswith("environment: `auth.keys.0.key`: ")
    assert "tiny" not in str(caught.value)


def test_no_file_and_no_key_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY is not set: set the key, or write a cuecard\.yaml"):
        load_settings(None, {})


def test_the_file_is_the_named_one_then_the_environments_then_the_one_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cuecard", "named", "variable"):
        Path(f"{name}.yaml").write_text(f"models: {{meta: {name}}}")
    environment = {**ENVIRONMENT, "CUECARD_CONFIG": "variable.yaml"}
    assert load_settings(Path("named.yaml"), environment).models.meta == "named"
    assert load_settings(None, environment).models.meta == "variable"
    assert load_settings(None, ENVIRONMENT).models.meta == "cuecard"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: can't be read"):
        load_settings(tmp_path / "nowhere.yaml", ENVIRONMENT)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="can't be read"):
        load_settings(tmp_path / "c.yaml", ENVIRONMENT)


def test_paths_are_looked_for_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    text = (
        "tasks:\n  a: {description: d, examples: data/a.jsonl}\n"
        "  b: {description: d, examples: /abs/b.jsonl}\n  c: {description: d}\n"
    )
    (tmp_path / "c.yaml").write_text(text)
    settings = load_settings(tmp_path / "c.yaml", ENVIRONMENT)
    assert settings.tasks["a"].examples == str(tmp_path / "data/a.jsonl")
    assert settings.tasks["b"].examples == "/abs/b.jsonl"
    assert settings.tasks["c"].examples is None
    assert settings.store.folder == tmp_path / ".cuecard"


def test_an_absolute_store_stays_where_it_is(tmp_path):
    (tmp_path / "c.yaml").write_text("store: {url: 'file:/var/lib/cuecard'}")
    assert load_settings(tmp_path / "c.yaml", ENVIRONMENT).store.folder == Path("/var/lib/cuecard")
