"""From the configuration of receivers to the options of each."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace as altered

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.errors import ConfigError
from nexusd.core.notifications import LoggedNotification, LogKey, Routing
from nexusd.core.planning import plan
from nexusd.delivery.alertmanager import AlertmanagerOptions
from nexusd.delivery.apprise import AppriseOptions
from nexusd.delivery.heartbeat import HeartbeatOptions
from nexusd.delivery.http import HttpOptions
from nexusd.delivery.tls import TlsFiles
from nexusd.delivery.webhook import WebhookOptions
from nexusd.settings import load
from nexusd.settings.receiving import delivery_options, outbox_names, receiver_names, routing
from nexusd.web.alertmanager_config import written
from tests.requirements import need_program

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


def test_every_option_of_an_alertmanager_arrives(write: Write) -> None:
    path = write("""
receivers:
  - name: am
    type: alertmanager
    urls: ["http://am-1:9093", "http://am-2:9093/x"]
    timeout: 5s
    send_resolved: false
server: {external_url: "https://nexusd.example.com"}
""")
    settings = load(path, {}, KEY)
    targets = HttpOptions("http://am-1:9093", timeout_s=5.0), HttpOptions("http://am-2:9093/x", timeout_s=5.0)
    expected = AlertmanagerOptions("am", targets, False, "https://nexusd.example.com")
    assert delivery_options(settings).alertmanagers == (expected,)
    assert routing(settings).receivers == {"am": False}
    assert outbox_names(settings) == ("am", "am/2")


AM_AND_OPS = """
receivers:
  - {name: am, type: alertmanager, urls: ["http://am:9093"]}
  - {name: ops, type: webhook, url: "https://hooks.example.com/x"}
"""


def told(routes: Routing, *alerts: Alert, at: float = 1000.0) -> list[tuple[str, int]]:
    """Who is told how many alerts in each message, so long after they fired."""
    messages = plan(alerts, routes, {}, at).messages
    return [(m.receiver, len(m.alerts)) for m in messages]


def alert(alertname: str, severity: str = "warning", **labels: str) -> Alert:
    pairs = tuple(sorted({"alertname": alertname, "severity": severity, **labels}.items()))
    return Alert(fingerprint(pairs), pairs, (), AlertState.FIRING, 1000.0, 1000.0)


PAIR = alert("InstanceStopped", instance_id="a"), alert("InstanceStopped", instance_id="b")


def test_an_alertmanager_is_told_each_alert_at_once_and_others_the_group(write: Write) -> None:
    routes = routing(load(write(AM_AND_OPS), {}, KEY))
    assert told(routes, *PAIR) == [("am", 1), ("am", 1)]
    assert sorted(told(routes, *PAIR, at=1010.0)) == [("am", 1), ("am", 1), ("ops", 2)]
    assert told(routes, alert("Watchdog", "none"), at=1010.0) == []


def test_an_alertmanager_is_not_told_twice_and_hears_of_an_end_at_once(write: Write) -> None:
    routes = routing(load(write(AM_AND_OPS), {}, KEY))
    first = plan(PAIR, routes, {}, 1010.0)
    said = {(entry.receiver, entry.group_key): entry for entry in first.log}
    assert told_later(routes, said, *PAIR, at=1e6) == ["ops"]
    over = altered(PAIR[0], state=AlertState.RESOLVED, resolved_at=1020.0)
    assert told_later(routes, said, over, PAIR[1], at=1020.0) == ["am"]


def told_later(
    routes: Routing, said: dict[LogKey, LoggedNotification], *alerts: Alert, at: float
) -> list[str]:
    return [m.receiver for m in plan(alerts, routes, said, at).messages]


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ("[{receivers: [am, ops]}]", ["am", "ops"]),
        ("[{receivers: [am]}, {receivers: [ops]}]", ["am"]),
        ("[{receivers: [am], continue: true}, {receivers: [ops]}]", ["am", "ops"]),
        ("[{receivers: [ops]}, {receivers: [am]}]", ["ops"]),
        ("[{receivers: [ops, am], continue: true}, {receivers: [am]}]", ["am", "ops"]),
        ("[{matchers: ['severity=critical'], receivers: [am, ops]}]", []),
    ],
)
def test_routes_lead_to_an_alertmanager_as_to_any_other(
    routes: str, expected: list[str], write: Write
) -> None:
    found = routing(load(write(f"{AM_AND_OPS}routes: {routes}"), {}, KEY))
    assert sorted(name for name, _ in told(found, PAIR[0], at=1010.0)) == expected


def test_every_option_of_apprise_arrives_and_its_urls_may_be_in_files(write: Write, tmp_path: Path) -> None:
    (tmp_path / "chat-url").write_text("json://x.example/s3cret\n")
    path = write("""
receivers:
  - {name: chat, type: apprise, urls: ["json://x.example", "json://y.example"], timeout: 5s}
  - {name: room, type: apprise, urls_file: chat-url, send_resolved: false}
""")
    settings = load(path, {}, KEY)
    assert delivery_options(settings).apprise == (
        AppriseOptions("chat", ("json://x.example", "json://y.example"), 5.0),
        AppriseOptions("room", ("json://x.example/s3cret",)),
    )
    assert routing(settings).receivers == {"chat": True, "room": False}
    assert outbox_names(settings) == ("chat", "chat/2", "room")


@pytest.mark.parametrize("kind", ["apprise", "alertmanager"])
def test_urls_are_needed(kind: str, write: Write) -> None:
    said = complaint(write(f"receivers: [{{name: a, type: {kind}}}]"))
    assert "receivers[0].urls: is missing (or urls_file)" in said


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


def test_alertmanagers_own_tool_takes_the_routing(write: Write, tmp_path: Path) -> None:
    """As `/api/v2/status` tells it, which `amtool` and Grafana read."""
    config = tmp_path / "alertmanager.yml"
    config.write_text(written(routing(load(write(AM_AND_OPS), {}, KEY))))
    command = [need_program("amtool"), "check-config", str(config)]
    checked = subprocess.run(command, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
