"""The webhook's body: Alertmanager's JSON, version 4."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace as altered

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.notifications import Message
from nexusd.core.webhook_body import BodyOptions, rfc3339, webhook_body

T0 = 1_700_000_000.25


def alert(region: str, state: AlertState = AlertState.FIRING) -> Alert:
    labels = (("alertname", "RegionUnhealthy"), ("region", region), ("severity", "warning"))
    annotations = (("runbook_url", "https://example.com/r"), ("summary", f"Region {region} is degraded"))
    resolved_at = T0 + 60.0 if state is AlertState.RESOLVED else None
    return Alert(fingerprint(labels), labels, annotations, state, T0 - 120.0, T0, resolved_at)


def body(*alerts: Alert, max_alerts: int = 0, utc_offset_s: float = 0.0) -> dict[str, Any]:
    key = '{}:{alertname="RegionUnhealthy"}'
    message = Message("ops", key, (("alertname", "RegionUnhealthy"),), alerts)
    rendered = webhook_body(message, BodyOptions("https://nexusd.example.com", max_alerts), utc_offset_s)
    parsed: dict[str, Any] = json.loads(rendered)
    return parsed


def test_a_firing_alert_is_written_as_alertmanager_does() -> None:
    labels = {"alertname": "RegionUnhealthy", "region": "eu-west-2", "severity": "warning"}
    annotations = {"runbook_url": "https://example.com/r", "summary": "Region eu-west-2 is degraded"}
    assert body(alert("eu-west-2")) == {
        "version": "4",
        "groupKey": '{}:{alertname="RegionUnhealthy"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "ops",
        "groupLabels": {"alertname": "RegionUnhealthy"},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "https://nexusd.example.com",
        "alerts": [
            {
                "status": "firing",
                "labels": labels,
                "annotations": annotations,
                "startsAt": "2023-11-14T22:13:20.250000Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://nexusd.example.com",
                "fingerprint": fingerprint(labels.items()),
            }
        ],
    }


def test_an_ended_alert_says_when_it_ended() -> None:
    (shown,) = body(alert("eu", AlertState.RESOLVED))["alerts"]
    assert (shown["status"], shown["endsAt"]) == ("resolved", "2023-11-14T22:14:20.250000Z")


def test_the_whole_is_resolved_only_when_all_of_it_is() -> None:
    gone = alert("eu", AlertState.RESOLVED)
    assert body(gone)["status"] == "resolved"
    assert body(gone, alert("us"))["status"] == "firing"


def test_an_alert_that_is_pending_again_is_shown_as_ended() -> None:
    again = altered(alert("eu", AlertState.RESOLVED), state=AlertState.PENDING)
    assert body(again)["status"] == "resolved"


def test_common_is_what_all_alerts_share() -> None:
    found = body(alert("eu"), alert("us"))
    assert found["commonLabels"] == {"alertname": "RegionUnhealthy", "severity": "warning"}
    assert found["commonAnnotations"] == {"runbook_url": "https://example.com/r"}


def test_too_many_alerts_are_cut_and_counted() -> None:
    found = body(alert("a"), alert("b"), alert("c"), max_alerts=2)
    assert (len(found["alerts"]), found["truncatedAlerts"]) == (2, 1)


def test_times_are_moved_by_what_the_wall_clock_was_stepped() -> None:
    (shown,) = body(alert("eu"), utc_offset_s=3600.0)["alerts"]
    assert shown["startsAt"] == "2023-11-14T23:13:20.250000Z"


def test_a_whole_second_has_no_fraction() -> None:
    assert rfc3339(1_700_000_000.0) == "2023-11-14T22:13:20Z"
