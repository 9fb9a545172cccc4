"""Alerts, and what each receiver was last told (`ports.AlertsTable`, `ports.NotificationLogTable`)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from nexusd.core.alerts import Alert, AlertState
from nexusd.ports import LoggedNotification
from nexusd.store.schema import alerts, notification_log
from nexusd.store.statements import Row, Session, Upsert, Values, given

_ALERT = tuple(column.name for column in alerts.columns)
_ENTRY = tuple(column.name for column in notification_log.columns)

_LOAD = sa.select(alerts).order_by(alerts.c.fingerprint)
_SAVE = Upsert(alerts, _ALERT, _ALERT[1:])
_REMOVE = sa.delete(alerts).where(alerts.c.fingerprint == given("which", sa.Text))

_LOAD_LOG = sa.select(notification_log).order_by(notification_log.c.receiver, notification_log.c.group_key)
_SAVE_LOG = Upsert(notification_log, _ENTRY, _ENTRY[2:])
_REMOVE_LOG = sa.delete(notification_log).where(
    notification_log.c.receiver == given("to", sa.Text),
    notification_log.c.group_key == given("which", sa.Text),
)

_PAIRS = msgspec.json.Decoder(tuple[tuple[str, str], ...])
_INSTANTS = msgspec.json.Decoder(tuple[float, ...])
_FINGERPRINTS = msgspec.json.Decoder(frozenset[str])


class Alerts:
    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self) -> list[Alert]:
        return [_alert(row) for row in self._session.rows(_LOAD)]

    def save(self, alerts: Iterable[Alert]) -> None:
        self._session.many(_SAVE, (_alert_values(alert) for alert in alerts))

    def remove(self, fingerprints: Iterable[str]) -> None:
        self._session.many(_REMOVE, ({"which": fingerprint} for fingerprint in fingerprints))


class NotificationLog:
    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self) -> list[LoggedNotification]:
        return [
            LoggedNotification(
                receiver, group_key, at, _FINGERPRINTS.decode(firing), _FINGERPRINTS.decode(resolved)
            )
            for receiver, group_key, at, firing, resolved in self._session.rows(_LOAD_LOG)
        ]

    def save(self, entries: Iterable[LoggedNotification]) -> None:
        self._session.many(_SAVE_LOG, (_entry_values(entry) for entry in entries))

    def remove(self, keys: Iterable[tuple[str, str]]) -> None:
        self._session.many(_REMOVE_LOG, ({"to": receiver, "which": key} for receiver, key in keys))


def _alert(row: Row) -> Alert:
    values = dict(zip(_ALERT, row, strict=True))
    return Alert(
        fingerprint=values["fingerprint"],
        labels=_PAIRS.decode(values["labels"]),
        annotations=_PAIRS.decode(values["annotations"]),
        state=AlertState(values["state"]),
        active_at=values["active_at"],
        fired_at=values["fired_at"],
        resolved_at=values["resolved_at"],
        keep_firing_since=values["keep_firing_since"],
        expired=bool(values["expired"]),
        settled=bool(values["settled"]),
        changes=_INSTANTS.decode(values["changes"]),
        flapping_since=values["flapping_since"],
    )


def _alert_values(alert: Alert) -> Values:
    return {
        "fingerprint": alert.fingerprint,
        "labels": msgspec.json.encode(alert.labels).decode(),
        "annotations": msgspec.json.encode(alert.annotations).decode(),
        "state": alert.state.value,
        "active_at": alert.active_at,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
        "keep_firing_since": alert.keep_firing_since,
        "expired": alert.expired,
        "settled": alert.settled,
        "changes": msgspec.json.encode(alert.changes).decode(),
        "flapping_since": alert.flapping_since,
    }


def _entry_values(entry: LoggedNotification) -> Values:
    return {
        "receiver": entry.receiver,
        "group_key": entry.group_key,
        "at": entry.at,
        "firing": msgspec.json.encode(sorted(entry.firing)).decode(),
        "resolved": msgspec.json.encode(sorted(entry.resolved)).decode(),
    }
