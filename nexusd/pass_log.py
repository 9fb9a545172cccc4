"""Log lines of a pass about alerts, and about changes of instances and regions.

Used by `cycle`.

A pass logs at most `MAX_LINES` lines about alerts and as many about changes. One more line counts the rest,
so that an outage of ten thousand instances does not flood the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import structlog

from nexusd.core.alerts import Alert
from nexusd.core.changes import (
    Change,
    InstanceAppeared,
    InstanceStatusChanged,
    InstanceVanished,
    RegionAppeared,
    RegionCapacityChanged,
    RegionStatusChanged,
    RegionVanished,
)
from nexusd.core.events import Event
from nexusd.core.muting import Muted, Muting
from nexusd.core.records import Instance, Region

log = structlog.get_logger(__name__)

MAX_LINES = 20
ALERT_LINES = {
    "AlertFired": "alert_fired",
    "AlertResolved": "alert_resolved",
    "AlertBeganFlapping": "alert_flapping_began",
    "AlertStoppedFlapping": "alert_flapping_ended",
}
"""The name of the log line for each type of event. Other events about alerts are in the history only."""
LABELS = ("severity", "region", "instance", "instance_id", "fleet", "placement_id", "receiver")
NOT_URGENT = frozenset({"info", "none"})
_NOT_MUTED = Muted()


def log_alerts(events: Sequence[Event], alerts: Mapping[str, Alert], muting: Muting) -> None:
    """Log the alerts that fired, resolved, or began or ended flapping.

    `alerts`: all after the pass.
    """
    changed = [event for event in events if event.type in ALERT_LINES]
    for event in islice(changed, MAX_LINES):
        alert = alerts.get(event.subject.id)
        if alert is not None:
            _log_alert(ALERT_LINES[event.type], alert, muting.muted.get(alert.fingerprint, _NOT_MUTED))
    more = Counter(ALERT_LINES[event.type] for event in changed[MAX_LINES:])
    if more:
        names = Counter(event.subject.name for event in changed[MAX_LINES:])
        log.warning("more_alerts_changed", **more, alertnames=dict(names.most_common(MAX_LINES)))


def _log_alert(name: str, alert: Alert, muted: Muted) -> None:
    labels, annotations = dict(alert.labels), dict(alert.annotations)
    fields: dict[str, object] = {
        "alertname": alert.name,
        **{label: labels[label] for label in LABELS if label in labels},
        "summary": annotations.get("summary", ""),
        "description": annotations.get("description", ""),
        "fingerprint": alert.fingerprint,
    }
    if muted.inhibited_by:
        fields["inhibited_by"] = len(muted.inhibited_by)
    if muted.silenced_by:
        fields["silenced_by"] = list(muted.silenced_by)
    urgent = name != "alert_resolved" and labels.get("severity") not in NOT_URGENT and muted == _NOT_MUTED
    write: Callable[..., object] = log.warning if urgent else log.info
    write(name, **fields)


def log_changes(changes: Sequence[Change]) -> None:
    """Log the differences between two snapshots."""
    for change in islice(changes, MAX_LINES):
        _log_change(change)
    more = Counter(_change_line(change) for change in changes[MAX_LINES:])
    if more:
        log.info("more_changes", **more)


def _change_line(change: Change) -> str:
    match change:
        case InstanceAppeared():
            return "instance_appeared"
        case InstanceStatusChanged():
            return "instance_status_changed"
        case InstanceVanished():
            return "instance_vanished"
        case RegionAppeared():
            return "region_appeared"
        case RegionStatusChanged():
            return "region_status_changed"
        case RegionCapacityChanged():
            return "region_capacity_changed"
        case RegionVanished():
            return "region_vanished"


def _log_change(change: Change) -> None:
    name = _change_line(change)
    match change:
        case InstanceAppeared(instance) | InstanceVanished(instance):
            log.info(name, **_instance(instance), status=instance.status)
        case InstanceStatusChanged(before, instance):
            log.info(name, **_instance(instance), before=before.status, status=instance.status)
        case RegionAppeared(region) | RegionVanished(region):
            log.info(name, **_region(region), status=region.status)
        case RegionStatusChanged(before, region):
            log.info(name, **_region(region), before=before.status, status=region.status)
        case RegionCapacityChanged(before, region):
            log.info(name, **_region(region), before=before.capacity, capacity=region.capacity)


def _instance(instance: Instance) -> dict[str, object]:
    return {"instance": instance.name, "instance_id": instance.id, "region": instance.region}


def _region(region: Region) -> dict[str, object]:
    return {"region": region.slug}
