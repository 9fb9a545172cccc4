"""What differs between two snapshots: one fact a record, past tense. Made by `inventory` and `regions`."""

from __future__ import annotations

from dataclasses import dataclass

from nexusd.core.records import Instance, Region


@dataclass(frozen=True, slots=True)
class InstanceAppeared:
    instance: Instance


@dataclass(frozen=True, slots=True)
class InstanceStatusChanged:
    before: Instance
    instance: Instance


@dataclass(frozen=True, slots=True)
class InstanceVanished:
    """Believed gone (`inventory.SweepPolicy`); `instance` is how it was last seen.

    One that is not `live` was terminated and has been cleared from the list: that is no loss.
    """

    instance: Instance


@dataclass(frozen=True, slots=True)
class RegionAppeared:
    region: Region


@dataclass(frozen=True, slots=True)
class RegionStatusChanged:
    before: Region
    region: Region


@dataclass(frozen=True, slots=True)
class RegionCapacityChanged:
    before: Region
    region: Region


@dataclass(frozen=True, slots=True)
class RegionVanished:
    """Left the list of regions; its instances are kept."""

    region: Region


InstanceChange = InstanceAppeared | InstanceStatusChanged | InstanceVanished
RegionChange = RegionAppeared | RegionStatusChanged | RegionCapacityChanged | RegionVanished
Change = InstanceChange | RegionChange
