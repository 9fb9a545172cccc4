"""A notification as people read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as altered

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.message_text import MOST_ALERTS, message_text
from nexusd.core.notifications import Message
from nexusd.core.webhook_body import BodyOptions, webhook_body

NOW = 1_700_000_000.0


def alert(alertname: str = "InstanceStopped", severity: str = "warning", **labels: str) -> Alert:
    pairs = tuple(sorted({"alertname": alertname, "severity": severity, **labels}.items()))
    about = labels.get("name", "it")
    annotations = ("description", "Somebody stopped it."), ("summary", f"Instance {about} is stopped")
    return Alert(fingerprint(pairs), pairs, annotations, AlertState.FIRING, NOW, NOW)


def ended(one: Alert) -> Alert:
    return altered(one, state=AlertState.RESOLVED, resolved_at=NOW + 60.0)


def body(*alerts: Alert, **options: object) -> bytes:
    message = Message("chat", "g", (("alertname", alerts[0].name),), alerts)
    return webhook_body(message, BodyOptions(**options), 0.0)  # type: ignore[arg-type]


def test_it_says_what_fires_and_what_has_ended() -> None:
    text = message_text(
        body(
            alert(name="web-1", region="eu-west-2"),
            ended(alert(name="web-2", region="eu-west-2")),
            external_url="https://nexusd.example.com",
        )
    )
    assert text.title == "[FIRING:1] InstanceStopped (eu-west-2 warning)"
    assert text.body == (
        "Firing:\n"
        "- Instance web-1 is stopped\n"
        "  Somebody stopped it.\n"
        "Resolved:\n"
        "- Instance web-2 is stopped\n"
        "  Somebody stopped it.\n"
        "\n"
        "https://nexusd.example.com"
    )
    assert text.severity == "warning"


def test_when_all_has_ended_there_is_no_severity() -> None:
    text = message_text(body(ended(alert(name="web-1"))))
    assert (text.title, text.severity) == ("[RESOLVED] InstanceStopped (web-1 warning)", "")


@pytest.mark.parametrize(
    ("severities", "gravest"),
    [
        (["info", "warning", "critical"], "critical"),
        (["page", "warning"], "warning"),
        (["page", "info"], "info"),
    ],
)
def test_the_severity_is_the_gravest_of_what_fires(severities: list[str], gravest: str) -> None:
    alerts = [alert(severity=severity, name=severity) for severity in severities]
    assert message_text(body(*alerts, ended(alert(severity="critical")))).severity == gravest


def test_many_alerts_are_counted_rather_than_told() -> None:
    text = message_text(body(*(alert(name=f"web-{n}") for n in range(MOST_ALERTS + 5))))
    assert text.title.startswith(f"[FIRING:{MOST_ALERTS + 5}]")
    assert text.body.count("- Instance") == MOST_ALERTS
    assert "… and 5 more" in text.body


def test_what_was_cut_from_the_message_is_counted() -> None:
    assert "… and 2 more" in message_text(body(*(alert(name=f"w{n}") for n in range(3)), max_alerts=1)).body


def test_an_alert_without_a_summary_is_named_by_its_labels() -> None:
    bare = altered(alert(name="web-1"), annotations=())
    assert "- InstanceStopped web-1 warning" in message_text(body(bare)).body


@given(st.text(min_size=1, max_size=2000))
def test_whatever_a_name_holds_stays_on_its_line_and_is_seen(name: str) -> None:
    text = message_text(body(alert(name=name)))
    assert len(text.body.splitlines()) == 3
    assert len(text.title.splitlines()) == 1
    assert all(c.isprintable() or c in "\n\u00a0" or c.isspace() for c in text.body)
    assert max(map(len, text.body.splitlines())) < 600


@pytest.mark.parametrize("junk", [b"", b"[]", b"\xff", b"{}", b'{"alerts": 7}'])
def test_a_body_that_is_no_notification_is_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match="not one of alerts"):
        message_text(junk)
