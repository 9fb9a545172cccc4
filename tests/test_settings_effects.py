"""Every key that is documented reaches a part: another value makes other options (docs/configuration.md)."""

from __future__ import annotations

import copy
import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexusd.core.rules import Condition
from nexusd.settings import load, parts, receiving
from nexusd.settings.model import Settings
from nexusd.settings.showing import reference

SECRETS = ("one", "two")
"""Files that hold a secret, and URLs."""
CUSTOM = {"name": "Mine", "each": "instance", "when": "instance.status == 'x'"}
WEBHOOK = {"name": "ops", "type": "webhook", "url": "https://hooks.example.com/a", "secret": "s"}
BASE: dict[str, Any] = {
    "cloudnexus": {"api_key": "key"},
    "fleets": [{"name": "web", "count": 1, "plan": "pro", "spread": {"group": "g"}}],
    "placement": {"refusals": [{"code": "A", "kind": "capacity", "scope": "region"}]},
    "alerts": {"rules": {"RegionLatencyHigh": {}, "InstanceStopped": {}}, "custom": [CUSTOM]},
    "receivers": [
        WEBHOOK,
        {"name": "am", "type": "alertmanager", "urls": ["https://am.example.com"]},
        {"name": "beat", "type": "heartbeat", "url": "https://beat.example.com/a"},
        {"name": "chat", "type": "apprise", "urls": ["json://localhost"]},
    ],
    "routes": [{"receivers": ["ops"]}],
    "server": {"tls": {"cert_file": "one", "key_file": "one"}},
}
RECEIVERS = {"type": 0, "urls": 1, "urls_file": 1, "method": 2, "interval": 2}
"""Of which receiver a key is, where it is not the first's."""
VALUES: dict[str, Any] = {
    "cloudnexus.base_url": "https://other.example.com",
    "cloudnexus.proxy": "http://proxy.example.com:3128",
    "cloudnexus.timeout": "7s",
    "cloudnexus.max_concurrent_requests": 3,
    "cloudnexus.max_requests_per_second": 3,
    "polling.regions": "7s",
    "polling.instances": "7s",
    "placement.max_creates_per_minute": 7,
    "placement.settle": "7s",
    "placement.provisioning_timeout": "7s",
    "placement.hold_after": "7s",
    "placement.max_data_age": "7s",
    "placement.smoothing": "7s",
    "placement.switch_margin": "7ms",
    "placement.max_per_region": 7,
    "placement.max_instances": 7,
    "placement.max_instances_per_plan": 7,
    "placement.refusals[].status": 418,
    "placement.refusals[].code": "B",
    "placement.refusals[].kind": "quota",
    "placement.refusals[].scope": "account",
    "fleets[].name": "db",
    "fleets[].count": 7,
    "fleets[].plan": "starter",
    "fleets[].image": "debian-12",
    "fleets[].ssh_keys": ["k"],
    "fleets[].regions": ["r"],
    "fleets[].avoid_regions": ["r"],
    "fleets[].where": "region.latency_ms < 7.0",
    "fleets[].spread.group": "h",
    "fleets[].spread.max_skew": 7,
    "fleets[].replace_stopped": True,
    "fleets[].max_replacements": 7,
    "alerts.rules.<Name>.enabled": False,
    "alerts.rules.<Name>.for": "7s",
    "alerts.rules.<Name>.keep_firing_for": "7s",
    "alerts.rules.<Name>.severity": "page",
    "alerts.rules.<Name>.threshold": "7ms",
    "alerts.rules.<Name>.where": "region.latency_ms < 7.0",
    "alerts.rules.<Name>.labels": {"team": "a"},
    "alerts.rules.<Name>.annotations": {"summary": "a"},
    "alerts.custom[].name": "Yours",
    "alerts.custom[].each": "region",
    "alerts.custom[].when": "instance.status == 'y'",
    "alerts.custom[].where": "instance.status != 'z'",
    "alerts.custom[].enabled": False,
    "alerts.custom[].for": "7s",
    "alerts.custom[].keep_firing_for": "7s",
    "alerts.custom[].severity": "page",
    "alerts.custom[].labels": {"team": "a"},
    "alerts.custom[].annotations": {"summary": "a"},
    "receivers[].name": "other",
    "receivers[].timeout": "7s",
    "receivers[].headers": {"X-Team": "a"},
    "receivers[].networks": ["10.0.0.0/8"],
    "receivers[].send_resolved": False,
    "receivers[].url": "https://hooks.example.com/b",
    "receivers[].secret": ["s", "t"],
    "receivers[].max_alerts": 7,
    "receivers[].urls": ["https://am.example.com", "https://b.example.com"],
    "receivers[].method": "POST",
    "receivers[].interval": "7s",
    "routes[].matchers": ['severity="critical"'],
    "routes[].receivers": ["am"],
    "routes[].group_by": ["region"],
    "routes[].group_wait": "7s",
    "routes[].group_interval": "7s",
    "routes[].repeat_interval": "7s",
    "routes[].continue": True,
    "server.listen": "127.0.0.1:7",
    "server.write_token": "w",
    "server.read_token": "r",
    "server.tls.cert_file": "two",
    "server.tls.key_file": "two",
    "server.tls.client_ca_file": "two",
    "server.external_url": "https://nexusd.example.com",
    "server.shutdown_timeout": "7s",
    "store.url": "sqlite:////tmp/other.db",
    "log.level": "debug",
    "log.format": "json",
    "history.retention": "7d",
    "metrics.per_instance": True,
    "metrics.max_instances": 7,
}
CHANGES: dict[str, dict[str, Any]] = {
    **{key: {key: value} for key, value in VALUES.items()},
    "cloudnexus.api_key": {"cloudnexus.api_key": "other"},
    "cloudnexus.api_key_file": {"cloudnexus.api_key_file": "one", "cloudnexus.api_key": None},
    "cloudnexus.proxy_file": {"cloudnexus.proxy_file": "proxy"},
    "cloudnexus.ca_file": {"cloudnexus.ca_file": "one"},
    "alerts.rules.<Name>.resolve_after": {"alerts.rules.InstanceStopped.resolve_after": "7s"},
    "alerts.custom[].each": {"alerts.custom[].each": "region", "alerts.custom[].when": "region.capacity"},
    "receivers[].name": {"receivers[].name": "other", "routes[].receivers": ["other"]},
    "receivers[].authorization.type": {
        "receivers[].authorization": {"type": "Basic", "username": "a", "password": "b"}
    },
    "receivers[].authorization.credentials": {"receivers[].authorization": {"credentials": "a"}},
    "receivers[].authorization.credentials_file": {"receivers[].authorization": {"credentials_file": "one"}},
    "receivers[].authorization.username": {
        "receivers[].authorization": {"type": "Basic", "username": "c", "password": "b"}
    },
    "receivers[].authorization.password": {
        "receivers[].authorization": {"type": "Basic", "username": "a", "password": "c"}
    },
    "receivers[].authorization.password_file": {
        "receivers[].authorization": {"type": "Basic", "username": "a", "password_file": "one"}
    },
    "receivers[].tls.ca_file": {"receivers[].tls": {"ca_file": "one"}},
    "receivers[].tls.cert_file": {"receivers[].tls": {"cert_file": "one"}},
    "receivers[].tls.key_file": {"receivers[].tls": {"cert_file": "one", "key_file": "two"}},
    "receivers[].type": {
        "receivers[].type": "heartbeat",
        "receivers[].secret": None,
        "routes[].receivers": ["am"],
    },
    "receivers[].url_file": {"receivers[].url_file": "two", "receivers[].url": None},
    "receivers[].secret_file": {"receivers[].secret_file": "one", "receivers[].secret": None},
    "receivers[].urls_file": {"receivers[].urls_file": "two", "receivers[].urls": None},
    "server.write_token_file": {"server.write_token_file": "one"},
    "server.read_token_file": {"server.read_token_file": "one"},
}
KEYS = re.findall(r"^\| `([^`]+)` \|", reference(), re.MULTILINE)


def test_the_cases_are_all_the_keys() -> None:
    assert sorted(CHANGES) == sorted(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_has_an_effect(key: str, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one")
    (tmp_path / "two").write_text("https://files.example.com/two")
    (tmp_path / "proxy").write_text("http://files.example.com:3128")
    changed = copy.deepcopy(BASE)
    for path, value in CHANGES[key].items():
        put(changed, path, value)
    assert effects(tmp_path, changed) != effects(tmp_path, BASE)


def test_the_same_has_the_same_effects(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one")
    assert effects(tmp_path, copy.deepcopy(BASE)) == effects(tmp_path, BASE)


def put(content: dict[str, Any], path: str, value: Any) -> None:
    """`None` takes the key away."""
    *way, last = path.replace("<Name>", "RegionLatencyHigh").split(".")
    here: Any = content
    for step in way:
        name = step.removesuffix("[]")
        here = here.setdefault(name, [{}] if step != name else {})
        if step != name:
            here = here[RECEIVERS.get(last, 0) if name == "receivers" else 0]
    if value is None:
        here.pop(last, None)
    else:
        here[last] = value


def effects(folder: Path, content: dict[str, Any]) -> list[object]:
    """All that the parts are given. A compiled expression is equal to no other, so of it only that it is
    there, and of a condition its text.
    """
    (folder / "nexusd.yaml").write_text(yaml.safe_dump(content))
    settings = load(folder / "nexusd.yaml", {}, {})
    alerting = parts.alerting(settings)
    rules = [
        replace(rule, where=rule.where is not None, condition=told_of(rule.condition))  # type: ignore[arg-type]
        for rule in alerting.rules
    ]
    return [
        parts.key_source(settings).current(),
        parts.cloud_options(settings),
        parts.poll_timings(settings),
        parts.provisioning_options(settings),
        settings.placement.smoothing_s,
        parts.fleets(settings),
        rules,
        alerting.routing,
        parts.web_options(settings),
        receiving.delivery_options(settings),
        lasting(settings),
    ]


def told_of(condition: Condition) -> object:
    own = inspect.getclosurevars(condition.judge).nonlocals.get("own")
    return condition.subject_label, own.text if own is not None else None


def lasting(settings: Settings) -> list[object]:
    """What `app` and `engine` take as it is."""
    server = settings.server
    kept = settings.store.url.get_secret_value(), settings.log, settings.history
    return [*kept, server.address, server.shutdown_timeout_s]


@pytest.mark.parametrize(("timeout", "budget_s"), [("2s", 30.0), ("10s", 30.0), ("1m", 180.0)])
def test_a_long_timeout_leaves_time_for_more_than_one_try(timeout: str, budget_s: float) -> None:
    given = {"cloudnexus.api_key": "k", "cloudnexus.timeout": timeout}
    options = parts.cloud_options(load(Path("/dev/null"), given, {}))
    assert options.get_budget_s == budget_s >= options.timeout_s
