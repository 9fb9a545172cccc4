"""The configuration: where values come from, and what is said of wrong ones."""
# ruff: noqa: E501 - a mistake and what is said of it read best side by side

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd.core.errors import ConfigError
from nexusd.core.records import Region
from nexusd.settings import (
    Settings,
    load,
    load_sections,
    load_with_origins,
    loading,
    parts,
    warnings,
)
from nexusd.settings.alerting import WebhookReceiver
from nexusd.settings.keys import is_duration, leaves
from nexusd.settings.showing import as_yaml
from nexusd.settings.sources import PREFIX
from nexusd.settings.values import SecretText, format_duration, read_duration, split_address
from nexusd.settings.yamlfile import MAX_BYTES, parse

KEY = {"CN_API_KEY": "key-1"}
ROOT = Path(__file__).parent.parent

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_one(text: str, name: str = "nexusd.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_one


def complaint(path: Path | None, environ: Mapping[str, str] = KEY, **overrides: object) -> str:
    """What is said, without the path of the file."""
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, environ)
    return str(caught.value).replace(str(path), "FILE")


# Where values come from


def test_the_environment_alone_is_enough() -> None:
    settings = load(None, {}, KEY)
    assert settings.cloudnexus.api_key is not None
    assert settings.cloudnexus.api_key.get_secret_value() == "key-1"


def test_some_sections_alone_need_no_key_and_no_file_of_another_section(write: Write) -> None:
    path = write("""
cloudnexus: {api_key_file: /nowhere/key}
receivers: [{name: ops, type: webhook}]
store: {url: "sqlite:////srv/nexusd.db"}
placement: {smoothing: 5m}
""")
    settings = load_sections(path, ("store", "placement"), {"placement.max_per_region": 3}, {})
    assert settings.store.url.get_secret_value() == "sqlite:////srv/nexusd.db"
    assert (settings.placement.smoothing_s, settings.placement.max_per_region) == (300.0, 3)
    assert settings.receivers == ()


def test_what_is_wrong_in_those_sections_is_said(write: Write) -> None:
    path = write("placement: {smoothing: fast}")
    with pytest.raises(ConfigError, match=r"placement\.smoothing"):
        load_sections(path, ("store", "placement"), {}, {})


def test_a_section_in_another_case_is_refused_where_sections_are_read_alone(write: Write) -> None:
    path = write('Store: {url: "sqlite:////srv/nexusd.db"}')
    with pytest.raises(ConfigError, match=r'Store: unknown key, did you mean "store"'):
        load_sections(path, ("store", "placement"), {}, {})


def test_variables_have_no_case_after_the_prefix() -> None:
    assert load(None, {}, {**KEY, "NEXUSD_log__Level": "debug"}).log.level == "debug"


def test_a_key_in_another_case_inside_a_variable_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"NEXUSD_SERVER: server\.Listen: unknown key"):
        load(None, {}, {**KEY, "NEXUSD_SERVER": "{Listen: '127.0.0.1:1'}"})


def test_the_contracts_example_is_read(write: Write, tmp_path: Path) -> None:
    for name in ("api-key", "ops-secret", "write-token"):
        (tmp_path / name).write_text(f"{name}-value\n")
    settings = load(
        write("""
cloudnexus:
  base_url: https://api.cloudnexus.io/v1
  api_key_file: api-key
  timeout: 10s
  max_concurrent_requests: 8
  max_requests_per_second: 50
polling:
  regions: 15s
  instances: 30s
placement:
  max_creates_per_minute: 30
  settle: 5m
  provisioning_timeout: 15m
fleets:
  - {name: web, count: 6, plan: pro, regions: [us-east-1, eu-west-2]}
alerts:
  rules:
    RegionLatencyHigh: {threshold: 150ms}
receivers:
  - {name: ops, type: webhook, url: "https://hooks.example.com/nexusd", secret_file: ops-secret}
routes:
  - {matchers: ['severity="critical"'], receivers: [ops], repeat_interval: 1h}
server:
  listen: 127.0.0.1:9650
  write_token_file: write-token
store:
  url: sqlite:////var/lib/nexusd/nexusd.db
log:
  level: info
  format: auto
"""),
        {},
        {},
    )
    assert settings.alerts.rule("RegionLatencyHigh").threshold_s == 0.15
    assert settings.routes[0].repeat_interval_s == 3600
    assert settings.fleets[0].regions == ("us-east-1", "eu-west-2")
    receiver = settings.receivers[0]
    assert receiver.type == "webhook"
    assert [secret.get_secret_value() for secret in receiver.secret] == ["ops-secret-value"]
    assert settings.server.write_token is not None
    assert settings.server.write_token.get_secret_value() == "write-token-value"


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(write: Write) -> None:
    path = write("log: {level: warning}\nserver: {listen: '127.0.0.1:1'}\npolling: {regions: 1m}")
    environ = KEY | {"NEXUSD_LOG__LEVEL": "debug", "NEXUSD_SERVER__LISTEN": "127.0.0.1:2"}
    settings = load(path, {"server.listen": "127.0.0.1:3"}, environ)
    assert settings.server.listen == "127.0.0.1:3"
    assert settings.log.level == "debug"
    assert settings.polling.regions_s == 60
    assert settings.polling.instances_s == 30


def test_every_single_key_is_taken_from_the_environment() -> None:
    odd = {
        "int": "3",
        "float": "3",
        "bool": "true",
        "cloudnexus.base_url": "https://x.example",
        "cloudnexus.proxy": "http://x.example:3128",
        "server.listen": ":1",
        "server.external_url": "https://x.example",
        "store.url": "sqlite:////x.db",
        "log.level": "error",
        "log.format": "json",
    }
    for key, info in leaves(Settings):
        if "[]" in key or "<" in key or key.endswith("_file") or key == "alerts.custom":
            continue
        kind = str(info.annotation)
        value = odd.get(key) or next((odd[name] for name in ("int", "bool") if name in kind), "5s")
        value = "2m" if is_duration(info) else value
        value = "7" if "max_requests" in key or "max_creates" in key else value
        name = PREFIX + key.upper().replace(".", "__")
        loaded = load_with_origins(None, {}, KEY | {name: value})
        assert loaded.layer.origin(tuple(key.split("."))) == f"environment {name}"


def test_a_rule_is_reached_from_the_environment_whatever_its_case() -> None:
    environ = KEY | {"NEXUSD_ALERTS__RULES__REGIONLATENCYHIGH__THRESHOLD": "150ms"}
    assert load(None, {}, environ).alerts.rule("RegionLatencyHigh").threshold_s == 0.15


def test_a_list_is_given_by_environment_as_yaml_on_one_line() -> None:
    environ = KEY | {"NEXUSD_RECEIVERS": '[{name: ops, type: webhook, url: "https://x.example/y"}]'}
    assert load(None, {}, environ).receivers[0].name == "ops"


def test_a_list_that_replaces_another_is_reported_at_its_own_place(write: Write) -> None:
    path = write("receivers:\n  - {name: a, type: webhook, url: 'https://x.example'}\n")
    said = complaint(path, KEY | {"NEXUSD_RECEIVERS": "[{name: a, type: webhook}]"})
    assert said.startswith("environment NEXUSD_RECEIVERS: receivers[0].url: is missing")


def test_an_empty_variable_counts_as_absent() -> None:
    assert load(None, {}, KEY | {"NEXUSD_LOG__LEVEL": ""}).log.level == "info"


def test_the_command_lines_own_variables_are_no_keys(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("log: {level: debug}")
    environ = KEY | {"NEXUSD_URL": "x", "NEXUSD_TOKEN": "y", "NEXUSD_CONFIG": str(tmp_path / "c.yaml")}
    assert load(None, {}, environ).log.level == "debug"


def test_a_variable_that_is_no_key_names_the_nearest() -> None:
    said = complaint(None, KEY | {"NEXUSD_LOG__LEVL": "debug"})
    assert said == 'environment NEXUSD_LOG__LEVL: unknown key log.levl, did you mean "level"?'


def test_one_underscore_where_two_belong_is_told() -> None:
    said = complaint(None, KEY | {"NEXUSD_SERVER_LISTEN": ":1"})
    assert said == "environment NEXUSD_SERVER_LISTEN: not a key, did you mean NEXUSD_SERVER__LISTEN?"


def test_what_kubernetes_puts_in_the_environment_is_let_be() -> None:
    load(None, {}, KEY | {"NEXUSD_SERVICE_HOST": "10.0.0.1", "NEXUSD_PORT_9650_TCP": "tcp://10.0.0.1:9650"})


def test_without_a_file_named_the_default_one_is_read_if_it_exists(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "DEFAULT_FILE", write("log: {level: error}"))
    assert load(None, {}, KEY).log.level == "error"


def test_the_store_is_in_the_state_directory(tmp_path: Path) -> None:
    settings = load(None, {}, KEY | {"STATE_DIRECTORY": f"{tmp_path}:/other"})
    assert settings.store.url.get_secret_value() == f"sqlite:///{tmp_path}/nexusd.db"


def test_without_a_state_directory_the_store_is_in_the_current_folder() -> None:
    assert load(None, {}, KEY).store.url.get_secret_value() == f"sqlite:///{Path.cwd()}/nexusd.db"


def test_region_data_ages_for_three_polls_unless_said_otherwise(write: Write) -> None:
    assert load(write("polling: {regions: 20s}"), {}, KEY).max_data_age_s == 60
    assert load(write("placement: {max_data_age: 2m}"), {}, KEY).max_data_age_s == 120


def test_settings_and_their_sections_cannot_be_changed() -> None:
    settings = load(None, {}, KEY)
    with pytest.raises(ValueError, match="frozen"):
        settings.log.level = "debug"


# Secrets


def test_a_systemd_credential_is_named_like_its_key(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "cloudnexus.api_key").write_text("from-credential\n")
    (folder / "server.write_token").write_text("token\n")
    settings = load(
        write("cloudnexus: {api_key_file: /nonexistent}"), {}, {"CREDENTIALS_DIRECTORY": str(folder)}
    )
    assert settings.cloudnexus.api_key is not None
    assert settings.cloudnexus.api_key.get_secret_value() == "from-credential"
    assert settings.cloudnexus.api_key_file == folder / "cloudnexus.api_key"
    assert settings.server.write_token is not None


def test_a_variable_beats_a_credential_beats_cn_api_key(tmp_path: Path) -> None:
    (tmp_path / "cloudnexus.api_key").write_text("credential")
    environ = KEY | {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    key = load(None, {}, environ).cloudnexus.api_key
    assert key is not None
    assert key.get_secret_value() == "credential"
    key = load(None, {}, environ | {"NEXUSD_CLOUDNEXUS__API_KEY": "variable"}).cloudnexus.api_key
    assert key is not None
    assert key.get_secret_value() == "variable"


def test_a_key_in_the_environment_replaces_the_file_of_the_file(write: Write) -> None:
    settings = load(write("cloudnexus: {api_key_file: /nonexistent}"), {}, KEY)
    assert settings.cloudnexus.api_key_file is None


def test_a_secret_given_both_ways_is_an_error(write: Write) -> None:
    said = complaint(write("cloudnexus:\n  api_key: a\n  api_key_file: b\n"), {})
    assert said == "FILE:3: cloudnexus.api_key_file: given together with api_key: keep one of them"


PROXY = "http://joe:p%40ss@proxy.example.com:3128"


def test_a_proxy_and_a_ca_file_reach_the_client_and_the_password_is_not_shown(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("")
    path = write(f"cloudnexus: {{proxy: '{PROXY}', ca_file: ca.pem}}")
    loaded = load_with_origins(path, {}, KEY)
    options = parts.cloud_options(loaded.settings)
    assert (options.proxy, options.ca_file) == (PROXY, tmp_path / "ca.pem")
    shown = as_yaml(loaded) + repr(loaded.settings) + repr(options)
    assert "proxy.example.com:3128" in shown
    assert "joe" not in shown
    assert "p%40ss" not in shown


def test_a_proxy_may_be_given_by_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "proxy").write_text(f"{PROXY}\n")
    assert parts.cloud_options(load(write("cloudnexus: {proxy_file: proxy}"), {}, KEY)).proxy == PROXY


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy:3128",
        "https://s3cret@proxy",
        "socks5://s3cret@proxy",
        "http://s3cret@proxy/x",
        "http://",
        "http://s3cret@proxy?a",
    ],
)
def test_a_proxy_that_is_none_is_refused_and_not_repeated(write: Write, proxy: str) -> None:
    message = complaint(write(f"cloudnexus: {{proxy: '{proxy}'}}"))
    assert "cloudnexus.proxy: expected an HTTP proxy such as http://proxy.example.com:3128" in message
    assert "s3cret" not in message


def test_a_ca_file_that_is_missing_is_named(write: Write, tmp_path: Path) -> None:
    assert f"{tmp_path / 'ca.pem'} cannot be read" in complaint(write("cloudnexus: {ca_file: ca.pem}"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("cloudnexus: {ca_file: ''}", "cloudnexus.ca_file"),
        ("cloudnexus: {proxy_file: ''}", "cloudnexus.proxy_file"),
        (
            "receivers: [{name: a, type: webhook, url: 'https://x', tls: {ca_file: ''}}]",
            "receivers[0].tls.ca_file",
        ),
        ("receivers: [{name: a, type: webhook, url_file: ''}]", "receivers[0].url_file"),
    ],
)
def test_an_empty_path_is_one_line_about_its_key(write: Write, text: str, key: str) -> None:
    assert complaint(write(text)) == f"FILE:1: {key}: expected the path of a file"


def test_a_proxy_file_that_is_missing_is_one_line(write: Write, tmp_path: Path) -> None:
    message = complaint(write("cloudnexus: {proxy_file: none}"))
    assert message.endswith(
        f"cloudnexus.proxy_file: {tmp_path / 'none'} cannot be read: No such file or directory"
    )
    assert "\n" not in message


def test_a_proxy_of_plain_http_is_warned_of(write: Write, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    path = write(f"cloudnexus: {{base_url: 'http://127.0.0.1:1/v1', proxy: '{PROXY}', ca_file: ca.pem}}")
    warned = [w for w in warnings(load(path, {}, KEY)) if "plain http" in w]
    assert [w.partition(":")[0] for w in warned] == ["cloudnexus.proxy", "cloudnexus.ca_file"]


@pytest.mark.parametrize("ends", ["\ufeff{}", "{}\n", "{}\r\n", "\ufeff{}\r\n"])
def test_byte_order_marks_and_line_breaks_are_no_part_of_a_secret(
    write: Write, tmp_path: Path, ends: str
) -> None:
    def sent(text: str) -> str:
        return ends.format(text)

    (tmp_path / "cloudnexus.api_key").write_text(sent("key-1"))
    (tmp_path / "ops-secret").write_text(sent("secret-1"))
    path = write(
        "receivers:\n"
        "  - {name: ops, type: webhook, url: "
        + json.dumps(sent("https://x.example/a"))
        + ", secret_file: ops-secret}\n"
        "  - name: two\n    type: webhook\n    url: https://x.example\n"
        "    authorization: {credentials: " + json.dumps(sent("bearer-1")) + "}\n"
    )
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "NEXUSD_SERVER__WRITE_TOKEN": sent("token-1")}
    settings = load(path, {}, environ)
    assert settings.cloudnexus.api_key is not None
    assert settings.cloudnexus.api_key.get_secret_value() == "key-1"
    assert settings.server.write_token is not None
    assert settings.server.write_token.get_secret_value() == "token-1"
    ops, two = settings.receivers
    assert isinstance(ops, WebhookReceiver)
    assert ops.url is not None
    assert ops.url.get_secret_value() == "https://x.example/a"
    assert [secret.get_secret_value() for secret in ops.secret] == ["secret-1"]
    assert isinstance(two, WebhookReceiver)
    assert two.authorization is not None
    assert two.authorization.header().get_secret_value() == "Bearer bearer-1"
    assert load(None, {}, {"CN_API_KEY": sent("key-2")}).cloudnexus.api_key == SecretText("key-2")


@pytest.mark.parametrize("text", ["${CN_API_KEY}", "$CN_API_KEY"])
def test_a_variable_that_is_not_expanded_is_warned_of_wherever_a_secret_is(write: Write, text: str) -> None:
    path = write(
        f"cloudnexus: {{api_key: '{text}'}}\n"
        f"server: {{write_token: '{text}'}}\n"
        "receivers:\n"
        f"  - {{name: ops, type: webhook, url: 'https://x.example/${{TOKEN}}', secret: [good, '{text}'],"
        f" headers: {{X-Key: '{text}'}}, authorization: {{credentials: '{text}'}}}}\n"
    )
    warned = [w.partition(":")[0] for w in warnings(load(path, {}, {})) if "not expanded" in w]
    assert sorted(warned) == [
        "cloudnexus.api_key",
        "receivers[0].authorization.credentials",
        "receivers[0].headers.X-Key",
        "receivers[0].secret[1]",
        "receivers[0].url",
        "server.write_token",
    ]
    assert not any("CN_API_KEY" in w for w in warnings(load(path, {}, {})))


@pytest.mark.parametrize("text", ["a$b", "pa$$word", "$5", "{x}", "100$", "a-$KEY"])
def test_a_dollar_in_a_secret_is_no_variable(write: Write, text: str) -> None:
    path = write(f"server: {{write_token: '{text}'}}")
    assert not any("not expanded" in w for w in warnings(load(path, {}, KEY)))


def test_a_missing_secret_file_is_named_with_its_key(write: Write) -> None:
    said = complaint(write("cloudnexus:\n  api_key_file: /nonexistent/key\n"), {})
    expected = "FILE:2: cloudnexus.api_key_file: /nonexistent/key cannot be read: No such file or directory"
    assert said == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\xff\xfe", "is not text"),
        (b"a\nb", "more than one line"),
        (b"a" * 70_000, "too large"),
    ],
)
def test_a_secret_file_that_holds_no_secret_is_refused(
    write: Write, tmp_path: Path, content: bytes, expected: str
) -> None:
    (tmp_path / "key").write_bytes(content)
    assert expected in complaint(write("cloudnexus: {api_key_file: key}"), {})


def test_without_a_key_the_ways_to_give_one_are_told() -> None:
    assert complaint(None, {}).startswith("cloudnexus.api_key: is missing: set cloudnexus.api_key_file")


def test_several_secrets_are_given_while_they_rotate(write: Write, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("n")
    (tmp_path / "old").write_text("o")
    path = write("receivers: [{name: a, type: webhook, url: 'https://x.example', secret_file: [new, old]}]")
    receiver = load(path, {}, KEY).receivers[0]
    assert receiver.type == "webhook"
    assert [secret.get_secret_value() for secret in receiver.secret] == ["n", "o"]


@pytest.mark.parametrize(
    "text",
    [
        "cloudnexus: canary",
        "cloudnexus: {api_key: [canary]}",
        "cloudnexus: {api_key: {x: canary}}",
        "cloudnexus: {api_key: 'canary canary'}",
        "cloudnexus: {api_kei: canary}",
        "cloudnexus: {base_url: 'https://u:canary@host/'}",
        "receivers: {url: canary}",
        "receivers: [canary]",
        "receivers: [{name: a, type: webhook, url: canary}]",
        "receivers: [{name: a, type: webhook, url: 'https://x.example:canary'}]",
        "receivers: [{name: a, type: webhook, url: 'https://x.example', headers: {A: [canary]}}]",
        'receivers: [{name: a, type: webhook, url: "https://x.example", headers: {A: "canary\\n"}}]',
        "receivers: [{name: a, type: webhook, url: 'https://x.example', authorization: canary}]",
        "receivers: [{name: a, type: apprise, urls: canary}]",
        "server: {write_token: 'canary canary'}",
        "store: {url: 'mysql://u:canary@host/db'}",
        "cloudnexus: {api_key: canary",
        "cloudnexus:\n  api_key: canary\n  api_key: canary2",
    ],
)
def test_no_error_repeats_a_secret(write: Write, text: str) -> None:
    assert "canary" not in complaint(write(text), {})


@pytest.mark.parametrize(
    "text",
    [
        "cloudnexus: {api_key: 77777}",
        "server: {write_token: 77777}",
        "receivers: [{name: a, type: webhook, url: 77777}]",
        "receivers: [{name: a, type: webhook, url: 'https://x.example', secret: 77777}]",
        "receivers: [{name: a, type: webhook, url: 'https://x.example', headers: {A: 77777}}]",
        "colour: 77777",
    ],
)
def test_no_error_repeats_a_secret_that_looks_like_a_number(write: Write, text: str) -> None:
    assert "77777" not in complaint(write(text), {})


# What is wrong


MISTAKES = [
    ("cloudnexus:\n  timout: 5s", 'FILE:2: cloudnexus.timout: unknown key, did you mean "timeout"?'),
    ("base_url: x", 'FILE:1: base_url: unknown key, did you mean "cloudnexus.base_url"?'),
    ("loging: {}", 'FILE:1: loging: unknown key, did you mean "log"?'),
    ("Polling: {regions: 3s}", 'FILE:1: Polling: unknown key, did you mean "polling"?'),
    ("log: {}\nRECEIVERS:", 'FILE:2: RECEIVERS: unknown key, did you mean "receivers"?'),
    ("log:\n  Level: info", 'FILE:2: log.Level: unknown key, did you mean "level"?'),
    ("server: {}\nServer: {write_token: t}", 'FILE:2: Server: unknown key, did you mean "server"?'),
    ("log:\n\n  level: loud", "FILE:3: log.level: expected one of 'debug', 'info', 'warning' or 'error', got 'loud'"),
    (
        "polling: {regions: 15}",
        "FILE:1: polling.regions: expected a duration such as 30s, 5m or 1h30m, got 15",
    ),
    ("polling: {regions: 1ms}", "FILE:1: polling.regions: expected at least 100ms, got 1ms"),
    ("cloudnexus: {max_concurrent_requests: 0}", "FILE:1: cloudnexus.max_concurrent_requests: expected at least 1, got 0"),
    ("cloudnexus: {max_concurrent_requests: true}", "FILE:1: cloudnexus.max_concurrent_requests: expected a number, got true"),
    ("cloudnexus: {max_requests_per_second: true}", "FILE:1: cloudnexus.max_requests_per_second: expected a number, got true"),
    ("placement: {max_instances: true}", "FILE:1: placement.max_instances: expected a number, got true"),
    ("fleets: [{name: web, plan: pro, count: true}]", "FILE:1: fleets[0].count: expected a number, got true"),
    ("cloudnexus: {max_concurrent_requests: many}", "FILE:1: cloudnexus.max_concurrent_requests: expected a whole number, got 'many'"),
    ("log: [info]", "FILE:1: log: expected keys and values, got a list"),
    ("fleets: web", "FILE:1: fleets: expected a list"),
    ("fleets: [{name: web, plan: pro}]", "FILE:1: fleets[0].count: is missing"),
    ("fleets: [{name: web, count: -1, plan: pro}]", "FILE:1: fleets[0].count: expected at least 0, got -1"),
    ("fleets: [{name: 'web 1', count: 1, plan: pro}]", "FILE:1: fleets[0].name: expected letters, digits and single punctuation, as the reference says, got 'web 1'"),
    ("fleets: [{name: web, count: 1, plan: pro, regions: []}]", "FILE:1: fleets[0].regions: expected a list of at least 1, got 0"),
    ("fleets:\n  - {name: web, count: 1, plan: pro}\n  - {name: web-ab12c, count: 1, plan: pro}", "FILE:3: fleets[1].name: 'web-ab12c' is the name of a member of 'web'"),
    ("fleets:\n  - {name: web, count: 1, plan: pro}\n  - {name: Web, count: 1, plan: pro}", "FILE:3: fleets[1].name: 'Web' differs only in case from 'web', and CloudNexus may store both as one"),
    ("fleets:\n  - {name: web-ab12c, count: 1, plan: pro}\n  - {name: web, count: 1, plan: pro}", "FILE:2: fleets[0].name: 'web-ab12c' is the name of a member of 'web'"),
    ("fleets:\n  - name: web\n    count: 1\n    plan: pro\n    where: region.latency < 80.0", "FILE:5: fleets[0].where: unknown field region.latency; did you mean region.latency_ms?"),
    ("metrics: {per_instance: maybe}", "FILE:1: metrics.per_instance: expected true or false, got 'maybe'"),
    ("server: {listen: here}", "FILE:1: server.listen: expected an address and port such as 127.0.0.1:9650, got 'here'"),
    ("server: {listen: '1.2.3.4:99999'}", "FILE:1: server.listen: expected an address and port such as 127.0.0.1:9650, got '1.2.3.4:99999'"),
    ("cloudnexus: {base_url: 'http://api.example/v1'}", "FILE:1: cloudnexus.base_url: must begin with https:// (http is for loopback addresses only)"),
    ("store: {url: 'sqlite://'}", "FILE:1: store.url: expected a file: sqlite:////absolute/path.db (four slashes) or sqlite:///relative.db"),
    ("receivers: [{name: a, type: webhok}]", "FILE:1: receivers[0].type: expected one of 'webhook', 'alertmanager', 'heartbeat', 'apprise', got 'webhok'"),
    ("receivers: [{name: a}]", "FILE:1: receivers[0].type: is missing, expected one of 'webhook', 'alertmanager', 'heartbeat', 'apprise'"),
    ("receivers:\n  - name: a\n    type: webhook\n    url: 'https://x.example'\n    timeuot: 1s", 'FILE:5: receivers[0].timeuot: unknown key, did you mean "timeout"?'),
    ("receivers: [{name: a, type: webhook}]", "FILE:1: receivers[0].url: is missing (or url_file)"),
    ("alerts: {rules: {RegionUnhealty: {for: 1m}}}", 'FILE:1: alerts.rules.RegionUnhealty: unknown rule, did you mean "RegionUnhealthy"?'),
    ("alerts:\n  rules:\n    RegionUnhealthy:\n      fro: 1m", 'FILE:4: alerts.rules.RegionUnhealthy.fro: unknown key, did you mean "for"?'),
    ("routes: [{receivers: [ops]}]", "FILE:1: routes[0].receivers[0]: no receiver 'ops', receivers has none"),
    ("placement: {refusals: [{kind: quota, scope: region}]}", "FILE:1: placement.refusals[0]: needs status, code, or both"),
    ("placement: {refusals: [{status: 299, kind: quota, scope: region}]}", "FILE:1: placement.refusals[0].status: expected at least 300, got 299"),
    ("placement: {refusals: [{status: 600, kind: quota, scope: region}]}", "FILE:1: placement.refusals[0].status: expected at most 599, got 600"),
    ("placement: {refusals: [{status: 5xx, kind: quota, scope: region}]}", "FILE:1: placement.refusals[0].status: expected a whole number, got '5xx'"),
    ("placement: {refusals: [{status: 503, kind: full, scope: region}]}", "FILE:1: placement.refusals[0].kind: expected one of 'rejected', 'capacity', 'quota', 'auth', 'throttled', 'unavailable' or 'unknown', got 'full'"),
    ("placement: {refusals: [{status: 503, kind: quota, scope: plan}]}", "FILE:1: placement.refusals[0].scope: expected one of 'request', 'region' or 'account', got 'plan'"),
    ("placement: {refusals: [{status: 503, kind: quota}]}", "FILE:1: placement.refusals[0].scope: is missing"),
    ("placement: {refusals: [{code: '', kind: quota, scope: region}]}", "FILE:1: placement.refusals[0].code: expected text that is not empty, got ''"),
    ("placement: {smoothing: 0}", "FILE:1: placement.smoothing: expected at least 100ms, got 0s"),
    ("server: {tls: {cert_file: /nonexistent, key_file: /dev/null}}", "FILE:1: server.tls.cert_file: /nonexistent cannot be read: No such file or directory"),
    ("a: 1\nb: [", "FILE:2: not valid YAML: expected the node content, but found '<stream end>'"),
    ("log:\n  level: info\n  level: debug", "FILE:3: log.level: given twice, first on line 2"),
    ("- a", "FILE:1: expected keys and values at the top, such as `log:`"),
    ("log: !!python/object:os.system {}", "FILE:1: the YAML tag tag:yaml.org,2002:python/object:os.system is not allowed here"),
]  # fmt: skip
"""(file, error) of one mistake each."""


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_each_mistake_is_one_line_that_names_place_key_and_remedy(
    write: Write, text: str, expected: str
) -> None:
    assert complaint(write(text)) == expected


def test_several_mistakes_are_a_line_each_in_the_order_of_the_file(write: Write) -> None:
    text = "log: {level: loud}\npolling:\n  regions: x\n" + "\n" * 8 + "colour: red\n"
    lines = complaint(write(text)).splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "3", "12"]


def test_a_mistake_of_the_command_line_says_so() -> None:
    with pytest.raises(ConfigError, match=r"^command line: server\.listen: expected an address"):
        load(None, {"server.listen": "x"}, KEY)


@pytest.mark.parametrize("section", ["fleets", "receivers"])
def test_names_are_unique(write: Write, section: str) -> None:
    entry = {
        "fleets": "{name: a, count: 1, plan: pro}",
        "receivers": "{name: a, type: webhook, url: 'https://x.example'}",
    }[section]
    said = complaint(write(f"{section}:\n  - {entry}\n  - {entry}\n"))
    assert said == f"FILE:3: {section}[1].name: 'a' is taken by an earlier entry"


def test_a_route_names_a_receiver_that_exists(write: Write) -> None:
    text = "receivers: [{name: ops, type: webhook, url: 'https://x.example'}]\nroutes: [{receivers: [opps]}]"
    assert (
        complaint(write(text))
        == """FILE:2: routes[0].receivers[0]: no receiver 'opps', did you mean "ops"?"""
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("fleets: [{name: a, count: 1, plan: pro, where: 'region.slg == \"a\"'}]", "fleets[0].where"),
        (
            "alerts: {rules: {RegionUnhealthy: {where: 'instance.name == \"a\"'}}}",
            "alerts.rules.RegionUnhealthy.where",
        ),
        ("alerts: {custom: [{name: A, each: instance, when: 'instance.'}]}", "alerts.custom[0].when"),
        ("alerts: {custom: [{name: A, each: fleet, when: 'fleet.sise > 1'}]}", "alerts.custom[0].when"),
        (
            "alerts: {custom: [{name: A, each: region, when: region.capacity, where: 'region.'}]}",
            "alerts.custom[0].where",
        ),
    ],
)
def test_an_expression_that_does_not_compile_is_told_with_its_key(write: Write, text: str, key: str) -> None:
    assert complaint(write(text)).startswith(f"FILE:1: {key}: ")


def test_a_matcher_that_cannot_be_read_is_told_with_its_key(write: Write) -> None:
    receivers = "receivers: [{name: a, type: webhook, url: 'https://x.example'}]"
    said = complaint(write(f"{receivers}\nroutes: [{{matchers: ['severity'], receivers: [a]}}]"))
    assert said.startswith("FILE:2: routes[0].matchers[0]: ")


@pytest.mark.parametrize(
    "text",
    [
        "{type: Bearer}",
        "{type: Basic, username: a}",
        "{type: Basic, credentials: a}",
        "{credentials: a, username: b}",
    ],
)
def test_authorization_that_does_not_fit_its_type_is_refused(write: Write, text: str) -> None:
    path = write(f"receivers: [{{name: a, type: webhook, url: 'https://x.example', authorization: {text}}}]")
    assert "receivers[0].authorization: " in complaint(path)


def test_authorization_makes_its_header(write: Write) -> None:
    text = "receivers: [{name: a, type: webhook, url: 'https://x.example', authorization: %s}]"
    for given_, header in (
        ("{credentials: t}", "Bearer t"),
        ("{type: Basic, username: u, password: p}", "Basic dTpw"),
    ):
        receiver = load(write(text % given_), {}, KEY).receivers[0]
        assert receiver.type == "webhook"
        assert receiver.authorization is not None
        assert receiver.authorization.header().get_secret_value() == header


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "http://localhost/", "http://[::1]:8/x"])
def test_plain_http_is_accepted_for_loopback(url: str) -> None:
    load(None, {"cloudnexus.base_url": url}, KEY)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1.example.com", "http://localhost.evil", "https://", "x", "https://a/?b=c"]
)
def test_other_base_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"cloudnexus\.base_url"):
        load(None, {"cloudnexus.base_url": url}, KEY)


# The file itself


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none.yaml") == "FILE: cannot be read: No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert complaint(tmp_path) == "FILE: cannot be read: Is a directory"


def test_a_file_that_is_too_large_is_not_read(write: Write) -> None:
    assert complaint(write("#" * (MAX_BYTES + 1))) == "FILE: larger than 1024 KiB"


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"log: \xff")
    assert complaint(path) == "FILE: not UTF-8 text (byte 5)"


def test_an_empty_file_is_fine(write: Write) -> None:
    assert load(write("# nothing\n"), {}, KEY) == load(None, {}, KEY)


def test_a_section_without_keys_counts_as_absent(write: Write) -> None:
    assert load(write("log:\nfleets:\nplacement: {max_per_region: }"), {}, KEY).log.level == "info"


def test_aliases_cannot_explode() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ConfigError, match="more than 50000 values"):
        parse("\n".join(levels), "f")


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: " + "[" * 10_000, "a: " + "{a: " * 500])
def test_nesting_is_bounded(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^f:1: .*nested more than 40 levels deep$"):
        parse(text, "f")


def test_mappings_merge_and_own_keys_win() -> None:
    document = parse("base: &b {x: 1, y: 2}\nother:\n  y: 3\n  <<: *b\n", "f")
    assert document.data["other"] == {"x": 1, "y": 3}
    assert document.lines["other", "y"] == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("12:30", "12:30"), ("0o7", "0o7"), ("1", 1), ("1.5", 1.5), ("true", True), ("~", None), ("2030-01-31", "2030-01-31")],
)  # fmt: skip
def test_plain_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse(f"a: {text}", "f").data["a"] == value


@given(st.text(max_size=200))
def test_no_text_does_worse_than_a_configuration_error(text: str) -> None:
    said = ""
    try:
        parse(text, "f")
    except ConfigError as error:
        said = str(error)
    assert "\n" not in said


_junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([key for key, _ in leaves(Settings) if "[" not in key and "<" not in key]), _junk)
def test_no_value_does_worse_than_a_configuration_error(key: str, value: Any) -> None:
    with suppress(ConfigError):
        load(None, {key: value}, KEY)


@given(_junk, st.sampled_from(["receivers", "fleets", "routes", "alerts", "placement", "server"]))
def test_no_section_does_worse_than_a_configuration_error(value: Any, section: str) -> None:
    with suppress(ConfigError):
        load(None, {section: value}, KEY)


# Durations


@given(st.integers(min_value=0, max_value=10 * 365 * 86_400_000))
def test_a_duration_is_read_back_as_it_was_written(milliseconds: int) -> None:
    assert read_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("30d", 2592000), (0, 0), ("0", 0)]
)  # fmt: skip
def test_durations_are_written_as_prometheus_writes_them(text: object, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["", "5", 5, 1.5, True, None, "-5s", "5 m", "1m1h", "1s1s", "1e3s", "99999999w", [], "5x"]
)
def test_other_durations_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a duration"):
        read_duration(value)


# What is shown, and warned of


def test_what_is_shown_masks_every_secret(write: Write) -> None:
    path = write("""
cloudnexus: {api_key: canary-1}
server: {write_token: canary-2, read_token: canary-3}
store: {url: "postgresql://nexusd:canary-4@db/nexusd?password=canary-5"}
receivers:
  - {name: a, type: webhook, url: "https://u:canary-6@hooks.example.com/canary-7?t=canary-8", secret: canary-9,
     headers: {X-Key: canary-10}, authorization: {credentials: canary-11}}
  - {name: b, type: apprise, urls: ["tgram://canary-12"]}
""")
    loaded = load_with_origins(path, {}, {})
    shown = as_yaml(loaded)
    assert "canary" not in shown + repr(loaded.settings) + str(loaded.settings)
    assert "https://hooks.example.com/" in shown
    assert "nexusd:**********@db/nexusd" in shown


def test_what_is_shown_is_yaml_that_says_where_values_came_from(write: Write) -> None:
    path = write("polling:\n  regions: 20s\n")
    shown = as_yaml(load_with_origins(path, {}, KEY))
    assert f"  regions: 20s  # {path}:2\n" in shown
    document = parse(shown, "shown").data
    assert document["history"] == {"retention": "30d"}
    assert document["placement"]["max_data_age"] == "1m"  # type: ignore[index]


def test_what_is_shown_can_be_read_again(write: Write) -> None:
    first = load_with_origins(
        write("log: {level: debug}\nplacement: {settle: 90s, max_per_region: 3}"), {}, KEY
    )
    shown = as_yaml(first).replace("api_key: '**********'", "api_key: key-1")
    again = load(write(shown), {}, {})
    assert again.placement.settle_s == 90
    assert again.log == first.settings.log


def other_warnings(loaded: Settings) -> list[str]:
    """All but the one that no receiver is configured."""
    return [warning for warning in warnings(loaded) if not warning.startswith("receivers: none")]


def test_a_default_configuration_warns_of_its_missing_receivers_alone() -> None:
    assert warnings(load(None, {}, KEY)) == [
        "receivers: none is configured, so alerts are shown on the page and sent to no one"
    ]


def test_a_heartbeat_takes_no_alerts(write: Write) -> None:
    path = write("receivers: [{name: beat, type: heartbeat, url: 'https://beats.example.com/'}]")
    assert len(warnings(load(path, {}, KEY))) == 1


@pytest.mark.parametrize(
    ("secret", "warned"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", True),
        ("C2FVsBQIhrscChlQIMV+b5sSYspob7oDjo6jQd7+y2U=", True),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", False),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", False),
        ("correct-horse-battery-staple", False),
        ("Tr0ub4dor&3", False),
        ("Secret01", False),
    ],
)
def test_a_secret_in_base64_without_its_prefix_is_warned_of(secret: str, warned: bool, write: Write) -> None:
    path = write(
        f"receivers: [{{name: ops, type: webhook, url: 'https://x.example/', secret: [a, '{secret}']}}]"
    )
    found = warnings(load(path, {}, KEY))
    assert [w.partition(":")[0] for w in found] == ["receivers[0].secret"] * warned
    assert secret not in str(found)


TEMPLATED = """
alerts:
  rules:
    InstanceStopped: {labels: {team: "{{ $labels.team }}"}}
    RegionUnhealthy:
      severity: "{{ severity }}"
      annotations: {description: "in $labels.region", summary: "{% if x %}", note: "costs $5, in {braces}"}
  custom:
    - {name: Mine, each: region, when: "true", labels: {a: "{{b}}"}, annotations: {b: "$value of it"}}
"""


def test_templates_are_refused_by_line(write: Write) -> None:
    path = write(TEMPLATED)
    with pytest.raises(ConfigError) as refused:
        load(path, {}, KEY)
    lines = str(refused.value).splitlines()
    assert [line.split(": templates are not supported yet")[0].split(":", 1)[1] for line in lines] == [
        "4: alerts.rules.InstanceStopped.labels.team",
        "6: alerts.rules.RegionUnhealthy.severity",
        "7: alerts.rules.RegionUnhealthy.annotations.description",
        "7: alerts.rules.RegionUnhealthy.annotations.summary",
        "9: alerts.custom[0].annotations.b",
        "9: alerts.custom[0].labels.a",
    ]
    assert "{{ labels.region }}" in lines[0]


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({}, "http://127.0.0.1:9650"),
        ({"server.listen": "[::1]:1"}, "http://[::1]:1"),
        ({"server.listen": "10.1.2.3:80"}, "http://10.1.2.3:80"),
        ({"server.listen": ":9650"}, "http://here.example:9650"),
        ({"server.listen": "0.0.0.0:9650"}, "http://here.example:9650"),
        ({"server.listen": "127.0.0.1:0"}, ""),
        ({"server.external_url": "https://n.example.com/nexusd/"}, "https://n.example.com/nexusd"),
    ],
)
def test_links_lead_to_the_listen_address_by_default(
    server: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here.example")
    assert load(None, server, KEY).server.public_url == url


@pytest.mark.parametrize("listen", [":9650", "0.0.0.0:9650", "[::]:9650", "10.0.0.1:1"])
def test_listening_to_others_without_a_write_token_is_warned_of(listen: str) -> None:
    found = other_warnings(load(None, {"server.listen": listen}, KEY))
    assert len(found) == 1
    assert "server.write_token" in found[0]
    assert other_warnings(load(None, {"server.listen": listen, "server.write_token": "t"}, KEY)) == []


@pytest.mark.parametrize("listen", ["127.0.0.1:9650", "localhost:0", "[::1]:1"])
def test_listening_to_loopback_is_not_warned_of(listen: str) -> None:
    assert other_warnings(load(None, {"server.listen": listen}, KEY)) == []


def test_an_external_url_without_a_write_token_is_warned_of() -> None:
    url = {"server.external_url": "https://ops.example.com/nexusd/"}
    found = other_warnings(load(None, url, KEY))
    assert len(found) == 1
    assert "server.external_url: is set without server.write_token" in found[0]
    assert other_warnings(load(None, url | {"server.write_token": "t"}, KEY)) == []
    assert other_warnings(load(None, {"server.external_url": "http://localhost:9650"}, KEY)) == []


def test_a_key_that_a_rule_makes_no_use_of_is_warned_of(write: Write) -> None:
    path = write("alerts: {rules: {RegionUnhealthy: {threshold: 5s}, NoEligibleRegion: {where: 'true'}}}")
    assert other_warnings(load(path, {}, KEY)) == [
        "alerts.rules.RegionUnhealthy.threshold: has no effect on this rule",
        "alerts.rules.NoEligibleRegion.where: has no effect on this rule",
    ]


# The example and the reference


def test_the_example_configuration_is_right(tmp_path: Path) -> None:
    text = (ROOT / "config" / "nexusd.yaml").read_text().replace("/etc/nexusd/", f"{tmp_path}/")
    for name in ("api-key", "ops-secret", "write-token"):
        (tmp_path / name).write_text("a-secret\n")
    path = tmp_path / "nexusd.yaml"
    path.write_text(text)
    assert other_warnings(load(path, {}, {})) == []


def test_every_commented_out_key_of_the_example_is_right(tmp_path: Path) -> None:
    lines = []
    for line in (ROOT / "config" / "nexusd.yaml").read_text().splitlines()[8:]:
        bare = line.lstrip(" ")
        indent = line[: len(line) - len(bare)]
        begins_key = bare.startswith("# ") and (":" in bare or bare.startswith("#   -"))
        lines.append(
            indent + bare[2:]
            if begins_key and not bare.startswith(("# Default", "# Accepted", "# Alertm", "# Which"))
            else line
        )
    for name in (
        "api-key",
        "ops-secret",
        "ops-token",
        "write-token",
        "read-token",
        "tls.crt",
        "tls.key",
        "chat-url",
        "ca.pem",
        "ops-ca.pem",
    ):
        (tmp_path / name).write_text(f"secret-{name}\n")
    path = tmp_path / "nexusd.yaml"
    path.write_text("\n".join(lines).replace("/etc/nexusd/", f"{tmp_path}/"))
    settings = load(path, {}, {})
    assert settings.fleets
    assert settings.routes
    assert settings.placement.refusals
    assert settings.server.tls is not None


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generate_configuration", ROOT / "docs/generate_configuration.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_key() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    again = "run python docs/generate_configuration.py"
    assert _generator().generated(page) == page, again


def test_a_rule_of_ones_own_is_judged_after_the_built_in_ones(write: Write) -> None:
    text = """alerts:
  custom:
    - name: SlowAndFull
      each: region
      when: region.latency_ms > 100.0 && !region.capacity
      where: region.slug.startsWith("eu-")
      for: 2m
      keep_firing_for: 1m
      severity: page
      labels: {team: infra}
      annotations: {summary: look at it}
"""
    rule = parts.alerting(load(write(text), {}, KEY)).rules[-1]
    assert (rule.name, rule.severity, rule.for_s, rule.keep_firing_for_s) == ("SlowAndFull", "page", 120, 60)
    assert (rule.labels, rule.annotations) == ((("team", "infra"),), (("summary", "look at it"),))
    assert rule.condition.subject_label == "region"
    assert rule.where is not None
    assert rule.where(Region("eu-west-2"))
    assert not rule.where(Region("us-east-1"))


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("NEXUSD_POLING", "NEXUSD_POLLING"),
        ("NEXUSD_FLEET", "NEXUSD_FLEETS"),
        ("NEXUSD_POLLING_INSTANCE", "NEXUSD_POLLING__INSTANCES"),
        ("NEXUSD_CLOUDNEXUS_KEY", "NEXUSD_CLOUDNEXUS__API_KEY"),
    ],
)
def test_a_slip_in_a_variable_is_told(name: str, right: str) -> None:
    assert complaint(None, KEY | {name: "x"}) == f"environment {name}: not a key, did you mean {right}?"


def test_a_default_file_that_may_not_be_looked_at_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hidden(type(tmp_path)):  # type: ignore[misc]
        def exists(self) -> bool:
            raise PermissionError(13, "Permission denied")

        def open(self, *_: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(loading, "DEFAULT_FILE", Hidden("/etc/nexusd/nexusd.yaml"))
    assert complaint(None, KEY) == "/etc/nexusd/nexusd.yaml: cannot be read: Permission denied"


def test_the_current_folder_is_not_needed_where_the_store_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    url = "sqlite:////var/lib/nexusd/nexusd.db"
    assert load(None, {"store.url": url}, KEY).store.url.get_secret_value() == url


@pytest.mark.parametrize(
    "text", ["127.0..1:9650", f"{'a' * 64}.example:9650", "[::1:9650", "a b:1", ":65536"]
)
def test_an_address_that_can_be_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an address and port"):
        split_address(text)


@pytest.mark.parametrize(
    "url", ["https://xn--/v1", "https://a..b/v1", f"https://{'a' * 64}/v1", "https://h:99999"]
)
def test_a_url_whose_host_can_be_none_is_refused(url: str) -> None:
    said = complaint(None, KEY | {"NEXUSD_CLOUDNEXUS__BASE_URL": url})
    assert "cloudnexus.base_url: expected a URL such as https://host/path" in said


@pytest.mark.parametrize(
    "host", ["localhost", "10.0.0.1", "[::1]", "münchen.example", "a_b.internal", "host.", "xn--strae-oqa.de"]
)
def test_other_hosts_are_taken(host: str) -> None:
    url = f"https://{host}:8443/v1"
    assert load(None, {}, KEY | {"NEXUSD_CLOUDNEXUS__BASE_URL": url}).cloudnexus.base_url == url


def test_a_path_with_a_null_character_is_an_error(write: Write) -> None:
    path = write('cloudnexus: {api_key: k}\nserver: {tls: {cert_file: "a\\0b", key_file: "a\\0b"}}')
    assert "cannot be read: embedded null byte" in complaint(path, {})


STORE_URLS = [
    ("postgresql://u:p#s/s?@db/nexusd", "postgresql://u:**********@db/nexusd"),
    ("postgresql://u:12#4secret@db/nexusd", "postgresql://u:**********@db/nexusd"),
    ("postgresql://postgres@/nexusd?host=/run/pg", "postgresql://postgres@/nexusd?**********"),
    ("postgresql://h1/d?host=h1:5432&host=h2:5433", "postgresql://h1/d?**********"),
    ("postgresql://me@[fe80::1%25eth0]:5433/d", "postgresql://me@[fe80::1%25eth0]:5433/d"),
    ("sqlite:////var/lib/nexusd/nexusd.db", "sqlite:////var/lib/nexusd/nexusd.db"),
]


@pytest.mark.parametrize(("url", "shown"), STORE_URLS)
def test_a_store_is_shown_without_what_is_secret_however_it_is_written(
    write: Write, url: str, shown: str
) -> None:
    loaded = load_with_origins(write(f"cloudnexus: {{api_key: k}}\nstore: {{url: '{url}'}}"), {}, {})
    assert loaded.settings.store.url.get_secret_value() == url
    assert f"url: {shown}" in as_yaml(loaded).replace("'", "")


@pytest.mark.parametrize("url", ["postgresql://u@h:x/d", "postgresql://u@[h/d", "postgresql://u@a..b/d"])
def test_a_store_that_can_be_none_is_refused(url: str) -> None:
    said = complaint(None, KEY | {"NEXUSD_STORE__URL": url})
    assert "store.url: expected postgresql://user@host/database" in said
