"""Changes as events: one for each, for the history, the stream and the logs. Used by `cycle`."""

from __future__ import annotations

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
from nexusd.core.events import Event, Subject
from nexusd.core.records import Instance, Region


def event_of(change: Change, at: float) -> Event:
    """`type` is the change's own name; `detail` says from what to what."""
    match change:
        case InstanceAppeared(instance) | InstanceVanished(instance):
            return _event(change, at, _instance(instance), {"status": instance.status})
        case InstanceStatusChanged(before, instance):
            return _event(change, at, _instance(instance), {"from": before.status, "to": instance.status})
        case RegionAppeared(region) | RegionVanished(region):
            return _event(change, at, _region(region), {"status": region.status})
        case RegionStatusChanged(before, region):
            return _event(change, at, _region(region), {"from": before.status, "to": region.status})
        case RegionCapacityChanged(before, region):
            return _event(change, at, _region(region), {"from": before.capacity, "to": region.capacity})


def _event(change: Change, at: float, subject: Subject, detail: dict[str, object]) -> Event:
    return Event(at, type(change).__name__, subject, detail)


def _instance(instance: Instance) -> Subject:
    return Subject("instance", instance.id, instance.name, instance.region)


def _region(region: Region) -> Subject:
    return Subject("region", region.slug, region.name, region.slug)
