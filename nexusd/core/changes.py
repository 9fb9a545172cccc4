"""What differs between two snapshots: one fact a record, past tense. Made by `comparing` and `regions`."""

from __future__ import annotations

import msgspec

from nexusd.core.records import Instance, Region


class InstanceAppeared(msgspec.Struct, frozen=True, gc=False):
    instance: Instance


class InstanceStatusChanged(msgspec.Struct, frozen=True, gc=False):
    before: Instance
    instance: Instance


class InstanceVanished(msgspec.Struct, frozen=True, gc=False):
    """Believed gone (`sweeps.SweepPolicy`); `instance` is how it was last seen.

    One that is not `live` was terminated and has been cleared from the list: that is no loss.
    """

    instance: Instance


class RegionAppeared(msgspec.Struct, frozen=True, gc=False):
    region: Region


class RegionStatusChanged(msgspec.Struct, frozen=True, gc=False):
    before: Region
    region: Region


class RegionCapacityChanged(msgspec.Struct, frozen=True, gc=False):
    before: Region
    region: Region


class RegionVanished(msgspec.Struct, frozen=True, gc=False):
    """Left the list of regions; its instances are kept."""

    region: Region


InstanceChange = InstanceAppeared | InstanceStatusChanged | InstanceVanished
RegionChange = RegionAppeared | RegionStatusChanged | RegionCapacityChanged | RegionVanished
Change = InstanceChange | RegionChange
