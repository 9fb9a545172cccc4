"""The body of a webhook: Alertmanager's JSON, version 4 (Alertmanager: Configuration, webhook_config)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from nexusd.core.alerts import Alert, AlertState
from nexusd.core.notifications import Message

NOT_ENDED = "0001-01-01T00:00:00Z"
"""`endsAt` while an alert fires: Go's zero time."""


class _Alert(msgspec.Struct, rename="camel"):
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str
    generator_url: str = msgspec.field(name="generatorURL")
    fingerprint: str


class _Body(msgspec.Struct, rename="camel"):
    receiver: str
    status: str
    alerts: list[_Alert]
    group_labels: dict[str, str]
    common_labels: dict[str, str]
    common_annotations: dict[str, str]
    external_url: str = msgspec.field(name="externalURL")
    version: str
    group_key: str
    truncated_alerts: int


@dataclass(frozen=True, slots=True)
class BodyOptions:
    """`external_url`: where people reach this nexusd. `max_alerts` 0: no limit."""

    external_url: str = ""
    max_alerts: int = 0


def webhook_body(message: Message, options: BodyOptions, utc_offset_s: float) -> bytes:
    """JSON, UTF-8. Instants are shown in UTC, moved by `utc_offset_s` (see `ports.Clock`)."""
    limit = options.max_alerts or len(message.alerts)
    alerts = [_alert(a, options.external_url, utc_offset_s) for a in message.alerts[:limit]]
    firing = any(a.status == AlertState.FIRING for a in alerts)
    body = _Body(
        receiver=message.receiver,
        status=(AlertState.FIRING if firing else AlertState.RESOLVED).value,
        alerts=alerts,
        group_labels=dict(message.group_labels),
        common_labels=_common(a.labels for a in alerts),
        common_annotations=_common(a.annotations for a in alerts),
        external_url=options.external_url,
        version="4",
        group_key=message.group_key,
        truncated_alerts=len(message.alerts) - len(alerts),
    )
    return msgspec.json.encode(body)


@lru_cache(1024)
def rfc3339(instant: float) -> str:
    """UTC with a Z, to the microsecond, without a fraction that is zero."""
    return datetime.fromtimestamp(instant, UTC).replace(tzinfo=None).isoformat() + "Z"


def _alert(alert: Alert, external_url: str, utc_offset_s: float) -> _Alert:
    """A pending alert in a message is one that fired before and is told to have ended."""
    starts_at = alert.fired_at if alert.fired_at is not None else alert.active_at
    status, ends_at = AlertState.FIRING, NOT_ENDED
    if alert.ended and alert.resolved_at is not None:
        status, ends_at = AlertState.RESOLVED, rfc3339(alert.resolved_at + utc_offset_s)
    return _Alert(
        status=status.value,
        labels=dict(alert.labels),
        annotations=dict(alert.annotations),
        starts_at=rfc3339(starts_at + utc_offset_s),
        ends_at=ends_at,
        generator_url=external_url,
        fingerprint=alert.fingerprint,
    )


def _common(maps: Iterable[dict[str, str]]) -> dict[str, str]:
    """The pairs that all of them have."""
    every = iter(maps)
    common = set(next(every, {}).items())
    for one in every:
        common &= one.items()
        if not common:
            break
    return dict(sorted(common))
