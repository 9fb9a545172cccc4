"""Filters of instances by region and status.

An unknown value is an error, because it may be a typo.
"""

from __future__ import annotations

from collections.abc import Iterable

from nexusd.core.errors import InputError
from nexusd.core.region_names import enumerate_names
from nexusd.core.spelling import describe_unknown
from nexusd.core.world import World
from nexusd.web.metrics import INSTANCE_STATUSES


def check_region(value: str | None, world: World) -> None:
    """Raise `InputError` for a region that neither a listing nor an instance has.

    Before regions and instances were read, every region is accepted.
    """
    if world.regions.observed_at is None or world.inventory.observed_at is None:
        return
    known = {*world.regions.known, *(region for region, _ in world.inventory.counts)}
    _check("region", value, known)


def check_status(value: str | None, world: World) -> None:
    """Raise `InputError` for a status that is neither documented nor in use."""
    _check("status", value, {*INSTANCE_STATUSES, *(status for _, status in world.inventory.counts)})


def _check(name: str, value: str | None, known: Iterable[str]) -> None:
    if value is None or value in known:
        return
    listed = sorted(known)
    problem = describe_unknown(value, listed, enumerate_names(listed) or "none")
    raise InputError(f"{name}: {problem}", name)
