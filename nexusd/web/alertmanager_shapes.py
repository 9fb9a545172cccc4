"""What `/api/v2/` answers with: the forms of Alertmanager's OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nexusd.core.alerts import Alert
from nexusd.core.muting import Muted, Muting
from nexusd.core.silences import Silence
from nexusd.web import schemas_v2 as schemas
from nexusd.web.shapes import Shaper

RESOLVE_TIMEOUT_S = 300.0
"""An alert that fires has no end; what Alertmanager shows for one is when it would take it for over."""
_NOT_MUTED = Muted()


@dataclass(frozen=True, slots=True)
class AlertShaper:
    """`gettableAlert`. `muting`: what is told to nobody now."""

    shaper: Shaper
    muting: Muting
    external_url: str

    def alert(self, alert: Alert, receivers: Iterable[str]) -> schemas.GettableAlert:
        muted = self.muting.muted.get(alert.fingerprint, _NOT_MUTED)
        started_at = alert.fired_at if alert.fired_at is not None else alert.active_at
        return {
            "annotations": dict(alert.annotations),
            "endsAt": self.shaper.time(self.shaper.now + RESOLVE_TIMEOUT_S),
            "fingerprint": alert.fingerprint,
            "receivers": [{"name": name} for name in receivers],
            "startsAt": self.shaper.time(started_at),
            "status": {
                "inhibitedBy": muted.inhibited_by,
                "mutedBy": (),
                "silencedBy": muted.silenced_by,
                "state": "active" if muted == _NOT_MUTED else "suppressed",
            },
            "updatedAt": self.shaper.time(self.shaper.now),
            "generatorURL": self.external_url,
            "labels": dict(alert.labels),
        }


def silence_shape(silence: Silence, shaper: Shaper) -> schemas.GettableSilence:
    """`gettableSilence`."""
    return {
        "id": silence.id,
        "status": {"state": silence.state(shaper.now)},
        "updatedAt": shaper.time(silence.updated_at),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": shaper.time(silence.ends_at),
        "matchers": [
            {
                "isEqual": matcher.operator in ("=", "=~"),
                "isRegex": matcher.operator in ("=~", "!~"),
                "name": matcher.name,
                "value": matcher.value,
            }
            for matcher in silence.matchers
        ],
        "startsAt": shaper.time(silence.starts_at),
    }


def status_shape(version: str, started_at: str | None, config: str) -> schemas.AlertmanagerStatus:
    """`alertmanagerStatus`. There is no cluster of Alertmanagers here."""
    return {
        "cluster": {"status": "disabled", "peers": []},
        "config": {"original": config},
        "uptime": started_at,
        "versionInfo": {
            "version": version,
            "revision": "",
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
    }
