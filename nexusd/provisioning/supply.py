"""What the next decision rests on, put together from the world. Used by `intake` (plan) and `worker`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import msgspec

from nexusd.core import expressions
from nexusd.core.inventory import distrust
from nexusd.core.lifecycle import Placement
from nexusd.core.placement import (
    Considered,
    Decision,
    PlacementPolicy,
    PlacementRequest,
    Supply,
    Where,
    decide,
)
from nexusd.core.world import World


def supply(world: World, under_way: Iterable[Placement] = ()) -> Supply:
    """`under_way`: placements past `queued`; until its instance is listed, each counts for its region."""
    counts = Counter(
        {k.region.slug: world.inventory.in_region(k.region.slug) for k in world.regions.known.values()}
    )
    for placement in under_way:
        if placement.region is not None and (placement.instance_id or "") not in world.inventory:
            counts[placement.region] += 1
    return Supply(world.regions, counts, world.cooling_off)


def decision_for(
    request: PlacementRequest, resting_on: Supply, world: World, policy: PlacementPolicy, now: float
) -> Decision:
    """`decide`, but none at all while the instances, which hold the names, are not known well enough."""
    decision = decide(request, resting_on, policy, now, compiled(request.where))
    reason = distrust(world.inventory, policy.max_inventory_age_s, now)
    if reason is None:
        return decision
    considered = tuple(_refused(c, reason) for c in decision.considered)
    return replace(decision, region=None, reason=reason, considered=considered)


def _refused(considered: Considered, reason: str) -> Considered:
    changed = {"eligible": False, "rank": None, "reasons": (*considered.reasons, reason)}
    return msgspec.structs.replace(considered, **changed)


def compiled(where: str | None) -> Where | None:
    """The compiled expression, None when there is none. Raises `expressions.ExpressionError`."""
    return expressions.region_where(where) if where is not None else None
