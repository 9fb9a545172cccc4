"""The snapshot of all regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nexusd.core.changes import (
    RegionAppeared,
    RegionCapacityChanged,
    RegionChange,
    RegionStatusChanged,
    RegionVanished,
)
from nexusd.core.records import Region

FORGET_AFTER_S = 24 * 3600.0
"""A region that left the list is remembered (and alerted on) this long."""


@dataclass(frozen=True, slots=True)
class RegionList:
    """One complete answer of `GET /regions`, by slug. `began_at`: when the request was sent."""

    began_at: float
    ended_at: float
    regions: Mapping[str, Region]


@dataclass(frozen=True, slots=True)
class KnownRegion:
    """A region as last listed. `left_at`: when it was first missing from the list, None while listed.
    `smoothed_ms`: the moving average of its latency, None while smoothing is off.
    """

    region: Region
    left_at: float | None = None
    smoothed_ms: float | None = None


@dataclass(frozen=True, slots=True)
class RegionSnapshot:
    """All regions at one time. `observed_at` None: none was ever read."""

    observed_at: float | None
    known: Mapping[str, KnownRegion]

    @property
    def listed(self) -> list[Region]:
        """The regions that are in the list now, by slug."""
        return [k.region for _, k in sorted(self.known.items()) if k.left_at is None]


NO_REGIONS = RegionSnapshot(None, {})


def next_snapshot(
    before: RegionSnapshot, answer: RegionList, half_life_s: float | None = None
) -> tuple[RegionSnapshot, tuple[RegionChange, ...]]:
    """The snapshot after a complete answer, and what changed. The very first one reports no changes.

    `half_life_s`: of the moving average over latencies, None when they are not smoothed.
    """
    weight = _weight(before, answer, half_life_s) if half_life_s is not None else None
    known = {
        slug: KnownRegion(region, smoothed_ms=_smoothed_ms(before.known.get(slug), region, weight))
        for slug, region in answer.regions.items()
    }
    changes: list[RegionChange] = []
    for slug, was in before.known.items():
        if slug in known:
            continue
        left_at = was.left_at if was.left_at is not None else answer.ended_at
        if was.left_at is None:
            changes.append(RegionVanished(was.region))
        if answer.ended_at - left_at < FORGET_AFTER_S:
            known[slug] = replace(was, left_at=left_at)
    if before.observed_at is not None:
        for slug, region in answer.regions.items():
            changes += _differences(before.known.get(slug), region)
    return RegionSnapshot(answer.ended_at, known), tuple(changes)


def _weight(before: RegionSnapshot, answer: RegionList, half_life_s: float) -> float:
    """How much of the way to what is answered the moving average goes: half in a half-life.

    So it depends on the time that went by and not on how often was polled.
    """
    if before.observed_at is None:
        return 1.0
    elapsed_s = max(0.0, answer.ended_at - before.observed_at)
    return float(1.0 - 0.5 ** (elapsed_s / half_life_s))


def _smoothed_ms(was: KnownRegion | None, region: Region, weight: float | None) -> float | None:
    """The moving average after one more answer. A latency that is not known leaves it as it was."""
    if weight is None:
        return None
    last_ms = was.smoothed_ms if was is not None and was.left_at is None else None
    if last_ms is None or region.latency_ms is None:
        return region.latency_ms if last_ms is None else last_ms
    moved_ms = last_ms + weight * (region.latency_ms - last_ms)
    low_ms, high_ms = sorted((last_ms, region.latency_ms))
    return min(max(moved_ms, low_ms), high_ms)


def _differences(was: KnownRegion | None, region: Region) -> list[RegionChange]:
    if was is None or was.left_at is not None:
        return [RegionAppeared(region)]
    found: list[RegionChange] = []
    if was.region.status != region.status:
        found.append(RegionStatusChanged(was.region, region))
    if was.region.capacity != region.capacity:
        found.append(RegionCapacityChanged(was.region, region))
    return found
