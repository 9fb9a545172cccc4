"""From the configuration of receivers to the options of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nexusd.core.errors import ConfigError
from nexusd.delivery.heartbeat import HeartbeatOptions
from nexusd.delivery.http import HttpOptions
from nexusd.delivery.tls import TlsFiles
from nexusd.delivery.webhook import WebhookOptions
from nexusd.settings import load
from nexusd.settings.receiving import delivery_options, outbox_names, receiver_names, routing

KEY = {"CN_API_KEY": "key-1"}
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_one(text: str) -> Path:
        path = tmp_path / "nexusd.yaml"
        path.write_text(text)
        return path

    return write_one


def complaint(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        load(path, {}, KEY)
    return str(raised.value)


def test_every_option_of_a_webhook_arrives(write: Write, tmp_path: Path) -> None:
    for name in ("ca.pem", "our.pem", "our.key"):
        (tmp_path / name).touch()
    path = write("""
receivers:
  - name: ops
    type: webhook
    url: https://hooks.example.com/x
    secret: [new, old]
    timeout: 3s
    send_resolved: false
    max_alerts: 7
    headers: {X-Team: infra}
    authorization: {type: Basic, username: joe, password: hunter2}
    tls: {ca_file: ca.pem, cert_file: our.pem, key_file: our.key}
    networks: [10.20.0.0/16, "fd00::/8"]
server: {external_url: "https://nexusd.example.com/"}
""")
    settings = load(path, {}, KEY)
    options = delivery_options(settings)
    assert options.webhooks == (
        WebhookOptions(
            "ops",
            HttpOptions(
                "https://hooks.example.com/x",
                {"X-Team": "infra"},
                "Basic am9lOmh1bnRlcjI=",
                3.0,
                ("10.20.0.0/16", "fd00::/8"),
                TlsFiles(tmp_path / "ca.pem", tmp_path / "our.pem", tmp_path / "our.key"),
            ),
            ("new", "old"),
        ),
    )
    assert options.bodies["ops"].max_alerts == 7
    assert options.bodies["ops"].external_url == "https://nexusd.example.com"
    assert routing(settings).receivers == {"ops": False}
    assert outbox_names(settings) == ("ops",)


def test_every_option_of_a_heartbeat_arrives(write: Write) -> None:
    path = write("""
receivers:
  - {name: pulse, type: heartbeat, url: "https://hc.example.com/x", method: POST, interval: 30s, timeout: 5s}
""")
    settings = load(path, {}, KEY)
    http = HttpOptions("https://hc.example.com/x", timeout_s=5.0)
    assert delivery_options(settings).heartbeats == (HeartbeatOptions("pulse", http, "POST", 30.0),)
    assert routing(settings).receivers == {}
    assert (outbox_names(settings), receiver_names(settings)) == ((), ("pulse",))


def test_a_heartbeat_takes_no_route(write: Write) -> None:
    receivers = "receivers: [{name: pulse, type: heartbeat, url: 'https://x.example'}]"
    said = complaint(write(f"{receivers}\nroutes: [{{receivers: [pulse]}}]"))
    assert "routes[0].receivers[0]: 'pulse' is a heartbeat" in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("networks: [10.0.0.1/8]", "receivers[0].networks[0]: expected a network such as 10.20.0.0/16"),
        ("networks: [home]", "receivers[0].networks[0]: expected a network"),
        ("tls: {ca_file: nowhere.pem}", "nowhere.pem cannot be read: No such file or directory"),
        ("tls: {key_file: nexusd.yaml}", "receivers[0].tls.key_file: goes with cert_file"),
        ("tls: {insecure: true}", "receivers[0].tls.insecure: unknown key"),
    ],
)
def test_what_cannot_be_used_is_named(more: str, said: str, write: Write) -> None:
    text = f"receivers: [{{name: a, type: webhook, url: 'https://x.example', {more}}}]"
    assert said in complaint(write(text))
