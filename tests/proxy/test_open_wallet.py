"""Where anybody on the network could spend the configured key, nothing starts."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import main
from proxy.configfile import ConfigError
from proxy.serve import refuse_open_wallet
from proxy.settings import Settings

OURS = {"cloud": {"base_url": "https://cloud/v1", "api_key": "sk-canary-wallet"}}
THEIRS = {"theirs": {"base_url": "https://theirs/v1"}}
KEYLESS = {"local": {"base_url": "http://local/v1", "api_key": "none"}}
KEYS = {"keys": [{"key": "shop-key-1"}]}
TOKEN = {"admin_token": "admin-token-1"}
OPEN = [
    "0.0.0.0",
    "::",
    "192.168.1.5",
    "server.lan",
    "localhost.lan",
    "::ffff:192.168.1.5",
    "::ffff:0.0.0.0",
    "127.1",
    "",
]
CLOSED = ["127.0.0.1", "127.0.0.2", "127.255.255.254", "localhost", "LOCALHOST", "::1", "::ffff:127.0.0.1"]


def settings(host: str, **more: Any) -> Settings:
    return Settings.model_validate({"listen": {"host": host}, **more})


@pytest.mark.parametrize("host", OPEN)
@pytest.mark.parametrize("upstreams", [OURS, KEYLESS | OURS, THEIRS | OURS], ids=["first", "second", "beside theirs"])
@pytest.mark.parametrize("auth", [{}, TOKEN], ids=["no keys", "an admin token only"])
def test_our_key_beyond_this_machine_needs_keys_of_the_clients(host, upstreams, auth):
    with pytest.raises(ConfigError, match=r"'cloud' and no auth\.keys") as caught:
        refuse_open_wallet(settings(host, upstreams=upstreams, auth=auth))
    assert "sk-canary" not in str(caught.value)


@pytest.mark.parametrize("host", OPEN)
@pytest.mark.parametrize(
    ("upstreams", "auth"),
    [(OURS, KEYS), (THEIRS, {}), (KEYLESS, {}), (THEIRS | KEYLESS, {})],
    ids=["clients need a key", "each client pays itself", "nothing to pay", "neither"],
)
def test_where_no_stranger_can_spend_it_may_listen_anywhere(host, upstreams, auth):
    refuse_open_wallet(settings(host, upstreams=upstreams, auth=auth))


@pytest.mark.parametrize("host", CLOSED)
def test_on_this_machine_alone_no_keys_are_needed(host):
    refuse_open_wallet(settings(host, upstreams=OURS))


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wallet that opens fails here, instead of serving."""

    def start(*given: object) -> None:
        raise AssertionError("it started")

    monkeypatch.setattr("proxy.serve.Supervisor", start)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "cuecard.yaml"
    path.write_text(yaml.safe_dump({"upstreams": OURS, "listen": {"port": 0}}))
    return path


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "server.lan"])
def test_the_hosts_option_opens_no_wallet_either(config, tmp_path, host):
    ended = CliRunner().invoke(main, ["serve", "--config", str(config), "--host", host])
    assert ended.exit_code == 2
    assert f"listening on {host} with the key of upstream 'cloud' and no auth.keys" in ended.output
    assert "sk-canary" not in ended.output
    assert not (tmp_path / ".cuecard").exists()


def test_check_says_so_too(config):
    config.write_text(yaml.safe_dump({"upstreams": OURS, "listen": {"host": "0.0.0.0"}}))
    ended = CliRunner().invoke(main, ["check", "--config", str(config)])
    assert ended.exit_code == 2
    assert "anyone who reaches this port could spend it" in ended.output


def test_without_a_file_the_environments_key_is_a_wallet_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"OPENAI_API_KEY": "sk-canary-env", "CUECARD_CONFIG": "", "CUECARD_KEY": ""})
    ended = runner.invoke(main, ["serve", "--host", "0.0.0.0"])
    assert ended.exit_code == 2
    assert "Set CUECARD_KEY" in ended.output
    assert "sk-canary" not in ended.output
